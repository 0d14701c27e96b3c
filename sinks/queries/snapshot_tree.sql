-- title: Files below a folder as they were at a time, as far as their contents were kept
-- questions: 5
-- param prefix String: Folder, like /workspace/os-1-2026/hw1/
-- param at DateTime64(6, 'UTC') = now: Time in UTC or like -2h
-- param student String = '': Student; empty for every one
WITH
kept AS
(
    SELECT path, max(ts) AS kept_ts, argMax(hash, (ts, seq)) AS kept_hash, argMax(size, (ts, seq)) AS kept_size
    FROM tenwatch.snapshots
    WHERE startsWith(path, {prefix:String}) AND ts <= {at:DateTime64(6, 'UTC')}
        AND ({student:String} = '' OR student = {student:String})
    GROUP BY path
),
ends AS
(
    SELECT gone_path, max(gone_ts) AS gone
    FROM
    (
        SELECT path AS gone_path, ts AS gone_ts
        FROM tenwatch.files
        WHERE startsWith(path, {prefix:String}) AND action = 'deleted' AND ts <= {at:DateTime64(6, 'UTC')}
            AND ({student:String} = '' OR student = {student:String})
        UNION ALL
        SELECT old_path AS gone_path, ts AS gone_ts
        FROM tenwatch.files
        WHERE startsWith(old_path, {prefix:String}) AND action = 'moved' AND ts <= {at:DateTime64(6, 'UTC')}
            AND ({student:String} = '' OR student = {student:String})
    )
    GROUP BY gone_path
)
SELECT k.path AS path, k.kept_ts AS ts, k.kept_hash AS hash, k.kept_size AS size
FROM kept AS k
LEFT JOIN ends AS e ON e.gone_path = k.path
WHERE e.gone_path = '' OR e.gone < k.kept_ts
ORDER BY path
