-- The book of what was stored: audit, deduplication and recovery read it.

CREATE TABLE IF NOT EXISTS ${table:ledger}
(
    kind LowCardinality(String) COMMENT 'Kind of the events',
    node LowCardinality(String) COMMENT 'Node that they came from',
    boot LowCardinality(String) COMMENT 'Life of the producer that saw them',
    first_seq UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'First seq of the interval that this row accounts for',
    last_seq UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Last seq of the interval',
    stored UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Events of the interval that were stored as rows',
    dead UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Events of the interval that the store refused; they are dead letters of stage sink',
    batches UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Messages of the log that the interval was made of',
    log_partition UInt16 COMMENT 'Partition of the RAW log',
    first_log_offset UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Sequence of the first of these messages in the RAW log',
    last_log_offset UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Sequence of the last of these messages in the RAW log',
    first_ts DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Time of the first event of the interval',
    insert_id UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Number of the insert that stored the rows',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(DoubleDelta, ZSTD(1)) COMMENT 'When this row was written',
    recovered Bool COMMENT 'Written after a crash, from rows that were found in the table'
)
ENGINE = ${engine:MergeTree}
PARTITION BY toDate(inserted_at)
ORDER BY (kind, node, boot, first_seq)
${settings}
COMMENT 'One row per interval of events that the sink accounted for';

${distributed:ledger:cityHash64(kind, node, boot)}

-- Where a day of the ledger is joined into fewer rows before it takes the place of the day.
CREATE TABLE IF NOT EXISTS ${table:ledger_compacting} AS ${local:ledger};
