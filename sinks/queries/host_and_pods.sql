-- title: Use by host processes beside that of pods, per node
-- questions: 16
-- param node String = '': Node; empty for every one
-- param window UInt32 = 60: Length of the look back, seconds
SELECT
    node,
    1000 * sumIf(cpu_us, scope = 'node') / nullIf(sumIf(measured_us, scope = 'node'), 0) AS node_cpu_millicores,
    1000 * sumIf(cpu_us, scope = 'host') / nullIf(sumIf(measured_us, scope = 'node'), 0) AS host_cpu_millicores,
    1000 * sumIf(cpu_us, scope = 'pod') / nullIf(sumIf(measured_us, scope = 'node'), 0) AS pods_cpu_millicores,
    argMaxIf(memory_bytes_last, window_start, scope = 'node') AS node_memory_bytes,
    argMaxIf(memory_bytes_last, window_start, scope = 'host') AS host_memory_bytes,
    node_memory_bytes - host_memory_bytes AS pods_memory_bytes
FROM tenwatch.buckets
WHERE kind = 'cgroup' AND scope IN ('node', 'host', 'pod')
    AND window_start >= toStartOfInterval(now('UTC') - toIntervalSecond({window:UInt32} + 10), toIntervalSecond(10))
    AND ({node:String} = '' OR node = {node:String})
GROUP BY node
ORDER BY node
