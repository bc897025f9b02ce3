-- The same text for SQLite and PostgreSQL. Moments are milliseconds since the Unix epoch.

-- Webhooks as they came. `id` is a digest of path and body, so that the same body is kept once.
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    received BIGINT NOT NULL,
    kind TEXT,
    body TEXT NOT NULL
);
CREATE INDEX webhooks_by_time ON webhooks (received);

-- What they told: one row for each event, however often it is delivered. `settled` is 1 once the bridge has acted on it.
CREATE TABLE events (
    event TEXT PRIMARY KEY,
    webhook TEXT NOT NULL,
    received BIGINT NOT NULL,
    settled BIGINT NOT NULL
);
CREATE INDEX events_by_state ON events (settled, received);

-- What is known of pairs of number and customer. Two tellings of one fact are two rows; the ledger joins them.
CREATE TABLE facts (
    number TEXT NOT NULL,
    customer TEXT NOT NULL,
    fact TEXT NOT NULL,
    telling TEXT NOT NULL,
    moment BIGINT NOT NULL,
    PRIMARY KEY (number, customer, fact, telling)
);
CREATE INDEX facts_by_time ON facts (number, customer, moment);

-- Two names of one customer, both ways round.
CREATE TABLE names (
    name TEXT NOT NULL,
    other TEXT NOT NULL,
    PRIMARY KEY (name, other)
);

-- Call detail records: revision 1 is the record itself, later ones are what became known afterwards.
CREATE TABLE cdrs (
    call TEXT NOT NULL,
    revision BIGINT NOT NULL,
    source TEXT NOT NULL,
    written BIGINT NOT NULL,
    number TEXT NOT NULL,
    customer TEXT NOT NULL,
    wacid TEXT,
    direction TEXT NOT NULL,
    cause TEXT NOT NULL,
    began BIGINT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (call, revision),
    UNIQUE (call, source)
);
CREATE INDEX cdrs_by_time ON cdrs (began, call);
CREATE INDEX cdrs_by_number ON cdrs (number, began);
CREATE INDEX cdrs_by_wacid ON cdrs (wacid);

-- What webhooks told of the ends of calls, until it is part of the record.
CREATE TABLE ends (
    wacid TEXT PRIMARY KEY,
    received BIGINT NOT NULL,
    told TEXT NOT NULL,
    reconciled BIGINT NOT NULL
);
CREATE INDEX ends_by_state ON ends (reconciled, received);
