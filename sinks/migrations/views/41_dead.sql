-- What could not be understood, whole, with its reason.
-- @ts: When it was refused, UTC
-- @stage: Who refused it: worker or sink
-- @kind: Kind of the event
-- @node: Node that it came from
-- @boot: Life of the producer, where it could be read
-- @seq: Its seq, where it has one that can be trusted
-- @count: Events that it stands for
-- @reason: Why, in a fixed word, like bad_line
-- @detail: Why, in words
-- @log_partition: Partition of the RAW log
-- @log_offset: Sequence of its message in the RAW log
-- @log_line: Line within that message
-- @encoding: utf-8 or base64: how the column payload holds it
SELECT
    ts, stage, kind, node, boot, seq, count, reason, detail, subject,
    log_partition, log_offset, log_line, encoding, payload
FROM ${name:dead_letters} FINAL
