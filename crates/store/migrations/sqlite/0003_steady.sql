-- Durations hang on a steady clock: the time that the machine counts through suspensions, plus an offset that holds for
-- one boot of it. Instants stay civil; `drift` is how far the steady clock was ahead of the civil one when the row was
-- written, in microseconds.

ALTER TABLE store ADD COLUMN boot TEXT;
ALTER TABLE store ADD COLUMN steady_offset INTEGER;

ALTER TABLE connections ADD COLUMN drift INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN drift INTEGER NOT NULL DEFAULT 0;
