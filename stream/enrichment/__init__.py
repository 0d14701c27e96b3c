"""Who an event belongs to and what it was: pure functions of what the log held before it."""
