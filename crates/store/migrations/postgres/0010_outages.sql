-- Which token endpoints do not answer a node, as JSON, and since when the refreshes of a connection fail: `jeton status` and
-- `jeton doctor` read both from the store.

ALTER TABLE nodes ADD COLUMN IF NOT EXISTS unavailable TEXT NOT NULL DEFAULT '[]';
ALTER TABLE connections ADD COLUMN IF NOT EXISTS failing_since bigint;
