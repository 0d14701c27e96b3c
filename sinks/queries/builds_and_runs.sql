-- title: Builds and runs of each student, with the mean of the class
-- questions: 11
-- param course String = '': Course; empty for every one
-- param division String = '': Division (class section) of the course; empty for every one
-- param assignment String = '': Assignment, like hw3; empty for every one
-- param since DateTime64(6, 'UTC') = -180d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
SELECT
    student, builds, build_failures, runs, run_failures,
    avg(builds) OVER () AS mean_builds,
    avg(runs) OVER () AS mean_runs
FROM
(
    SELECT
        student,
        countIf(purpose = 'build') AS builds,
        countIf(purpose = 'build' AND (exit_code != 0 OR signal IS NOT NULL)) AS build_failures,
        countIf(purpose = 'run') AS runs,
        countIf(purpose = 'run' AND (exit_code != 0 OR signal IS NOT NULL)) AS run_failures
    FROM tenwatch.processes
    WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')} AND purpose IN ('build', 'run') AND student != ''
        AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String})
    GROUP BY student
)
ORDER BY student
