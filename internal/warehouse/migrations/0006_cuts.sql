-- What was cut apart by hand, one insert per request, which is message seq of the stream. A row of role cut or against
-- is an identifier of one side of the cut or the other: no profile holds identifiers of both again. moved is an identifier
-- that went to another profile then. refused is a request that could not be done, and reason says why. profile and since
-- are those of the identifier after the cut.
CREATE TABLE IF NOT EXISTS identity_cuts
(
    seq     UInt64,
    role    Enum8('cut' = 1, 'against' = 2, 'moved' = 3, 'refused' = 4),
    type    LowCardinality(String),
    value   String,
    profile UInt64,
    since   DateTime64(3, 'UTC'),
    reason  LowCardinality(String),
    at      DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (seq, role, type, value)
SETTINGS non_replicated_deduplication_window = 1000;
