-- Who asked for a refresh and what the provider said, in the refresh log; what it said last, with the connection; what a
-- token set is good for, beside it.

ALTER TABLE attempts ADD COLUMN IF NOT EXISTS asked_by TEXT;
ALTER TABLE attempts ADD COLUMN IF NOT EXISTS provider_message TEXT;
ALTER TABLE connections ADD COLUMN IF NOT EXISTS provider_message TEXT;
ALTER TABLE tokens ADD COLUMN IF NOT EXISTS scope TEXT;
ALTER TABLE strays ADD COLUMN IF NOT EXISTS scope TEXT;
ALTER TABLE consents ADD COLUMN IF NOT EXISTS refused_provider_message TEXT;
