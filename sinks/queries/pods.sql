-- title: Pods of a node, namespace or workload, and what they use now
-- questions: 14
-- param node String = '': Node; empty for every one
-- param namespace String = '': Kubernetes namespace; empty for every one
-- param workload String = '': Workload (Deployment…); empty for every one
-- param pod String = '': Pod; empty for every one
-- param all Bool = false: Show deleted pods, too
-- param window UInt32 = 60: Length of the look back for their use, seconds
SELECT
    p.node AS node, p.namespace AS namespace, p.pod AS pod, p.pod_uid AS pod_uid,
    p.workload_kind AS workload_kind, p.workload AS workload, p.running AS running, p.phase AS phase,
    p.ts AS seen_ts, u.cpu_millicores AS cpu_millicores, u.memory_bytes AS memory_bytes,
    u.io_read_bytes AS io_read_bytes, u.io_write_bytes AS io_write_bytes,
    u.net_rx_bytes AS net_rx_bytes, u.net_tx_bytes AS net_tx_bytes
FROM
(
    SELECT * FROM tenwatch.pods
    WHERE ({node:String} = '' OR node = {node:String})
    AND ({namespace:String} = '' OR namespace = {namespace:String})
    AND ({workload:String} = '' OR workload = {workload:String})
    AND ({pod:String} = '' OR pod = {pod:String})
        AND (running OR {all:Bool})
) AS p
LEFT JOIN
(
    SELECT
        node, pod_uid,
        1000 * sum(cpu_us) / nullIf(sum(measured_us), 0) AS cpu_millicores,
        argMax(memory_bytes_last, window_start) AS memory_bytes,
        sum(io_read_bytes) AS io_read_bytes,
        sum(io_write_bytes) AS io_write_bytes,
        sum(net_rx_bytes) AS net_rx_bytes,
        sum(net_tx_bytes) AS net_tx_bytes
    FROM tenwatch.buckets
    WHERE kind = 'cgroup' AND scope = 'pod'
        AND window_start >= toStartOfInterval(now('UTC') - toIntervalSecond({window:UInt32} + 10), toIntervalSecond(10))
    GROUP BY node, pod_uid
) AS u ON u.node = p.node AND u.pod_uid = p.pod_uid
ORDER BY node, namespace, pod
SETTINGS join_use_nulls = 1
