-- What a web page asks of a customer, in one range of rows for each profile: its public id (name), the profile that it was
-- merged into (survivor, in other), those that were merged into it (absorbed), and its audiences. Views copy it from
-- profiles, profile_overrides and memberships, which stay the truth, so that one read takes the place of four. Of rows with
-- one key the highest version counts. An absorbed row outlives a later merge of its profile; only the survivor row of the
-- other profile tells whether it still holds.
--
-- A part is one file: a look-up opens one for each part, not two for each column of it.
CREATE TABLE IF NOT EXISTS profile_cards
(
    profile  UInt64,
    what     Enum8('name' = 1, 'survivor' = 2, 'absorbed' = 3, 'audience' = 4),
    key      UInt64,
    audience LowCardinality(String),
    id       UUID,
    other    UInt64,
    at       DateTime64(3, 'UTC'),
    version  UInt64,
    deleted  UInt8
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (profile, what, key, audience)
SETTINGS index_granularity = 256, min_bytes_for_wide_part = 1000000000000;

CREATE MATERIALIZED VIEW IF NOT EXISTS profile_cards_of_profiles TO profile_cards AS
SELECT profile, 'name' AS what, id, created AS at, version FROM profiles;

CREATE MATERIALIZED VIEW IF NOT EXISTS profile_cards_of_survivors TO profile_cards AS
SELECT profile, 'survivor' AS what, survivor AS other, version FROM profile_overrides;

CREATE MATERIALIZED VIEW IF NOT EXISTS profile_cards_of_absorbed TO profile_cards AS
SELECT survivor AS profile, 'absorbed' AS what, o.profile AS key, version FROM profile_overrides AS o;

CREATE MATERIALIZED VIEW IF NOT EXISTS profile_cards_of_memberships TO profile_cards AS
SELECT profile, 'audience' AS what, audience, since AS at, revision AS version, deleted FROM memberships;

-- What is there already; a second time changes nothing.
INSERT INTO profile_cards (profile, what, id, at, version) SELECT profile, 'name', id, created, version FROM profiles;
INSERT INTO profile_cards (profile, what, other, version) SELECT profile, 'survivor', survivor, version FROM profile_overrides;
INSERT INTO profile_cards (profile, what, key, version) SELECT survivor, 'absorbed', profile, version FROM profile_overrides;
INSERT INTO profile_cards (profile, what, audience, at, version, deleted) SELECT profile, 'audience', audience, since, revision, deleted FROM memberships;

-- Where the events of a profile are: numbers of rows, sorted by profile, in each part of events. Rows that are deleted
-- leave it with their part.
ALTER TABLE events MODIFY SETTING lightweight_mutation_projection_mode = 'rebuild';
ALTER TABLE events ADD PROJECTION IF NOT EXISTS by_profile INDEX profile TYPE basic;
ALTER TABLE events MATERIALIZE PROJECTION by_profile;

ALTER TABLE identities MODIFY SETTING min_bytes_for_wide_part = 1000000000000;
