-- Rows of 10-second windows and what is rolled up from the final ones. The metrics are columns that
-- the list in stream/contract/bucket_metrics.py adds after the migrations.
-- Rows are absolute values: the highest version of a key is the truth, so a repeat changes nothing.

CREATE TABLE IF NOT EXISTS ${table:buckets_10s}
(
${include:bucket_columns},
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1)) COMMENT 'When the row was stored, UTC',
    INDEX inserted_at_range inserted_at TYPE minmax GRANULARITY 1
)
ENGINE = ${engine:ReplacingMergeTree(version)}
PARTITION BY toDate(window_start)
PRIMARY KEY (scope, kind, toStartOfHour(window_start), namespace, workload, pod)
ORDER BY (scope, kind, toStartOfHour(window_start), namespace, workload, pod, workload_kind, pod_uid, container, container_id, course, division, student, assignment, node, window_start)
${settings}
COMMENT 'Rows of 10-second windows, one part per node; read it with FINAL';

${distributed:buckets_10s:cityHash64(node)}

CREATE TABLE IF NOT EXISTS ${table:buckets_1m}
(
${include:bucket_columns},
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1)) COMMENT 'When the row was stored, UTC',
    INDEX inserted_at_range inserted_at TYPE minmax GRANULARITY 1
)
ENGINE = ${engine:ReplacingMergeTree(version)}
PARTITION BY toYYYYMM(window_start)
PRIMARY KEY (scope, kind, toStartOfDay(window_start), namespace, workload, pod)
ORDER BY (scope, kind, toStartOfDay(window_start), namespace, workload, pod, workload_kind, pod_uid, container, container_id, course, division, student, assignment, node, window_start)
${settings}
COMMENT 'Rows of one minute, from final rows of 10 seconds; read it with FINAL';

${distributed:buckets_1m:cityHash64(node)}

CREATE TABLE IF NOT EXISTS ${table:buckets_1h}
(
${include:bucket_columns},
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1)) COMMENT 'When the row was stored, UTC',
    INDEX inserted_at_range inserted_at TYPE minmax GRANULARITY 1
)
ENGINE = ${engine:ReplacingMergeTree(version)}
PARTITION BY toYear(window_start)
PRIMARY KEY (scope, kind, toStartOfMonth(window_start), namespace, workload, pod)
ORDER BY (scope, kind, toStartOfMonth(window_start), namespace, workload, pod, workload_kind, pod_uid, container, container_id, course, division, student, assignment, node, window_start)
${settings}
COMMENT 'Rows of one hour, from final rows of 10 seconds; read it with FINAL';

${distributed:buckets_1h:cityHash64(node)}

-- How far the roll-ups have come: what was inserted later is rolled up by the next round.
CREATE TABLE IF NOT EXISTS ${table:rollups}
(
    target LowCardinality(String) COMMENT 'Table that is rolled up into: buckets_1m or buckets_1h',
    rolled_until DateTime64(3, 'UTC') COMMENT 'Rows inserted before this time are in it',
    windows UInt64 COMMENT 'Windows that the round wrote anew'
)
ENGINE = ${engine:ReplacingMergeTree(rolled_until)}
ORDER BY target
${settings}
COMMENT 'State of the roll-ups; read it with FINAL';

${distributed:rollups:cityHash64(target)}

-- What was erased on request, and by whom; the erased text itself is not repeated here.
CREATE TABLE IF NOT EXISTS ${table:erasures}
(
    erased_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When, UTC',
    request String COMMENT 'Names the request; one row per table and boot belongs to it',
    by String COMMENT 'Who asked for it, as given',
    reason String COMMENT 'Why, as given',
    subject_kind LowCardinality(String) COMMENT 'student, pod or path',
    subject_hash String COMMENT 'Salted hash of what was erased (salt$hash): with its name at hand one can check that it was',
    table_name LowCardinality(String) COMMENT 'Table that rows were erased from',
    kind LowCardinality(String) COMMENT 'Kind of the erased events; empty for rows of windows',
    node LowCardinality(String) COMMENT 'Node that they came from',
    boot LowCardinality(String) COMMENT 'Life of the producer that saw them',
    rows UInt64 COMMENT 'Rows that were erased'
)
ENGINE = ${engine:MergeTree}
ORDER BY (erased_at, table_name)
${settings}
COMMENT 'Record of every erasure';

${distributed:erasures:cityHash64(node)}
