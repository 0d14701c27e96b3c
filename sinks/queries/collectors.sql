-- title: Is each collector alive, lagging, dropping, degraded?
-- questions: 18
-- param node String = '': Node; empty for every one
SELECT node, kind, alive, age_s, lag_s, seen, filtered, emitted, lost, dropped, spooled_bytes, oldest_age_ms, degraded, closed, ts, boot
FROM tenwatch.nodes
WHERE ({node:String} = '' OR node = {node:String})
ORDER BY node, kind
