-- People who consent in a browser. Of ticket, state and cookie only fingerprints are kept; the verifier is sealed.

CREATE TABLE consents (
    id              BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    connection      TEXT NOT NULL,
    provider        TEXT NOT NULL,
    ticket          BLOB NOT NULL CHECK (length(ticket) = 16),
    created_at      INTEGER NOT NULL,
    link_until      INTEGER NOT NULL,
    state           BLOB CHECK (length(state) = 16),
    browser         BLOB CHECK (length(browser) = 16),
    verifier        BLOB,
    asked_at        INTEGER,
    asked_until     INTEGER,
    attempt         BLOB CHECK (length(attempt) = 16),
    refused_code    TEXT,
    refused_message TEXT,
    CHECK ((state IS NULL) = (asked_at IS NULL) AND (state IS NULL) = (asked_until IS NULL)),
    CHECK ((refused_code IS NULL) = (refused_message IS NULL)),
    CHECK (attempt IS NULL OR refused_code IS NULL)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX consents_by_ticket ON consents (ticket);
CREATE UNIQUE INDEX consents_by_state ON consents (state) WHERE state IS NOT NULL;

-- The latest of each connection. Ids sort by time.
CREATE INDEX consents_by_connection ON consents (connection, id);
CREATE INDEX consents_by_link_until ON consents (link_until);
