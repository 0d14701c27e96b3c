-- Files that appear, change, move or go.

CREATE TABLE IF NOT EXISTS ${table:file_events}
(
    action LowCardinality(String) COMMENT 'created, modified, deleted, moved or found (by a first scan)',
    path String CODEC(ZSTD(3)) COMMENT 'Absolute path; bytes that are not UTF-8 are written \\xNN',
    old_path String CODEC(ZSTD(3)) COMMENT 'Path before a move; empty for other actions',
    size Nullable(UInt64) CODEC(T64, ZSTD(1)) COMMENT 'Bytes; NULL when the file is gone',
    mtime Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)) COMMENT 'Modification time of the file, UTC',
    hash String CODEC(ZSTD(1)) COMMENT 'Hash of the content, like blake2b:0f3a…; empty where it was not read',
    lines Nullable(UInt64) CODEC(T64, ZSTD(1)) COMMENT 'Lines of the content, where it was read',
    writer_pid Nullable(UInt32) CODEC(T64, ZSTD(1)) COMMENT 'Process that wrote it, where the kernel told',
    writer_exec_id String CODEC(ZSTD(1)) COMMENT 'exec_id of that process; joins the view processes',
    truncated Bool COMMENT 'The content was longer than what was read',
${include:event_columns}
)
ENGINE = ${engine:MergeTree}
PARTITION BY toDate(ts)
ORDER BY (namespace, path, ts, seq)
${settings}
COMMENT 'Every settled change of a watched file';

${distributed:file_events:cityHash64(node)}

-- Similar versions lie beside each other, in blocks that are large enough to compress them together.
CREATE TABLE IF NOT EXISTS ${table:snapshot_events}
(
    path String CODEC(ZSTD(3)) COMMENT 'Absolute path of the file',
    hash String CODEC(ZSTD(1)) COMMENT 'Hash of the content, like blake2b:0f3a…',
    size UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Bytes of the content, before encoding',
    encoding LowCardinality(String) COMMENT 'utf-8 or base64: how the column content holds it',
    content String CODEC(ZSTD(3)) COMMENT 'What was in the file' SETTINGS (min_compress_block_size = 1048576, max_compress_block_size = 4194304),
${include:event_columns}
)
ENGINE = ${engine:MergeTree}
PARTITION BY toDate(ts)
ORDER BY (namespace, path, ts, seq)
${settings}
COMMENT 'Contents of watched files after each settled change';

${distributed:snapshot_events:cityHash64(node)}
