-- title: When each student first and last worked, the span, and the gap before the last save
-- questions: 4
-- param course String = '': Course; empty for every one
-- param division String = '': Division (class section) of the course; empty for every one
-- param student String = '': Student; empty for every one
-- param assignment String = '': Assignment, like hw3; empty for every one
-- param since DateTime64(6, 'UTC') = -180d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
SELECT
    student,
    min(ts) AS first_ts,
    max(ts) AS last_ts,
    dateDiff('second', first_ts, last_ts) AS span_seconds,
    count() AS saves,
    if(saves > 1, dateDiff('second', arraySort(groupArray(ts))[-2], last_ts), NULL) AS last_gap_seconds
FROM tenwatch.files
WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
    AND student != ''
    AND action IN ('created', 'modified', 'deleted', 'moved')
    AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({student:String} = '' OR student = {student:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String})
GROUP BY student
ORDER BY student
