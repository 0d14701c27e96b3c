-- Programs that start and end.

CREATE TABLE IF NOT EXISTS ${table:process_events}
(
${include:process_columns}
${include:event_columns},
    INDEX exec_id_bloom exec_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX container_id_set container_id TYPE set(64) GRANULARITY 1
)
ENGINE = ${engine:MergeTree}
PARTITION BY toDate(ts)
ORDER BY (namespace, node, ts, seq)
${settings}
COMMENT 'Every exec and every exit, as the producers saw them';

${distributed:process_events:cityHash64(node)}

-- The newest exec of every process, and apart from it, in few bytes, which of them have ended. Upkeep
-- takes the ended ones out of both, so they stay as small as the number of processes that run.
CREATE TABLE IF NOT EXISTS ${table:process_live}
(
${include:process_columns}
${include:event_columns},
    process_key UInt64 COMMENT 'Names one process, whose execs and exit share one exec_id',
    state_version UInt64 COMMENT 'The newest of these rows counts'
)
ENGINE = ${engine:ReplacingMergeTree(state_version)}
ORDER BY process_key
${settings}
COMMENT 'The newest exec of every process, ended or not until the next upkeep; read it with FINAL';

${distributed:process_live:process_key}

CREATE TABLE IF NOT EXISTS ${table:process_ended}
(
    process_key UInt64 COMMENT 'Names a process that has ended',
    insert_id UInt64 COMMENT 'Number of the insert that stored its exit',
    stored_at DateTime('UTC') DEFAULT now() COMMENT 'When its exit was stored, UTC'
)
ENGINE = ${engine:MergeTree}
PARTITION BY toStartOfTenMinutes(stored_at)
ORDER BY process_key
${settings}
COMMENT 'Processes that ended since the last upkeep';

${distributed:process_ended:process_key}

CREATE MATERIALIZED VIEW IF NOT EXISTS ${view:process_live_feed} TO ${local:process_live}
AS SELECT
    *,
    sipHash64(node, exec_id) AS process_key,
    toUInt64(toUnixTimestamp64Micro(ts)) AS state_version
FROM ${local:process_events}
WHERE action = 'exec' AND NOT notebook;

CREATE MATERIALIZED VIEW IF NOT EXISTS ${view:process_ended_feed} TO ${local:process_ended}
AS SELECT
    sipHash64(node, exec_id) AS process_key,
    insert_id
FROM ${local:process_events}
WHERE action = 'exit' AND NOT notebook;
