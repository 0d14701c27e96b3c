-- title: What was in a file at a time
-- questions: 5
-- param path String: Absolute path of the file
-- param at DateTime64(6, 'UTC') = now: Time in UTC or like -2h
-- param student String = '': Student; empty for every one
-- Empty when no content of the file was kept before that time. deleted_ts says when it was deleted
-- or moved away, if it was gone by then.
SELECT
    s.ts AS ts, s.path AS path, s.hash AS hash, s.size AS size, s.encoding AS encoding, s.content AS content,
    if(d.gone_ts >= s.ts, d.gone_ts, NULL) AS deleted_ts
FROM
(
    SELECT ts, seq, path, hash, size, encoding, content, student
    FROM tenwatch.snapshots
    WHERE path = {path:String} AND ts <= {at:DateTime64(6, 'UTC')}
        AND ({student:String} = '' OR student = {student:String})
    ORDER BY ts DESC, seq DESC
    LIMIT 1
) AS s
LEFT JOIN
(
    -- Whether it was gone by then.
    SELECT {path:String} AS path, if(argMax(gone, (ts, seq)), max(ts), NULL) AS gone_ts
    FROM
    (
        SELECT ts, seq, action = 'deleted' OR (action = 'moved' AND old_path = {path:String}) AS gone
        FROM tenwatch.files
        WHERE (path = {path:String} OR old_path = {path:String}) AND ts <= {at:DateTime64(6, 'UTC')}
            AND ({student:String} = '' OR student = {student:String})
    )
) AS d ON d.path = s.path
