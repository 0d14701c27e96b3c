"""10-second windows per node, in the event time of each producer."""
