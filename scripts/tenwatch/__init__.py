"""The command-line program: it wires producers, workers and sinks together and shows the result."""
