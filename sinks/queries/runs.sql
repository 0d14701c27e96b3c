-- title: Programs, scripts and notebook cells that ran: for how long, and did they fail or crash
-- questions: 7
-- param course String = '': Course; empty for every one
-- param division String = '': Division (class section) of the course; empty for every one
-- param student String = '': Student; empty for every one
-- param assignment String = '': Assignment, like hw3; empty for every one
-- param namespace String = '': Kubernetes namespace; empty for every one
-- param pod String = '': Pod; empty for every one
-- param since DateTime64(6, 'UTC') = -1d: Begin, a time in UTC or like -2h
-- param until DateTime64(6, 'UTC') = now: End (not included)
-- param rows UInt32 = 1000: Rows at most, newest first
SELECT ts, namespace, pod, student, assignment, exe, argv, cwd, sources, target, exit_code, signal, outcome, duration_us, core_dumped, notebook
FROM tenwatch.runs
WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
    AND ({course:String} = '' OR course = {course:String})
    AND ({division:String} = '' OR division = {division:String})
    AND ({student:String} = '' OR student = {student:String})
    AND ({assignment:String} = '' OR assignment = {assignment:String})
    AND ({namespace:String} = '' OR namespace = {namespace:String})
    AND ({pod:String} = '' OR pod = {pod:String})
ORDER BY ts DESC
LIMIT {rows:UInt32}
