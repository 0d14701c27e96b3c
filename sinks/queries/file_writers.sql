-- title: Which process wrote a file
-- questions: 19
-- param path String: Absolute path of the file
-- param since DateTime64(6, 'UTC') = -1d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
SELECT f.ts AS ts, f.action AS action, f.size AS size, f.writer_pid AS writer_pid, p.exe AS exe, p.argv AS argv, p.cwd AS cwd, p.uid AS uid, p.start_ts AS start_ts, p.pod AS pod, p.exit_code AS exit_code
FROM
(
    SELECT ts, seq, node, action, size, writer_pid, writer_exec_id
    FROM tenwatch.files
    WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')} AND path = {path:String}
) AS f
LEFT JOIN
(
    SELECT node, exec_id, exe, argv, cwd, uid, start_ts, pod, exit_code
    FROM tenwatch.processes
    -- It was running when it wrote: it ended after that, or runs still.
    WHERE (action = 'exec' OR ts >= {since:DateTime64(6, 'UTC')})
        AND exec_id IN (SELECT writer_exec_id FROM tenwatch.files WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')} AND path = {path:String} AND writer_exec_id != '')
) AS p ON p.node = f.node AND p.exec_id = f.writer_exec_id
ORDER BY f.ts, f.seq
SETTINGS join_use_nulls = 1
