"""The worker: faust agents that enrich raw batches and window them into buckets."""
