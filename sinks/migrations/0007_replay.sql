-- Buckets that replay runs made, apart from the live ones. One partition per run, so that removing
-- a run is dropping its partition.

CREATE TABLE IF NOT EXISTS ${table:replay_buckets}
(
    run LowCardinality(String) COMMENT 'Name of the replay run',
${include:bucket_columns}
)
ENGINE = ${engine:ReplacingMergeTree(version)}
PARTITION BY run
ORDER BY (run, scope, kind, namespace, workload, pod, workload_kind, pod_uid, container, container_id, course, division, student, assignment, node, window_start)
${settings}
COMMENT 'Rows of 10-second windows that replay runs made; read it with FINAL';

${distributed:replay_buckets:cityHash64(node)}

CREATE TABLE IF NOT EXISTS ${table:replay_runs}
(
    run LowCardinality(String) COMMENT 'Name of the replay run',
    state LowCardinality(String) COMMENT 'feeding, done or failed',
    range_start DateTime64(6, 'UTC') COMMENT 'Begin of the windows that were asked for, UTC',
    range_end DateTime64(6, 'UTC') COMMENT 'End of them (not included), UTC',
    kinds Array(LowCardinality(String)) COMMENT 'Kinds that were fed; empty for all',
    nodes Array(LowCardinality(String)) COMMENT 'Nodes that were fed; empty for all',
    fed_messages UInt64 COMMENT 'Messages of RAW that were fed',
    fed_events UInt64 COMMENT 'Events in them',
    rows UInt64 COMMENT 'Rows of buckets that the run gave',
    seconds Float64 COMMENT 'How long it took, seconds',
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this was written, UTC'
)
ENGINE = ${engine:ReplacingMergeTree(updated_at)}
ORDER BY run
${settings}
COMMENT 'Replay runs; read it with FINAL';

${distributed:replay_runs:cityHash64(run)}
