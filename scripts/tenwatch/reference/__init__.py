"""The pages of ``docs/reference``, made from the code: ``python -m tenwatch.reference FOLDER``."""
