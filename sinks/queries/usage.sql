-- title: CPU, memory, disk and network over the last seconds: one row per thing of a scope
-- questions: 13
-- param scope String = 'node': node, pod, container, workload, namespace, host or cluster
-- param node String = '': Node; empty for every one
-- param namespace String = '': Kubernetes namespace; empty for every one
-- param workload String = '': Workload (Deployment…); empty for every one
-- param pod String = '': Pod; empty for every one
-- param window UInt32 = 60: Length of the look back, seconds
-- The window that is open now counts as far as it is known, so the newest row is at most two
-- seconds old.
SELECT
    scope, node, namespace, workload, pod, container,
    1000 * sum(cpu_us) / nullIf(sum(measured_us), 0) AS cpu_millicores,
    argMax(memory_bytes_last, window_start) AS memory_bytes,
    max(memory_bytes_max) AS memory_bytes_max,
    sum(io_read_bytes) AS io_read_bytes,
    sum(io_write_bytes) AS io_write_bytes,
    sum(net_rx_bytes) AS net_rx_bytes,
    sum(net_tx_bytes) AS net_tx_bytes,
    max(window_end) AS until
FROM tenwatch.buckets
WHERE kind = 'cgroup' AND scope = {scope:String}
    AND window_start >= toStartOfInterval(now('UTC') - toIntervalSecond({window:UInt32} + 10), toIntervalSecond(10))
    AND ({node:String} = '' OR node = {node:String})
    AND ({namespace:String} = '' OR namespace = {namespace:String})
    AND ({workload:String} = '' OR workload = {workload:String})
    AND ({pod:String} = '' OR pod = {pod:String})
GROUP BY scope, node, namespace, workload, pod, container
ORDER BY cpu_millicores DESC NULLS LAST
