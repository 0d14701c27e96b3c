"""Files that change: the kernel's events, settled, compared with the last known state."""
