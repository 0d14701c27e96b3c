-- title: A class's code size: median, 90th percentile and mean over students, and saves per student
-- questions: 8
-- param course String: Course
-- param division String = '': Division (class section) of the course; empty for every one
-- param assignment String: Assignment, like hw3
-- param since DateTime64(6, 'UTC') = -180d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
-- Percentiles are interpolated between students, as spreadsheets do.
WITH
sizes AS
(
    -- What every file weighs from an event on; a move ends the old path.
    SELECT ts, seq, student, path, if(action = 'deleted', 0, toInt64(ifNull(size, 0))) AS bytes
    FROM tenwatch.files
    WHERE ts < {until:DateTime64(6, 'UTC')}
    AND ({division:String} = '' OR division = {division:String}) AND course = {course:String} AND assignment = {assignment:String} AND student != ''
    UNION ALL
    SELECT ts, seq, student, old_path AS path, toInt64(0) AS bytes
    FROM tenwatch.files
    WHERE ts < {until:DateTime64(6, 'UTC')} AND action = 'moved'
    AND ({division:String} = '' OR division = {division:String}) AND course = {course:String} AND assignment = {assignment:String} AND student != ''
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
    count() AS students,
    quantileExactInclusive(0.5)(bytes) AS median_bytes,
    quantileExactInclusive(0.9)(bytes) AS p90_bytes,
    avg(bytes) AS mean_bytes,
    avg(saves) AS mean_saves
FROM
(
    SELECT student, sum(change) AS bytes, countIf(ts >= {since:DateTime64(6, 'UTC')}) AS saves
    FROM changes
    GROUP BY student
)
