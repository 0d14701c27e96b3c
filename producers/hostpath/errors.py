"""What can be wrong with taking inventory of folders."""


class HostPathError(Exception):
    """Base of the errors of the hostpath producer."""


class RootError(HostPathError):
    """A folder can't be listed as it is configured."""


class InventoryError(HostPathError):
    """The saved inventory can't be used."""
