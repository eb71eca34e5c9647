-- Programs that call us. Of their tokens only the SHA-256 is kept; no row is ever deleted.

CREATE TABLE service_tokens (
    id           bytea PRIMARY KEY CHECK (octet_length(id) = 16),
    service      text NOT NULL,
    hash         bytea NOT NULL CHECK (octet_length(hash) = 32),
    scopes       text NOT NULL,
    notes        text,
    created_at   bigint NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    successor    bytea CHECK (octet_length(successor) = 16),
    last_used_at bigint,
    revision     bigint NOT NULL
);

CREATE UNIQUE INDEX service_tokens_by_hash ON service_tokens (hash);

-- What changed, in the order of the changes: who gives a revision holds the whole table, so that commits do not pass each
-- other. A use changes nothing, and moves no entry of any index.
CREATE UNIQUE INDEX service_tokens_by_revision ON service_tokens (revision);
