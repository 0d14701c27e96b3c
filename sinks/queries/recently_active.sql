-- title: Who worked most recently: newest save, build or run of each student
-- questions: 9
-- param course String = '': Course; empty for every one
-- param division String = '': Division (class section) of the course; empty for every one
-- param assignment String = '': Assignment, like hw3; empty for every one
-- param since DateTime64(6, 'UTC') = -180d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
-- param rows UInt32 = 7: Students at most
SELECT student, max(ts) AS last_ts, argMax(what, ts) AS last_what, argMax(name, ts) AS last_name
FROM
(
    SELECT ts, student, action AS what, path AS name
    FROM tenwatch.files
    WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')} AND action != 'found' AND student != ''
        AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String})
    UNION ALL
    SELECT ts, student, purpose AS what, exe AS name
    FROM tenwatch.processes
    WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')} AND purpose IN ('build', 'run') AND student != ''
        AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String})
)
GROUP BY student
ORDER BY last_ts DESC, student
LIMIT {rows:UInt32}
