-- What reports and the quality guard need of a record without reading it. Records from before have none of it.
-- `who` names the customer as in `facts`. A complaint up to `blamable` is laid to the call; `blamed` is 1 once one is.
-- `cost` is JSON.
ALTER TABLE cdrs ADD COLUMN who TEXT;
ALTER TABLE cdrs ADD COLUMN answered BIGINT;
ALTER TABLE cdrs ADD COLUMN connected_ms BIGINT;
ALTER TABLE cdrs ADD COLUMN blamable BIGINT;
ALTER TABLE cdrs ADD COLUMN blamed BIGINT;
ALTER TABLE cdrs ADD COLUMN use_case TEXT;
ALTER TABLE cdrs ADD COLUMN country TEXT;
ALTER TABLE cdrs ADD COLUMN recording_bytes BIGINT;
ALTER TABLE cdrs ADD COLUMN cost TEXT;
CREATE INDEX cdrs_by_pair ON cdrs (number, who, began);

-- What became of a number's business-initiated calls that rang, for each day since the Unix epoch (UTC).
CREATE TABLE tallies (
    number TEXT NOT NULL,
    day BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    answered BIGINT NOT NULL,
    short BIGINT NOT NULL,
    blamed BIGINT NOT NULL,
    PRIMARY KEY (number, day)
);

-- What speaks against a number: customers' blocks and reports, and Meta's warnings and restrictions, which end at `until`.
-- `complaint` is the same for each telling of one. `blames` is 1 for what counts against the call it follows, `call` is that
-- call once it is known.
CREATE TABLE complaints (
    complaint TEXT PRIMARY KEY,
    number TEXT NOT NULL,
    customer TEXT,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    moment BIGINT NOT NULL,
    until BIGINT,
    blames BIGINT NOT NULL,
    call TEXT
);
CREATE INDEX complaints_by_time ON complaints (number, moment);

-- Permission requests that were part of a campaign; `cold` is 1 where nothing ever came from the customer.
CREATE TABLE requests (
    request TEXT PRIMARY KEY,
    campaign TEXT NOT NULL,
    moment BIGINT NOT NULL,
    cold BIGINT NOT NULL
);
CREATE INDEX requests_by_campaign ON requests (campaign, moment);
