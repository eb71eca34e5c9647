-- How the background tasks of a node do, as JSON: `jeton status` and `jeton doctor` read it from the store.

ALTER TABLE nodes ADD COLUMN tasks TEXT NOT NULL DEFAULT '[]';
