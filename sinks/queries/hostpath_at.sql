-- title: What lay in a watched folder of a node at a time
-- questions: 17
-- param node String: Node
-- param root String: Folder that is watched
-- param at DateTime64(6, 'UTC') = now: Time in UTC or like -2h
WITH listing AS
(
    -- The newest listing that is whole, in all its parts.
    SELECT max(ts) AS ts
    FROM
    (
        SELECT ts
        FROM tenwatch.hostpaths
        WHERE node = {node:String} AND root = {root:String} AND action = 'listing' AND ts <= {at:DateTime64(6, 'UTC')}
        GROUP BY ts
        HAVING uniqExact(part) = max(parts)
    )
)
SELECT path, argMax(type, (ts, seq)) AS type, argMax(size, (ts, seq)) AS size, argMax(mtime, (ts, seq)) AS mtime, argMax(mode, (ts, seq)) AS mode, max(ts) AS seen_ts
FROM
(
    SELECT ts, seq, 'listed' AS happening, entry.path AS path, toString(entry.type) AS type, toNullable(entry.size) AS size, entry.mtime AS mtime, toNullable(entry.mode) AS mode
    FROM tenwatch.hostpaths
    ARRAY JOIN entries AS entry
    WHERE node = {node:String} AND root = {root:String} AND action = 'listing' AND ts = (SELECT ts FROM listing)
    UNION ALL
    SELECT ts, seq, action AS happening, path, toString(type) AS type, size, mtime, mode
    FROM tenwatch.hostpaths
    WHERE node = {node:String} AND root = {root:String} AND action IN ('appeared', 'changed', 'vanished')
        AND ts > (SELECT ts FROM listing) AND ts <= {at:DateTime64(6, 'UTC')}
)
GROUP BY path
HAVING argMax(happening, (ts, seq)) != 'vanished'
ORDER BY path
