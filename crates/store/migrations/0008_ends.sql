-- What is told of the end of a call is of the number that it was told of: nobody tells of the calls of another number.
CREATE TABLE told_ends (
    number TEXT NOT NULL,
    wacid TEXT NOT NULL,
    received BIGINT NOT NULL,
    told TEXT NOT NULL,
    reconciled BIGINT NOT NULL,
    PRIMARY KEY (number, wacid)
);
INSERT INTO told_ends (number, wacid, received, told, reconciled)
    SELECT COALESCE((SELECT MIN(c.number) FROM cdrs c WHERE c.wacid = ends.wacid), ''), wacid, received, told, reconciled
    FROM ends;
DROP TABLE ends;
ALTER TABLE told_ends RENAME TO ends;
CREATE INDEX ends_by_state ON ends (reconciled, received);
CREATE INDEX ends_by_time ON ends (received);
