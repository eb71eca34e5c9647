-- People who consent in a browser. Of ticket, state and cookie only fingerprints are kept; the verifier is sealed.

CREATE TABLE consents (
    id              bytea PRIMARY KEY CHECK (octet_length(id) = 16),
    connection      text COLLATE "C" NOT NULL,
    provider        text NOT NULL,
    ticket          bytea NOT NULL CHECK (octet_length(ticket) = 16),
    created_at      bigint NOT NULL,
    link_until      bigint NOT NULL,
    state           bytea CHECK (octet_length(state) = 16),
    browser         bytea CHECK (octet_length(browser) = 16),
    verifier        bytea,
    asked_at        bigint,
    asked_until     bigint,
    attempt         bytea CHECK (octet_length(attempt) = 16),
    refused_code    text,
    refused_message text,
    CHECK ((state IS NULL) = (asked_at IS NULL) AND (state IS NULL) = (asked_until IS NULL)),
    CHECK ((refused_code IS NULL) = (refused_message IS NULL)),
    CHECK (attempt IS NULL OR refused_code IS NULL)
);

CREATE UNIQUE INDEX consents_by_ticket ON consents (ticket);
CREATE UNIQUE INDEX consents_by_state ON consents (state) WHERE state IS NOT NULL;

-- The latest of each connection. Ids sort by time.
CREATE INDEX consents_by_connection ON consents (connection, id);
CREATE INDEX consents_by_link_until ON consents (link_until);
