"""``tenwatch config``: every section of the configuration, checked, shown and explained."""
