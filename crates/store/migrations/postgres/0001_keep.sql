-- Instants are microseconds since the Unix epoch; ids and fingerprints are 16 bytes; tokens are sealed by the keeper.

-- One row: what makes this the store of one installation. Whoever connects a grant locks it, so that two connections never
-- take one refresh token at the same time.
CREATE TABLE store (
    single    smallint PRIMARY KEY CHECK (single = 1),
    instance  bytea CHECK (octet_length(instance) = 16),
    key_check bytea,
    CHECK ((instance IS NULL) = (key_check IS NULL))
);

INSERT INTO store (single) VALUES (1);

-- Numbers the changes. Commits may pass each other, so a lower number may become visible after a higher one.
CREATE SEQUENCE revisions AS bigint;

CREATE TABLE settings (
    name  text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE connections (
    name             text COLLATE "C" PRIMARY KEY,
    provider         text NOT NULL,
    grant_id         bytea NOT NULL CHECK (octet_length(grant_id) = 16),
    state            text NOT NULL,
    state_code       text,
    paused           boolean NOT NULL,
    generation       bigint NOT NULL CHECK (generation >= 0),
    revision         bigint NOT NULL,
    born_of          text,
    lease_attempt    bytea CHECK (octet_length(lease_attempt) = 16),
    lease_node       bytea CHECK (octet_length(lease_node) = 16),
    lease_until      bigint,
    open_attempt     bytea CHECK (octet_length(open_attempt) = 16),
    due_at           bigint,
    cooling_until    bigint,
    failures         bigint NOT NULL,
    last_error       text,
    brake_generation bigint,
    brake_until      bigint,
    brake_step       bigint,
    created_at       bigint NOT NULL,
    CHECK ((lease_attempt IS NULL) = (lease_until IS NULL) AND (lease_node IS NULL) = (lease_until IS NULL)),
    CHECK ((brake_generation IS NULL) = (brake_until IS NULL) AND (brake_step IS NULL) = (brake_until IS NULL))
);

-- What must be looked at, longest due first. The name is the cursor within one instant.
CREATE INDEX connections_by_due ON connections (due_at, name) WHERE due_at IS NOT NULL AND NOT paused;

-- What other processes changed, in the order of the changes.
CREATE UNIQUE INDEX connections_by_revision ON connections (revision);

-- The last line of defence: whatever a program believes, a token set is never replaced by an older one.
CREATE FUNCTION refuse_an_older_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the generation of a connection never goes back' USING ERRCODE = 'check_violation';
END
$$;

CREATE TRIGGER generations_never_go_back BEFORE UPDATE ON connections
FOR EACH ROW WHEN (NEW.generation < OLD.generation) EXECUTE FUNCTION refuse_an_older_generation();

-- Token sets stand apart from bookkeeping, so that a lease or a failure rewrites no token.
CREATE TABLE tokens (
    connection          text COLLATE "C" PRIMARY KEY REFERENCES connections (name),
    generation          bigint NOT NULL,
    attempt             bytea NOT NULL CHECK (octet_length(attempt) = 16),
    access              bytea,
    refresh             bytea,
    extras              bytea,
    access_fingerprint  bytea CHECK (octet_length(access_fingerprint) = 16),
    refresh_fingerprint bytea CHECK (octet_length(refresh_fingerprint) = 16),
    obtained_at         bigint NOT NULL,
    access_expires_at   bigint,
    refresh_expires_at  bigint
);

-- Replies that came too late for their own commit.
CREATE TABLE strays (
    attempt             bytea PRIMARY KEY CHECK (octet_length(attempt) = 16),
    connection          text COLLATE "C" NOT NULL REFERENCES connections (name),
    grant_id            bytea NOT NULL CHECK (octet_length(grant_id) = 16),
    generation          bigint NOT NULL,
    access              bytea,
    refresh             bytea,
    extras              bytea,
    access_fingerprint  bytea CHECK (octet_length(access_fingerprint) = 16),
    refresh_fingerprint bytea CHECK (octet_length(refresh_fingerprint) = 16),
    obtained_at         bigint NOT NULL,
    access_expires_at   bigint,
    refresh_expires_at  bigint
);

CREATE INDEX strays_by_connection ON strays (connection, attempt);

-- The refresh log. Its ids sort by time.
CREATE TABLE attempts (
    id             bytea PRIMARY KEY CHECK (octet_length(id) = 16),
    connection     text COLLATE "C" NOT NULL,
    provider       text NOT NULL,
    grant_id       bytea NOT NULL CHECK (octet_length(grant_id) = 16),
    trigger        text NOT NULL,
    act            text NOT NULL,
    status         text NOT NULL,
    node           bytea NOT NULL CHECK (octet_length(node) = 16),
    generation     bigint NOT NULL,
    new_generation bigint,
    fingerprint    bytea CHECK (octet_length(fingerprint) = 16),
    recovers       bytea CHECK (octet_length(recovers) = 16),
    started_at     bigint NOT NULL,
    completed_at   bigint,
    lease_until    bigint,
    code           text,
    http_status    bigint,
    message        text,
    old_expires_at bigint,
    new_expires_at bigint
);

CREATE INDEX attempts_by_connection ON attempts (connection, id);
CREATE INDEX attempts_by_status ON attempts (status, id);
CREATE INDEX attempts_by_fingerprint ON attempts (fingerprint, id) WHERE fingerprint IS NOT NULL;

-- Sealed replies that could not be read: they may be large, so the log does not carry them along.
CREATE TABLE kept_replies (
    attempt    bytea PRIMARY KEY CHECK (octet_length(attempt) = 16),
    connection text COLLATE "C" NOT NULL,
    reply      bytea NOT NULL
);

CREATE INDEX kept_replies_by_connection ON kept_replies (connection);

-- What operators did. The id makes a repeated order harmless.
CREATE TABLE operations (
    id         bytea PRIMARY KEY CHECK (octet_length(id) = 16),
    connection text COLLATE "C" NOT NULL,
    act        text NOT NULL,
    done_at    bigint NOT NULL
);
