"""``tenwatch replay``: a time range through the worker again, in a run of its own.

A run has its own subjects (``replay.<run>.…``), its own streams, its own worker with its own
state, and its own rows in the store. Nothing live is touched.
"""
