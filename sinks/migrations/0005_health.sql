-- What the parts say of themselves, what was lost, and what could not be understood.

CREATE TABLE IF NOT EXISTS ${table:progress}
(
    producer LowCardinality(String) COMMENT 'Kind of events that the record speaks of',
    watermark DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'No later event of this kind and boot carries an earlier time',
    next_seq UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Every seq below it has been assigned',
    seen UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Events seen in this boot; seen = filtered + emitted + lost',
    filtered UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Events left out on purpose in this boot',
    emitted UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Events that got a seq in this boot',
    lost UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Events lost at the source in this boot, before they had a seq',
    dropped UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Events with a seq that a full spool dropped in this boot',
    spooled_bytes UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Written to the spool and not yet acknowledged by the broker, bytes',
    oldest_age_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Age of the oldest batch that the broker has not acknowledged, milliseconds',
    interval_ms UInt32 DEFAULT 1000 CODEC(T64, ZSTD(1)) COMMENT 'When the next record is due, milliseconds',
    degraded Array(String) CODEC(ZSTD(1)) COMMENT 'Sentences: what does not work fully, and why',
    closing Bool COMMENT 'The last record of this boot: the producer stopped in order',
${include:event_columns}
)
ENGINE = ${engine:MergeTree}
PARTITION BY toDate(ts)
ORDER BY (node, producer, ts, seq)
${settings}
COMMENT 'What each producer said of itself, every second';

${distributed:progress:cityHash64(node)}

-- The newest progress record of each boot, so that neither the audit nor the view of nodes reads
-- the whole history. Written by the insert itself; a repeat changes nothing.
CREATE TABLE IF NOT EXISTS ${table:progress_newest}
(
    node LowCardinality(String) COMMENT 'Node of the producer',
    producer LowCardinality(String) COMMENT 'Kind of events that the record speaks of',
    boot LowCardinality(String) COMMENT 'Life of the producer',
    ts DateTime64(6, 'UTC') COMMENT 'When the record was written, UTC',
    seq UInt64 COMMENT 'Seq of the record; the highest is the newest',
    watermark DateTime64(6, 'UTC') COMMENT 'No later event of this kind and boot carries an earlier time',
    next_seq UInt64 COMMENT 'Every seq below it has been assigned',
    seen UInt64 COMMENT 'Events seen in this boot',
    filtered UInt64 COMMENT 'Events left out on purpose in this boot',
    emitted UInt64 COMMENT 'Events that got a seq in this boot',
    lost UInt64 COMMENT 'Events lost at the source in this boot',
    dropped UInt64 COMMENT 'Events that a full spool dropped in this boot',
    spooled_bytes UInt64 COMMENT 'In the spool at that moment, bytes',
    oldest_age_ms UInt64 COMMENT 'Age of the oldest batch in the spool, milliseconds',
    interval_ms UInt32 COMMENT 'When the next record is due, milliseconds',
    degraded Array(String) COMMENT 'Sentences: what does not work fully, and why',
    closing Bool COMMENT 'The producer stopped in order',
    insert_id UInt64 COMMENT 'Number of the insert that stored the record'
)
ENGINE = ${engine:ReplacingMergeTree(seq)}
ORDER BY (node, producer, boot)
${settings}
COMMENT 'The newest progress record of each boot; read it with FINAL';

${distributed:progress_newest:cityHash64(node)}

CREATE MATERIALIZED VIEW IF NOT EXISTS ${view:progress_newest_feed} TO ${local:progress_newest}
AS SELECT
    node, producer, boot, ts, seq, watermark, next_seq, seen, filtered, emitted, lost, dropped,
    spooled_bytes, oldest_age_ms, interval_ms, degraded, closing, insert_id
FROM ${local:progress};

CREATE TABLE IF NOT EXISTS ${table:losses}
(
    stage LowCardinality(String) COMMENT 'Where it was lost: kernel, observer, spool, worker or sink',
    kind LowCardinality(String) COMMENT 'Kind of the lost events',
    reason LowCardinality(String) COMMENT 'Why, in a fixed word, like ring_full',
    count Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'How many; NULL when it cannot be known',
    lost_boot LowCardinality(String) COMMENT 'Boot that the lost seqs belong to, where it is not that of the record',
    first_seq Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'First lost seq; NULL when they had none yet',
    last_seq Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Last lost seq',
    first_ts Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)) COMMENT 'When the loss began, UTC',
    last_ts Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)) COMMENT 'When it ended, UTC',
    detail String CODEC(ZSTD(3)) COMMENT 'What else is known, in words',
${include:event_columns}
)
ENGINE = ${engine:ReplacingMergeTree}
PARTITION BY toYYYYMM(ts)
ORDER BY (node, stage, kind, ts, boot, seq)
${settings}
COMMENT 'What was lost, where and why';

${distributed:losses:cityHash64(node)}

CREATE TABLE IF NOT EXISTS ${table:dead_letters}
(
    ts DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'When it was refused, UTC',
    stage LowCardinality(String) COMMENT 'Who refused it: worker or sink',
    kind LowCardinality(String) COMMENT 'Kind of the event',
    node LowCardinality(String) COMMENT 'Node that it came from',
    boot LowCardinality(String) COMMENT 'Life of the producer, where it could be read',
    seq Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Its seq, where it has one that can be trusted',
    count UInt64 DEFAULT 1 CODEC(T64, ZSTD(1)) COMMENT 'Events that it stands for',
    reason LowCardinality(String) COMMENT 'Why, in a fixed word, like bad_line',
    detail String CODEC(ZSTD(3)) COMMENT 'Why, in words',
    subject String CODEC(ZSTD(1)) COMMENT 'Subject that it came on',
    log_partition Nullable(UInt16) COMMENT 'Partition of the RAW log',
    log_offset Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Sequence of its message in the RAW log',
    log_line Nullable(UInt16) COMMENT 'Line within that message',
    encoding LowCardinality(String) DEFAULT 'utf-8' COMMENT 'utf-8 or base64: how the column payload holds it',
    payload String CODEC(ZSTD(3)) COMMENT 'The bytes that were refused, cut at 256 KiB',
    insert_id UInt64 DEFAULT toUInt64OrZero(getSetting('log_comment')) CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Number of the insert that stored it'
)
ENGINE = ${engine:ReplacingMergeTree}
PARTITION BY toYYYYMM(ts)
ORDER BY (stage, kind, node, boot, ifNull(seq, 0), reason, ifNull(log_partition, 0), ifNull(log_offset, 0), ifNull(log_line, 0), cityHash64(payload))
${settings}
COMMENT 'What could not be understood, whole, with its reason; read it with FINAL';

${distributed:dead_letters:cityHash64(node)}
