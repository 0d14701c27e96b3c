-- title: Files of a student's assignment: when each was saved, how often, how large
-- questions: 1
-- param student String: Student
-- param course String = '': Course; empty for every one
-- param division String = '': Division (class section) of the course; empty for every one
-- param assignment String = '': Assignment, like hw3; empty for every one
-- param since DateTime64(6, 'UTC') = -180d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
SELECT
    path,
    countIf(action IN ('created', 'modified', 'moved')) AS saves,
    min(ts) AS first_ts,
    max(ts) AS last_ts,
    argMax(action, (ts, seq)) AS last_action,
    argMax(size, (ts, seq)) AS last_size
FROM tenwatch.files
WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
    AND student = {student:String}
    AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String})
GROUP BY path
ORDER BY path
