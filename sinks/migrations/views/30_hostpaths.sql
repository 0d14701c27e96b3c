-- What lies in watched folders of the nodes: whole listings, and each entry that appeared, changed or vanished.
-- @action: listing (the whole folder), appeared, changed or vanished (one entry)
-- @ts: When it was seen, UTC
-- @path: Path below the root; empty for a listing
-- @size: Bytes
-- @mtime: Modification time, UTC
-- @type: file, directory, symlink, socket, fifo, block or character
-- @truncated: The folder holds more entries than are listed
SELECT
    ts, node, boot, seq, namespace, pod, pod_uid, container, container_id, workload_kind, workload,
    course, division, student, assignment, resolved,
    action, root, path, type, size, mtime, mode, entries, part, parts, missing, truncated,
    log_partition, log_offset, log_line
FROM ${name:hostpath_events}
