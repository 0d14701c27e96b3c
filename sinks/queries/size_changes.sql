-- title: How much each student changed between two times, and the largest single change
-- questions: 10
-- param course String = '': Course; empty for every one
-- param division String = '': Division (class section) of the course; empty for every one
-- param assignment String = '': Assignment, like hw3; empty for every one
-- param since DateTime64(6, 'UTC') = -1d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
-- A single large growth in a small number of saves is what pasting looks like.
WITH
sizes AS
(
    -- What every file weighs from an event on; a move ends the old path.
    SELECT ts, seq, student, path, if(action = 'deleted', 0, toInt64(ifNull(size, 0))) AS bytes
    FROM tenwatch.files
    WHERE ts < {until:DateTime64(6, 'UTC')}
    AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String}) AND student != ''
    UNION ALL
    SELECT ts, seq, student, old_path AS path, toInt64(0) AS bytes
    FROM tenwatch.files
    WHERE ts < {until:DateTime64(6, 'UTC')} AND action = 'moved'
    AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String}) AND student != ''
),
changes AS
(
    SELECT
        ts, seq, student, path, bytes,
        bytes - lagInFrame(bytes, 1, toInt64(0)) OVER (
            PARTITION BY student, path ORDER BY ts, seq ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
        ) AS change
    FROM sizes
)
SELECT
    student,
    sum(abs(change)) AS changed_bytes,
    sum(change) AS growth_bytes,
    max(change) AS largest_growth_bytes,
    argMax(path, change) AS largest_growth_path,
    argMax(ts, change) AS largest_growth_ts,
    count() AS saves
FROM changes
WHERE ts >= {since:DateTime64(6, 'UTC')}
GROUP BY student
ORDER BY changed_bytes DESC, student
