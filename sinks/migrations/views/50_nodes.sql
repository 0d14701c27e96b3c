-- One row per node and kind of events: is its producer alive, behind, degraded, losing?
-- @node: Name of the node
-- @kind: Kind of events that the producer sees
-- @boot: Life of the producer that reported last
-- @ts: Time of its newest report, UTC
-- @alive: Whether a report came within five intervals, and it did not say that it was the last
-- @age_s: Age of the newest report, seconds
-- @lag_s: How far the watermark of the producer is behind now, seconds
-- @watermark: No later event of this kind and boot carries an earlier time
-- @seen: Events seen in this boot; seen = filtered + emitted + lost
-- @filtered: Events left out on purpose in this boot
-- @emitted: Events that got a seq in this boot
-- @lost: Events lost at the source in this boot, before they had a seq
-- @dropped: Events with a seq that a full spool dropped in this boot
-- @spooled_bytes: In the spool, not yet taken by the broker, bytes
-- @oldest_age_ms: Age of the oldest batch in the spool, milliseconds
-- @degraded: Sentences: what does not work fully, and why
-- @closed: The producer stopped in order
SELECT
    p.node AS node,
    p.producer AS kind,
    argMax(p.boot, p.ts) AS boot,
    max(p.ts) AS ts,
    NOT closed AND age_s < 5 * argMax(p.interval_ms, p.ts) / 1000 AS alive,
    dateDiff('millisecond', ts, now64(3, 'UTC')) / 1000 AS age_s,
    dateDiff('millisecond', watermark, now64(3, 'UTC')) / 1000 AS lag_s,
    argMax(p.watermark, p.ts) AS watermark,
    argMax(p.seen, p.ts) AS seen,
    argMax(p.filtered, p.ts) AS filtered,
    argMax(p.emitted, p.ts) AS emitted,
    argMax(p.lost, p.ts) AS lost,
    argMax(p.dropped, p.ts) AS dropped,
    argMax(p.spooled_bytes, p.ts) AS spooled_bytes,
    argMax(p.oldest_age_ms, p.ts) AS oldest_age_ms,
    argMax(p.degraded, p.ts) AS degraded,
    argMax(p.closing, p.ts) AS closed
FROM ${name:progress_newest} AS p FINAL
GROUP BY p.node, p.producer
