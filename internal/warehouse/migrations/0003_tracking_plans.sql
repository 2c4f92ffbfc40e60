-- What events broke of their Source's tracking plan: one row per batch, event, field and rule. violations counts them;
-- events counts the events whose first violation this is, so that the sum over all rows of an event's name is the number
-- of events. message_id is that of one of them.
CREATE TABLE IF NOT EXISTS violations
(
    source     LowCardinality(String),
    party      LowCardinality(String),
    event      LowCardinality(String),
    field      String,
    rule       LowCardinality(String),
    action     LowCardinality(String),
    message    String,
    message_id String,
    violations UInt64,
    events     UInt64,
    received   DateTime64(3, 'UTC'),
    seq        UInt64
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received)
ORDER BY (source, received)
TTL toDateTime(received) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 0, non_replicated_deduplication_window = 1000;

-- The terms that batches were judged by (tracking plans, windows), by the hash of their text.
CREATE TABLE IF NOT EXISTS ingest_terms
(
    hash    String,
    content String CODEC(ZSTD(1)),
    at      DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY hash;

-- The hash of a batch's terms, in its plan and when it is done; empty for none.
ALTER TABLE ingest_log ADD COLUMN IF NOT EXISTS terms String;
