"""Recordings: messages of a stream in compressed files, in the order of the log.

A recording is a folder::

    recording.json     what it is of: stream, partitions, filters
    000001.ndjson.zst  one JSON object per message; a sequence of complete zstd frames
    000001.index       one JSON object per frame: where it lies, and what it holds
    lock               held while somebody records into it

``zstdcat 000001.ndjson.zst | jq -r .payload`` shows the events. Whatever kills a recorder leaves
complete frames and perhaps a torn one at the end, which readers leave out and the next recorder
cuts off; it goes on behind the last complete frame.
"""
