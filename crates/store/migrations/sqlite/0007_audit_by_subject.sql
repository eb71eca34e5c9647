-- Acts on connections are on record too: with many connections, the rows of one are found without reading those of all.

CREATE INDEX IF NOT EXISTS audit_by_subject ON audit (subject, id);
