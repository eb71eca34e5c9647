-- Where a node runs and on which data directory, as JSON: two nodes with one data directory in two places are on clones of a disk.

ALTER TABLE nodes ADD COLUMN host TEXT NOT NULL DEFAULT '{}';
