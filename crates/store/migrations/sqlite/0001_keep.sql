-- Instants are microseconds since the Unix epoch; ids and fingerprints are 16 bytes; tokens are sealed by the keeper.

-- One row: what makes this the store of one installation, and the number of its last change.
CREATE TABLE store (
    only      INTEGER PRIMARY KEY CHECK (only = 1),
    revision  INTEGER NOT NULL,
    instance  BLOB CHECK (length(instance) = 16),
    key_check BLOB,
    CHECK ((instance IS NULL) = (key_check IS NULL))
) STRICT;

INSERT INTO store (only, revision) VALUES (1, 0);

CREATE TABLE settings (
    name  TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE connections (
    name             TEXT PRIMARY KEY NOT NULL,
    provider         TEXT NOT NULL,
    grant_id         BLOB NOT NULL CHECK (length(grant_id) = 16),
    state            TEXT NOT NULL,
    state_code       TEXT,
    paused           INTEGER NOT NULL CHECK (paused IN (0, 1)),
    generation       INTEGER NOT NULL CHECK (generation >= 0),
    revision         INTEGER NOT NULL,
    born_of          TEXT,
    lease_attempt    BLOB CHECK (length(lease_attempt) = 16),
    lease_node       BLOB CHECK (length(lease_node) = 16),
    lease_until      INTEGER,
    open_attempt     BLOB CHECK (length(open_attempt) = 16),
    due_at           INTEGER,
    cooling_until    INTEGER,
    failures         INTEGER NOT NULL,
    last_error       TEXT,
    brake_generation INTEGER,
    brake_until      INTEGER,
    brake_step       INTEGER,
    created_at       INTEGER NOT NULL,
    CHECK ((lease_attempt IS NULL) = (lease_until IS NULL) AND (lease_node IS NULL) = (lease_until IS NULL)),
    CHECK ((brake_generation IS NULL) = (brake_until IS NULL) AND (brake_step IS NULL) = (brake_until IS NULL))
) STRICT, WITHOUT ROWID;

-- What must be looked at, longest due first. The name is the cursor within one instant.
CREATE INDEX connections_by_due ON connections (due_at, name) WHERE due_at IS NOT NULL AND paused = 0;

-- What other processes changed, in the order of the changes.
CREATE UNIQUE INDEX connections_by_revision ON connections (revision);

-- The last line of defence: whatever a program believes, a token set is never replaced by an older one.
CREATE TRIGGER generations_never_go_back BEFORE UPDATE OF generation ON connections
WHEN NEW.generation < OLD.generation
BEGIN
    SELECT RAISE (ABORT, 'the generation of a connection never goes back');
END;

-- Token sets stand apart from bookkeeping, so that a lease or a failure rewrites no token.
CREATE TABLE tokens (
    connection          TEXT PRIMARY KEY NOT NULL REFERENCES connections (name),
    generation          INTEGER NOT NULL,
    attempt             BLOB NOT NULL CHECK (length(attempt) = 16),
    access              BLOB,
    refresh             BLOB,
    extras              BLOB,
    access_fingerprint  BLOB CHECK (length(access_fingerprint) = 16),
    refresh_fingerprint BLOB CHECK (length(refresh_fingerprint) = 16),
    obtained_at         INTEGER NOT NULL,
    access_expires_at   INTEGER,
    refresh_expires_at  INTEGER
) STRICT, WITHOUT ROWID;

-- Replies that came too late for their own commit.
CREATE TABLE strays (
    attempt             BLOB PRIMARY KEY NOT NULL CHECK (length(attempt) = 16),
    connection          TEXT NOT NULL REFERENCES connections (name),
    grant_id            BLOB NOT NULL CHECK (length(grant_id) = 16),
    generation          INTEGER NOT NULL,
    access              BLOB,
    refresh             BLOB,
    extras              BLOB,
    access_fingerprint  BLOB CHECK (length(access_fingerprint) = 16),
    refresh_fingerprint BLOB CHECK (length(refresh_fingerprint) = 16),
    obtained_at         INTEGER NOT NULL,
    access_expires_at   INTEGER,
    refresh_expires_at  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX strays_by_connection ON strays (connection, attempt);

-- The refresh log. Its ids sort by time.
CREATE TABLE attempts (
    id             BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    connection     TEXT NOT NULL,
    provider       TEXT NOT NULL,
    grant_id       BLOB NOT NULL CHECK (length(grant_id) = 16),
    trigger        TEXT NOT NULL,
    act            TEXT NOT NULL,
    status         TEXT NOT NULL,
    node           BLOB NOT NULL CHECK (length(node) = 16),
    generation     INTEGER NOT NULL,
    new_generation INTEGER,
    fingerprint    BLOB CHECK (length(fingerprint) = 16),
    recovers       BLOB CHECK (length(recovers) = 16),
    started_at     INTEGER NOT NULL,
    completed_at   INTEGER,
    lease_until    INTEGER,
    code           TEXT,
    http_status    INTEGER,
    message        TEXT,
    old_expires_at INTEGER,
    new_expires_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_by_connection ON attempts (connection, id);
CREATE INDEX attempts_by_status ON attempts (status, id);
CREATE INDEX attempts_by_fingerprint ON attempts (fingerprint, id) WHERE fingerprint IS NOT NULL;

-- Sealed replies that could not be read: they may be large, so the log does not carry them along.
CREATE TABLE kept_replies (
    attempt    BLOB PRIMARY KEY NOT NULL CHECK (length(attempt) = 16),
    connection TEXT NOT NULL,
    reply      BLOB NOT NULL
) STRICT;

CREATE INDEX kept_replies_by_connection ON kept_replies (connection);

-- What operators did. The id makes a repeated order harmless.
CREATE TABLE operations (
    id         BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    connection TEXT NOT NULL,
    act        TEXT NOT NULL,
    done_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
