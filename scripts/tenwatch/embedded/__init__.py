"""``tenwatch up``: broker, producers, worker and sink of one machine, started and supervised."""
