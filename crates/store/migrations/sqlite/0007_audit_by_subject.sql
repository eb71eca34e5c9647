-- Acts on connections are on record too: with many connections, the rows of one are found without reading those of all.

CREATE INDEX audit_by_subject ON audit (subject, id);
