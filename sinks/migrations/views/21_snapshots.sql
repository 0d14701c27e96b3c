-- What was in watched files, one row per content that was kept.
-- @ts: When the change had settled, UTC
-- @path: Absolute path of the file
-- @hash: Hash of the content, like blake2b:0f3a…
-- @size: Bytes of the content, before encoding
-- @encoding: utf-8 or base64: how the column content holds it
SELECT
    ts, node, boot, seq, namespace, pod, pod_uid, container, container_id, workload_kind, workload,
    course, division, student, assignment, resolved,
    path, hash, size, encoding, content,
    log_partition, log_offset, log_line
FROM ${name:snapshot_events}
