"""Lists of names, written as plain text so that they can be read and reviewed as lists."""


def words(text: str) -> frozenset[str]:
    """The names in `text`, which spaces and line ends separate."""
    return frozenset(text.split())
