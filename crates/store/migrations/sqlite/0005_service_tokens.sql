-- Programs that call us. Of their tokens only the SHA-256 is kept; no row is ever deleted.

CREATE TABLE service_tokens (
    id           BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    service      TEXT NOT NULL,
    hash         BLOB NOT NULL CHECK (length(hash) = 32),
    scopes       TEXT NOT NULL,
    notes        TEXT,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    successor    BLOB CHECK (length(successor) = 16),
    last_used_at INTEGER,
    revision     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX service_tokens_by_hash ON service_tokens (hash);

-- What changed, in the order of the changes. A use changes nothing, and moves no entry of any index.
CREATE UNIQUE INDEX service_tokens_by_revision ON service_tokens (revision);
