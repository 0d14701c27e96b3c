"""What can be wrong with a configuration."""


class SettingsError(ValueError):
    """A setting is unknown or has a wrong value; the message names where it came from."""
