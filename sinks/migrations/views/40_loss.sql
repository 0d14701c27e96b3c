-- What was lost, where and why: one row per interval of loss.
-- @ts: When the loss was noticed, UTC
-- @boot: Boot that the lost seqs belong to
-- @reporter_boot: Boot of the part that reported the loss
-- @reporter_seq: Place of the report among the events of that boot
-- @stage: Where it was lost: kernel, observer, spool, worker or sink
-- @kind: Kind of the lost events
-- @reason: Why, in a fixed word, like ring_full
-- @count: How many; NULL when it cannot be known
-- @first_seq: First lost seq; NULL when they had none yet
-- @last_seq: Last lost seq; NULL when they had none yet
-- @first_ts: When the loss began, UTC
-- @last_ts: When it ended, UTC
-- @detail: What else is known, in words
SELECT
    ts, node, stage, kind, reason, count,
    if(lost_boot != '', lost_boot, boot) AS boot,
    first_seq, last_seq, first_ts, last_ts, detail,
    boot AS reporter_boot, seq AS reporter_seq
FROM ${name:losses} FINAL
