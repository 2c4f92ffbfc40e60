-- What mapping a record of a Source again takes, beside its original: see internal/mapping.Record. Empty for an event.
ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS record String CODEC(ZSTD(1));
