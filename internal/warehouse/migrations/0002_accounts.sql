-- What is known of an account (a company, a household): the latest value by event time, as for a customer.
CREATE TABLE IF NOT EXISTS account_traits
(
    account  String,
    name     LowCardinality(String),
    value    String,
    source   LowCardinality(String),
    party    LowCardinality(String),
    occurred DateTime64(3, 'UTC'),
    seq      UInt64
)
ENGINE = ReplacingMergeTree(occurred)
ORDER BY (account, name)
SETTINGS index_granularity = 512;

-- Who belongs to which account: the first and the last time that a group event said so. Both only widen, so a row that
-- is inserted again changes nothing.
CREATE TABLE IF NOT EXISTS account_members
(
    account String,
    profile UInt64,
    since   SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    seen    SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    INDEX by_profile profile TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = AggregatingMergeTree
ORDER BY (account, profile)
SETTINGS index_granularity = 512;
