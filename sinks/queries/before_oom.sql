-- title: What ran in a container in the minute before the kernel killed for lack of memory
-- questions: 19
-- param namespace String = '': Kubernetes namespace; empty for every one
-- param pod String = '': Pod; empty for every one
-- param seconds UInt32 = 60: How long before the kill, seconds
-- param since DateTime('UTC') = -1d: Begin, a time in UTC or like -2h
-- param until DateTime('UTC') = now: End (not included)
WITH kills AS
(
    SELECT node, namespace, pod, pod_uid, container, container_id, window_start, window_end, oom_kills
    FROM tenwatch.buckets
    WHERE kind = 'cgroup' AND scope = 'container' AND oom_kills > 0
        AND window_start >= {since:DateTime('UTC')} AND window_start < {until:DateTime('UTC')}
        AND ({namespace:String} = '' OR namespace = {namespace:String})
        AND ({pod:String} = '' OR pod = {pod:String})
)
SELECT
    k.window_start AS killed_between, k.window_end AS killed_before, k.oom_kills AS oom_kills,
    k.node AS node, k.namespace AS namespace, k.pod AS pod, k.container AS container,
    p.ts AS ts, p.action AS action, p.pid AS pid, p.exe AS exe, p.argv AS argv, p.start_ts AS start_ts, p.duration_us AS duration_us, p.exit_code AS exit_code, p.signal AS signal
FROM kills AS k
INNER JOIN
(
    SELECT node, container_id, ts, seq, action, pid, exe, argv, start_ts, duration_us, exit_code, signal
    FROM tenwatch.processes
    WHERE container_id IN (SELECT container_id FROM kills)
        AND (action = 'exec' OR ts >= {since:DateTime('UTC')} - toIntervalSecond({seconds:UInt32}))
) AS p ON p.node = k.node AND p.container_id = k.container_id
WHERE ifNull(p.start_ts, p.ts) < k.window_end
    AND (p.action = 'exec' OR p.ts >= k.window_start - toIntervalSecond({seconds:UInt32}))
ORDER BY killed_between, pod, container, ts
