"""``python -m tenwatch``."""

from tenwatch.cli import main

main()
