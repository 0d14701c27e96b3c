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

-- The newest record of every process that has not ended. An exit leaves a row with ended = 1 that
-- hides the exec until a clean-up takes both away, so the table stays as small as the number of
-- processes that run.
CREATE TABLE IF NOT EXISTS ${table:process_live}
(
${include:process_columns}
${include:event_columns},
    process_key UInt64 COMMENT 'Names one process, whose execs and exit share one exec_id',
    ended UInt8 COMMENT '1 once the exit was seen',
    state_version UInt64 COMMENT 'The newest of these rows counts; an exit is newer than every exec'
)
ENGINE = ${engine:ReplacingMergeTree(state_version, ended)}
ORDER BY process_key
${settings_cleanup}
COMMENT 'The newest record of every process that has not ended; read it with FINAL';

${distributed:process_live:process_key}

CREATE MATERIALIZED VIEW IF NOT EXISTS ${view:process_live_feed} TO ${local:process_live}
AS SELECT
    *,
    sipHash64(node, exec_id) AS process_key,
    toUInt8(action = 'exit') AS ended,
    bitOr(toUInt64(toUnixTimestamp64Micro(ts)), bitShiftLeft(toUInt64(ended), 62)) AS state_version
FROM ${local:process_events}
WHERE NOT notebook;
