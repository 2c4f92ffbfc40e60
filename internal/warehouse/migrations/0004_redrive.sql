-- What a row of quarantine is called: the same row has the same id wherever it is read.
ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS id FixedString(16)
    MATERIALIZED sipHash128(toString(source), toString(party), toString(stage), toString(reason), original, toUnixTimestamp64Milli(received), seq);

-- Rows of quarantine that were let in again: seq is the message of the stream that brought them.
CREATE TABLE IF NOT EXISTS quarantine_released
(
    id       FixedString(16),
    received DateTime64(3, 'UTC'),
    seq      UInt64
)
ENGINE = MergeTree
ORDER BY id
SETTINGS non_replicated_deduplication_window = 1000;
