-- Whose calls these are: bridges may share a database. `seen` is when a bridge that is gone was last known to run, once another
-- has taken its calls over.
ALTER TABLE unfinished ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE unfinished ADD COLUMN seen BIGINT;
CREATE INDEX unfinished_by_owner ON unfinished (owner);

-- When each bridge with calls was last known to run.
DROP TABLE pulse;
CREATE TABLE pulses (
    owner TEXT PRIMARY KEY,
    moment BIGINT NOT NULL
);
