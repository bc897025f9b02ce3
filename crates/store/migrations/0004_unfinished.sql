-- Calls whose records are not both here and in the CDR file yet. `record` is what the record would be if the bridge stopped at
-- the last step of the call, as JSON.
CREATE TABLE unfinished (
    call TEXT PRIMARY KEY,
    began BIGINT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX unfinished_by_time ON unfinished (began, call);

-- When a bridge with calls was last known to run: one row.
CREATE TABLE pulse (
    one BIGINT PRIMARY KEY,
    moment BIGINT NOT NULL
);

-- Whether Meta heard of a business-initiated call: 0 where it was over before the customer was called. Unknown in older records.
ALTER TABLE cdrs ADD COLUMN reached BIGINT;
