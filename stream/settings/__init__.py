"""Configuration: one documented file, the environment, then flags, each over the one before."""

from stream.settings.errors import SettingsError
from stream.settings.loader import Configuration, SettingValue

__all__ = ["Configuration", "SettingValue", "SettingsError"]
