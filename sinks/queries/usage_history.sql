-- title: The same over hours or days, from one-minute roll-ups
-- questions: 13
-- param scope String = 'node': node, pod, container, workload, namespace, host or cluster
-- param node String = '': Node; empty for every one
-- param namespace String = '': Kubernetes namespace; empty for every one
-- param workload String = '': Workload (Deployment…); empty for every one
-- param pod String = '': Pod; empty for every one
-- param since DateTime('UTC') = -1d: Begin, a time in UTC or like -2h
-- param until DateTime('UTC') = now: End (not included)
SELECT
    window_start, scope, node, namespace, workload, pod, container,
    cpu_millicores, memory_bytes_last, memory_bytes_mean, memory_bytes_max,
    io_read_bytes, io_write_bytes, net_rx_bytes, net_tx_bytes
FROM tenwatch.buckets_minutes
WHERE kind = 'cgroup' AND scope = {scope:String}
    AND window_start >= {since:DateTime('UTC')} AND window_start < {until:DateTime('UTC')}
    AND ({node:String} = '' OR node = {node:String})
    AND ({namespace:String} = '' OR namespace = {namespace:String})
    AND ({workload:String} = '' OR workload = {workload:String})
    AND ({pod:String} = '' OR pod = {pod:String})
ORDER BY scope, node, namespace, workload, pod, container, window_start
