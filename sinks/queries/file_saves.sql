-- title: Every save of one file: time, size, change, hash
-- questions: 1, 3
-- param path String: Absolute path of the file
-- param student String = '': Student; empty for every one
-- param since DateTime64(6, 'UTC') = -180d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
SELECT
    ts, action, student, size,
    toInt64(ifNull(size, 0)) - lagInFrame(toInt64(ifNull(size, 0)), 1, toInt64(0)) OVER (ORDER BY ts, seq ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS change,
    lines, hash, writer_pid, writer_exec_id
FROM tenwatch.files
WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
    AND path = {path:String}
    AND ({student:String} = '' OR student = {student:String})
ORDER BY ts, seq
