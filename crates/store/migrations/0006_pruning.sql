-- When two names of one customer were last told to be one, to a day; unknown for those from before.
ALTER TABLE names ADD COLUMN met BIGINT;
CREATE INDEX names_by_time ON names (met);

-- What is forgotten is looked for by what it hangs on.
CREATE INDEX events_by_webhook ON events (webhook);
CREATE INDEX facts_by_customer ON facts (customer);
CREATE INDEX complaints_by_age ON complaints (moment);
CREATE INDEX requests_by_time ON requests (moment);
CREATE INDEX ends_by_time ON ends (received);
