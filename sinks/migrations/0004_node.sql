-- What lies on the node, what it uses, which pods it runs.

CREATE TABLE IF NOT EXISTS ${table:hostpath_events}
(
    action LowCardinality(String) COMMENT 'listing (the whole folder), appeared, changed or vanished (one entry)',
    root LowCardinality(String) COMMENT 'Folder of the node that is watched',
    path String CODEC(ZSTD(3)) COMMENT 'Path below the root; empty for a listing',
    type LowCardinality(String) COMMENT 'file, directory, symlink, socket, fifo, block or character',
    size Nullable(UInt64) CODEC(T64, ZSTD(1)) COMMENT 'Bytes',
    mtime Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)) COMMENT 'Modification time, UTC',
    mode Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Permission bits',
    entries Array(Tuple(path String, type LowCardinality(String), size UInt64, mtime Nullable(DateTime64(6, 'UTC')), mode UInt16)) CODEC(ZSTD(3)) COMMENT 'Of a listing: its entries, paths below the root',
    part UInt32 COMMENT 'Place of this part in a large listing, from 0',
    parts UInt32 DEFAULT 1 COMMENT 'Parts of the listing',
    missing Bool COMMENT 'The root does not exist',
    truncated Bool COMMENT 'The folder holds more entries than are listed',
${include:event_columns}
)
ENGINE = ${engine:MergeTree}
PARTITION BY toDate(ts)
ORDER BY (node, root, ts, seq)
${settings}
COMMENT 'What lies in folders of the nodes, and what changed there';

${distributed:hostpath_events:cityHash64(node)}

CREATE TABLE IF NOT EXISTS ${table:cgroup_samples}
(
    scope LowCardinality(String) COMMENT 'container, pod or node',
    cgroup String CODEC(ZSTD(3)) COMMENT 'Path below the cgroup root; / for the node',
    cgroup_id String CODEC(ZSTD(1)) COMMENT 'Tells a cgroup from an earlier one of the same path',
    cpu_usage_us Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'CPU time since the cgroup began, microseconds',
    cpu_user_us Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'CPU time in user mode since it began, microseconds',
    cpu_system_us Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'CPU time in the kernel since it began, microseconds',
    cpu_throttled_us Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Time stopped by a CPU limit since it began, microseconds',
    memory_bytes Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Memory charged, bytes',
    memory_working_set_bytes Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Memory less inactive file cache, as the kubelet counts it, bytes',
    memory_anon_bytes Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Anonymous memory, bytes',
    memory_file_bytes Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'File cache, bytes',
    memory_limit_bytes Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Memory limit, bytes; NULL without one',
    oom_kills Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Processes killed for lack of memory since it began',
    io_read_bytes Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Read from block devices since it began, bytes',
    io_write_bytes Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Written to block devices since it began, bytes',
    io_read_ops Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Reads from block devices since it began',
    io_write_ops Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Writes to block devices since it began',
    net_rx_bytes Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Received in its own network namespace since it began, bytes; NULL on the host network',
    net_tx_bytes Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Sent from its own network namespace since it began, bytes; NULL on the host network',
    host_network Bool COMMENT 'The pod uses the network of the node',
    pids Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Processes and threads',
    psi_cpu_some_us Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Time in which some task waited for CPU since it began, microseconds',
    psi_memory_some_us Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Time in which some task waited for memory since it began, microseconds',
    psi_io_some_us Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Time in which some task waited for IO since it began, microseconds',
    last Bool COMMENT 'The last sample of a cgroup that has gone since',
${include:event_columns}
)
ENGINE = ${engine:MergeTree}
PARTITION BY toDate(ts)
ORDER BY (node, cgroup, ts, seq)
${settings}
COMMENT 'Counters and gauges of cgroups as the kernel gives them; the differences are in buckets';

${distributed:cgroup_samples:cityHash64(node)}

CREATE TABLE IF NOT EXISTS ${table:pod_events}
(
    action LowCardinality(String) COMMENT 'observed or deleted',
    labels Map(LowCardinality(String), String) CODEC(ZSTD(1)) COMMENT 'Labels of the pod that the configuration names',
    containers Array(Tuple(name String, container_id String, image String)) CODEC(ZSTD(1)) COMMENT 'Containers of the pod',
    host_network Bool COMMENT 'The pod uses the network of the node',
    hostname LowCardinality(String) COMMENT 'Host name inside the pod',
    phase LowCardinality(String) COMMENT 'Phase of the pod, where the API told it',
    source LowCardinality(String) DEFAULT 'node' COMMENT 'api, or node: pieced together on the node alone',
${include:event_columns}
)
ENGINE = ${engine:MergeTree}
PARTITION BY toYYYYMM(ts)
ORDER BY (namespace, pod, pod_uid, ts, seq)
${settings}
COMMENT 'Pods, whole, each time that one changed';

${distributed:pod_events:cityHash64(node)}
