-- title: What exactly was lost, where, and why
-- questions: 18
-- param node String = '': Node; empty for every one
-- param since DateTime64(6, 'UTC') = -1d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
SELECT ts, node, stage, kind, reason, count, boot, first_seq, last_seq, first_ts, last_ts, detail
FROM tenwatch.loss
WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
    AND ({node:String} = '' OR node = {node:String})
ORDER BY ts
