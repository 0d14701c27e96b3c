"""From the log into the store: read, dedupe, insert, book, and only then acknowledge."""
