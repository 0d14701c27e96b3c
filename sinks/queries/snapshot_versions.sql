-- title: Versions of a file: when, how large, and when it was deleted
-- questions: 5
-- param path String: Absolute path of the file
-- param student String = '': Student; empty for every one
-- param since DateTime64(6, 'UTC') = -180d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
SELECT ts, what, hash, size
FROM
(
    SELECT ts, 'content' AS what, hash, size
    FROM tenwatch.snapshots
    WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
        AND path = {path:String} AND ({student:String} = '' OR student = {student:String})
    UNION ALL
    SELECT ts, if(action = 'moved' AND old_path = {path:String}, 'moved away', action) AS what, hash, ifNull(size, 0) AS size
    FROM tenwatch.files
    WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
        AND (path = {path:String} OR old_path = {path:String}) AND action IN ('deleted', 'moved')
        AND ({student:String} = '' OR student = {student:String})
)
ORDER BY ts
