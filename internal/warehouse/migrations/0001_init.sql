-- Everything a Platform knows. A profile is a dense number (ordinal) inside the warehouse, for sets of dense numbers are
-- small and fast; its public id is in profiles. A row keeps the ordinal it was written with; profile_overrides says
-- where a merged ordinal went, always to the surviving one, never in two steps.

-- What customers did. Partitioned by arrival, so that an insert touches one partition and is atomic.
CREATE TABLE IF NOT EXISTS events
(
    event        LowCardinality(String),
    type         LowCardinality(String),
    profile      UInt64,
    occurred     DateTime64(3, 'UTC'),
    received     DateTime64(3, 'UTC'),
    message_id   String,
    source       LowCardinality(String),
    party        LowCardinality(String),
    user_id      String,
    anonymous_id String,
    properties   String CODEC(ZSTD(1)),
    context      String CODEC(ZSTD(1)),
    seq          UInt64 CODEC(Delta, ZSTD(1)),
    INDEX occurred_range occurred TYPE minmax GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received)
ORDER BY (event, profile, occurred)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 1000;

-- Which two identifiers were seen together, and where: the truth that identities is derived from. Append only.
CREATE TABLE IF NOT EXISTS identity_edges
(
    a_type     LowCardinality(String),
    a_value    String,
    b_type     LowCardinality(String),
    b_value    String,
    message_id String,
    source     LowCardinality(String),
    occurred   DateTime64(3, 'UTC'),
    received   DateTime64(3, 'UTC'),
    seq        UInt64
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received)
ORDER BY (a_type, a_value, b_type, b_value)
SETTINGS non_replicated_deduplication_window = 1000;

-- Whose an identifier is, looked up by value. A row is written once: profile is the customer as of version, and
-- profile_overrides says where it went.
CREATE TABLE IF NOT EXISTS identities
(
    type    LowCardinality(String),
    value   String,
    profile UInt64,
    since   DateTime64(3, 'UTC'),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (type, value)
SETTINGS index_granularity = 512;

-- The same, looked up by profile.
CREATE TABLE IF NOT EXISTS profile_identifiers
(
    profile UInt64,
    type    LowCardinality(String),
    value   String,
    since   DateTime64(3, 'UTC'),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (profile, type, value)
SETTINGS index_granularity = 512;

-- Public ids. rank is the priority of the identifier that the id was made of: 0 is the highest.
CREATE TABLE IF NOT EXISTS profiles
(
    profile UInt64,
    id      UUID,
    rank    UInt32,
    created DateTime64(3, 'UTC'),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY profile
SETTINGS index_granularity = 512;

-- Where a merged profile went: survivor is where it is now, in one step, and changes when the survivor is merged itself.
-- parent and merged, the profile it was merged into and the version of that merge, never change: they give the state
-- before any version back.
CREATE TABLE IF NOT EXISTS profile_overrides
(
    profile  UInt64,
    survivor UInt64,
    version  UInt64,
    parent   UInt64,
    merged   UInt64,
    INDEX by_survivor survivor TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY profile
SETTINGS index_granularity = 512;

-- What is known of a customer: the latest value by event time, of two at the same time the one that arrived last.
-- value is JSON; null means deleted.
CREATE TABLE IF NOT EXISTS traits
(
    profile  UInt64,
    name     LowCardinality(String),
    value    String,
    source   LowCardinality(String),
    party    LowCardinality(String),
    occurred DateTime64(3, 'UTC'),
    seq      UInt64
)
ENGINE = ReplacingMergeTree(occurred)
ORDER BY (profile, name)
SETTINGS index_granularity = 512;

-- Who is in which audience now.
CREATE TABLE IF NOT EXISTS memberships
(
    audience LowCardinality(String),
    profile  UInt64,
    since    DateTime64(3, 'UTC'),
    revision UInt64,
    deleted  UInt8
)
ENGINE = ReplacingMergeTree(revision, deleted)
ORDER BY (audience, profile);

-- Who entered and left, and when.
CREATE TABLE IF NOT EXISTS membership_log
(
    audience LowCardinality(String),
    at       DateTime64(3, 'UTC'),
    profile  UInt64,
    change   Enum8('entered' = 1, 'left' = 2),
    revision UInt64
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (audience, at, profile);

-- One row per evaluation that changed an audience or its definition.
CREATE TABLE IF NOT EXISTS audience_revisions
(
    audience   LowCardinality(String),
    revision   UInt64,
    definition String,
    size       UInt64,
    at         DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (audience, revision);

-- What a destination holds: one row per sync and customer, by public profile id. identifiers is a JSON object of lists
-- with every identifier ever sent, for a removal must name them all.
CREATE TABLE IF NOT EXISTS sync_state
(
    sync        LowCardinality(String),
    profile_id  String,
    payload     UInt64,
    identifiers String,
    status      Enum8('delivered' = 1, 'rejected' = 2, 'pending' = 3),
    reason      LowCardinality(String),
    at          DateTime64(3, 'UTC'),
    version     UInt64,
    deleted     UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (sync, profile_id);

-- What could not be taken in: the whole original, the stage that refused it, and why.
CREATE TABLE IF NOT EXISTS quarantine
(
    source   LowCardinality(String),
    party    LowCardinality(String),
    stage    LowCardinality(String),
    reason   LowCardinality(String),
    message  String,
    original String CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC'),
    seq      UInt64
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received)
ORDER BY (source, received)
SETTINGS non_replicated_deduplication_window = 1000;

-- Which messages were stored, for deduplication: a 128-bit hash of the message id, and the place in the stream.
CREATE TABLE IF NOT EXISTS message_ids
(
    hash     FixedString(16),
    received DateTime('UTC'),
    seq      UInt64
)
ENGINE = MergeTree
PARTITION BY toDate(received)
ORDER BY hash
TTL received + INTERVAL 30 DAY
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;

-- Which part of the stream is stored: a batch is planned before its rows are inserted, and done after. A plan holds
-- all that a replay needs to come to the same rows: the rules, as JSON, and the next free profile (in a done row: the
-- next free one after the batch).
CREATE TABLE IF NOT EXISTS ingest_log
(
    first_seq    UInt64,
    last_seq     UInt64,
    state        Enum8('planned' = 1, 'done' = 2),
    next_profile UInt64,
    rules        String,
    at           DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (first_seq, state)
SETTINGS non_replicated_deduplication_window = 1000;

-- How far a Source has been read.
CREATE TABLE IF NOT EXISTS cursors
(
    source  LowCardinality(String),
    key     String,
    value   String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (source, key);
