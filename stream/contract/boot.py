"""Names for the lives of producers."""

import secrets
import time


def new_boot_id() -> str:
    """A name that no other life of any producer has, and that sorts by the time it began.

    12 hexadecimal digits of milliseconds since the epoch, then 64 random bits.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"
