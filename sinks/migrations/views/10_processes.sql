-- One row per process: its exit record, or its last exec while it runs.
-- @action: exit for a process that has ended, exec for one that runs
-- @ts: When it ended, or for a running process when it started its program, UTC
SELECT
    ts, node, boot, seq, namespace, pod, pod_uid, container, container_id, workload_kind, workload,
    course, division, student, assignment, resolved,
    action, pid, ppid, uid, exec_id, parent_exec_id, comm, exe, argv, argv_truncated, cwd, hostname, cgroup,
    start_ts, duration_us, exit_code, signal, core_dumped, class, purpose, sources, target, forked, degraded,
    notebook,
    log_partition, log_offset, log_line
FROM ${name:process_events}
WHERE action = 'exit'
UNION ALL
SELECT
    ts, node, boot, seq, namespace, pod, pod_uid, container, container_id, workload_kind, workload,
    course, division, student, assignment, resolved,
    action, pid, ppid, uid, exec_id, parent_exec_id, comm, exe, argv, argv_truncated, cwd, hostname, cgroup,
    start_ts, duration_us, exit_code, signal, core_dumped, class, purpose, sources, target, forked, degraded,
    notebook,
    log_partition, log_offset, log_line
FROM ${name:process_live} FINAL
WHERE process_key NOT IN (SELECT process_key FROM ${name:process_ended})
