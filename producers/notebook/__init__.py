"""Reports the cells of a notebook: ``%load_ext producers.notebook``.

The extension is one file without other dependencies than nats-py, :mod:`producers.notebook.cells`;
copied into a user's image under any name it works alone: ``%load_ext <that name>``.
"""

from producers.notebook.cells import load_ipython_extension, unload_ipython_extension

__all__ = ["load_ipython_extension", "unload_ipython_extension"]
