"""``tenwatch top``: who uses what, right now, and how the pipeline is."""
