-- Builds, one row per process of a compiler, linker or build tool: which, on what, how it ended.
-- @ts: When it ended, or for a running build when it started, UTC
-- @action: exit for a build that has ended, exec for one that runs
-- @outcome: running, succeeded, failed (exit code other than 0) or crashed (death by a signal)
SELECT
    ts, node, boot, seq, namespace, pod, pod_uid, container, container_id, workload_kind, workload,
    course, division, student, assignment, resolved,
    action, pid, ppid, uid, exec_id, parent_exec_id, comm, exe, argv, argv_truncated, cwd, hostname, cgroup,
    start_ts, duration_us, exit_code, signal, core_dumped, class, purpose, sources, target, forked, degraded,
    notebook,
    log_partition, log_offset, log_line,
    multiIf(action = 'exec', 'running', signal IS NOT NULL, 'crashed', exit_code = 0, 'succeeded', 'failed') AS outcome
FROM ${name:processes}
WHERE purpose = 'build'
