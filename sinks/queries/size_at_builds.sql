-- title: Code size of the assignment at each build or run
-- questions: 12
-- param student String: Student
-- param course String = '': Course; empty for every one
-- param division String = '': Division (class section) of the course; empty for every one
-- param assignment String = '': Assignment, like hw3; empty for every one
-- param since DateTime64(6, 'UTC') = -180d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
WITH
sizes AS
(
    -- What every file weighs from an event on; a move ends the old path.
    SELECT ts, seq, student, path, if(action = 'deleted', 0, toInt64(ifNull(size, 0))) AS bytes
    FROM tenwatch.files
    WHERE ts < {until:DateTime64(6, 'UTC')}
    AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({student:String} = '' OR student = {student:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String})
    UNION ALL
    SELECT ts, seq, student, old_path AS path, toInt64(0) AS bytes
    FROM tenwatch.files
    WHERE ts < {until:DateTime64(6, 'UTC')} AND action = 'moved'
    AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({student:String} = '' OR student = {student:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String})
),
changes AS
(
    SELECT
        ts, seq, student, path, bytes,
        bytes - lagInFrame(bytes, 1, toInt64(0)) OVER (
            PARTITION BY student, path ORDER BY ts, seq ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
        ) AS change
    FROM sizes
),
totals AS
(
    SELECT
        student, ts,
        sum(change) OVER (PARTITION BY student ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS total_bytes
    FROM (SELECT student, ts, sum(change) AS change FROM changes GROUP BY student, ts)
)
SELECT p.ts AS ts, p.purpose AS purpose, p.exe AS exe, p.sources AS sources, p.exit_code AS exit_code, p.signal AS signal, t.total_bytes AS total_bytes
FROM
(
    -- The code that a process works with is the code at its start.
    SELECT ts, ifNull(start_ts, ts) AS started, student, purpose, exe, sources, exit_code, signal
    FROM tenwatch.processes
    WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')} AND purpose IN ('build', 'run')
        AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({student:String} = '' OR student = {student:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String})
) AS p
ASOF LEFT JOIN totals AS t ON p.student = t.student AND p.started >= t.ts
ORDER BY ts
