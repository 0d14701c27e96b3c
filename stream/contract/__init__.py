"""The contract on the wire: subjects, headers, batches, and the events of every kind."""
