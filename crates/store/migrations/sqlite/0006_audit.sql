-- Who did what to what, and when: a row for each act on a service token, written in the transaction of the act. None is
-- changed or deleted. The id is that of the operation, so that an act that is sent again has one row.

CREATE TABLE audit (
    id      BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    at      INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    deed    TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL
) STRICT, WITHOUT ROWID;
