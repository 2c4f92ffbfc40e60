-- What a customer was sent last: under which ordinal, for which entry into the audience (the revision that made them a
-- member), and where (a hash of what holds the rows). 0 in rows that were written before.
ALTER TABLE sync_state ADD COLUMN IF NOT EXISTS profile UInt64, ADD COLUMN IF NOT EXISTS entry UInt64, ADD COLUMN IF NOT EXISTS holder UInt64;
