"""One module per command; :mod:`tenwatch.cli` imports a module only when its command runs."""
