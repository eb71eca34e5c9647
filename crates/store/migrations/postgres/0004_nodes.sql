-- The processes that share this store, and their last sign of life.

CREATE TABLE nodes (
    id          bytea PRIMARY KEY CHECK (octet_length(id) = 16),
    name        text NOT NULL,
    version     text NOT NULL,
    definitions text NOT NULL,
    started_at  bigint NOT NULL,
    seen_at     bigint NOT NULL,
    live_until  bigint NOT NULL
);
