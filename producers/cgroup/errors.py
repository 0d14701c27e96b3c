"""What can keep the cgroup producer from observing."""


class CgroupError(Exception):
    """Base of this package's errors; the message says what to do."""


class NoCgroupsError(CgroupError):
    """The configured root is no cgroup file system."""
