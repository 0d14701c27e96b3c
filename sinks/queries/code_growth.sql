-- title: Total code size of an assignment per step of time, and its change in each step
-- questions: 2
-- param minutes UInt32 = 10: Length of a step, minutes
-- param course String = '': Course; empty for every one
-- param division String = '': Division (class section) of the course; empty for every one
-- param student String = '': Student; empty for every one
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
)
SELECT
    step,
    sum(step_change) OVER (ORDER BY step ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS total_bytes,
    step_change AS change_bytes,
    step_saves AS saves
FROM
(
    SELECT
        -- What came before the begin is one step, so that the totals are right from the start.
        if(ts < {since:DateTime64(6, 'UTC')}, toDateTime(0, 'UTC'), toStartOfInterval(ts, toIntervalMinute({minutes:UInt32}), 'UTC')) AS step,
        sum(change) AS step_change,
        count() AS step_saves
    FROM changes
    GROUP BY step
)
ORDER BY step
