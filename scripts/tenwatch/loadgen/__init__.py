"""``tenwatch loadgen``: simulated nodes whose every count is known."""
