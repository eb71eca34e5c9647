-- Who did what to what, and when: a row for each act on a service token, written in the transaction of the act. None is
-- changed or deleted. The id is that of the operation, so that an act that is sent again has one row.

CREATE TABLE audit (
    id      bytea PRIMARY KEY CHECK (octet_length(id) = 16),
    at      bigint NOT NULL,
    actor   text NOT NULL,
    deed    text NOT NULL,
    subject text NOT NULL,
    details text NOT NULL
);
