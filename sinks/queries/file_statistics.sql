-- title: Saves of each file: how many, mean, smallest, largest and last size
-- questions: 3
-- param prefix String = '': Path that the files begin with; empty for all
-- param course String = '': Course; empty for every one
-- param division String = '': Division (class section) of the course; empty for every one
-- param student String = '': Student; empty for every one
-- param assignment String = '': Assignment, like hw3; empty for every one
-- param since DateTime64(6, 'UTC') = -180d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
SELECT
    student,
    path,
    countIf(action IN ('created', 'modified', 'moved')) AS saves,
    avgIf(size, action IN ('created', 'modified', 'moved')) AS mean_size,
    minIf(size, action IN ('created', 'modified', 'moved')) AS smallest_size,
    maxIf(size, action IN ('created', 'modified', 'moved')) AS largest_size,
    argMax(size, (ts, seq)) AS last_size,
    min(ts) AS first_ts,
    max(ts) AS last_ts
FROM tenwatch.files
WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
    AND startsWith(path, {prefix:String})
    AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({student:String} = '' OR student = {student:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String})
GROUP BY student, path
ORDER BY student, path
