"""What keeps the store small and the streams from filling up, beside the inserts."""
