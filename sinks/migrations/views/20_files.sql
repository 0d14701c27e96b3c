-- One row per settled change of a watched file.
-- @action: created, modified, deleted, moved or found (by a first scan)
-- @ts: When the change had settled, UTC
-- @path: Absolute path; bytes that are not UTF-8 are written \xNN
-- @size: Bytes; NULL when the file is gone
-- @mtime: Modification time of the file, UTC
-- @hash: Hash of the content, like blake2b:0f3a…; empty where it was not read
-- @truncated: The content was longer than what was read
SELECT
    ts, node, boot, seq, namespace, pod, pod_uid, container, container_id, workload_kind, workload,
    course, division, student, assignment, resolved,
    action, path, old_path, size, mtime, hash, lines, writer_pid, writer_exec_id, truncated,
    log_partition, log_offset, log_line
FROM ${name:file_events}
