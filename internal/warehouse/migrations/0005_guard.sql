-- What an evaluation of guarded audiences would change, until it is judged. Empty in between.
CREATE TABLE IF NOT EXISTS membership_staged
(
    audience LowCardinality(String),
    profile  UInt64,
    change   Enum8('entered' = 1, 'left' = 2)
)
ENGINE = MergeTree
ORDER BY (audience, profile);

-- The changes that guards keep back, row by row. Rows whose token is not in audience_holds are left over from a crash.
CREATE TABLE IF NOT EXISTS membership_held
(
    audience LowCardinality(String),
    token    String,
    profile  UInt64,
    change   Enum8('entered' = 1, 'left' = 2)
)
ENGINE = MergeTree
ORDER BY (audience, token, profile);

-- One row per change that is kept back: what it was computed from (definition, and the revision that it would follow),
-- what it would do, and the request (kohort.dev/requested-at) that stood when it was computed.
CREATE TABLE IF NOT EXISTS audience_holds
(
    audience   LowCardinality(String),
    token      String,
    revision   UInt64,
    definition String,
    entering   UInt64,
    leaving    UInt64,
    request    String,
    at         DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY audience;
