"""Writes every page into a folder."""

import sys
from pathlib import Path

from tenwatch.reference.pages import PAGES


def main() -> None:
    """``python -m tenwatch.reference docs/reference``."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
