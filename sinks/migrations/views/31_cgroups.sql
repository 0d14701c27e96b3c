-- Samples of cgroups as the kernel gives them; counters only grow, their differences are in buckets.
-- @ts: When it was sampled, UTC
-- @scope: container, pod or node
-- @cgroup: Path below the cgroup root; / for the node
-- @host_network: The pod uses the network of the node
SELECT
    ts, node, boot, seq, namespace, pod, pod_uid, container, container_id, workload_kind, workload,
    course, division, student, assignment, resolved,
    scope, cgroup, cgroup_id, cpu_usage_us, cpu_user_us, cpu_system_us, cpu_throttled_us,
    memory_bytes, memory_working_set_bytes, memory_anon_bytes, memory_file_bytes,
    memory_limit_bytes, oom_kills, io_read_bytes, io_write_bytes, io_read_ops, io_write_ops,
    net_rx_bytes, net_tx_bytes, host_network, pids, psi_cpu_some_us, psi_memory_some_us,
    psi_io_some_us, last,
    log_partition, log_offset, log_line
FROM ${name:cgroup_samples}
