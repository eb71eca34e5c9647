-- The processes that share this store, and their last sign of life.

CREATE TABLE nodes (
    id          BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    name        TEXT NOT NULL,
    version     TEXT NOT NULL,
    definitions TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    live_until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
