-- Orders of calls that have keys (`Idempotency-Key`). `owner` is the token's name, `digest` is of what was ordered, `done` is 1 once
-- the order was answered with the call.
CREATE TABLE orders (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    call TEXT NOT NULL,
    made BIGINT NOT NULL,
    done BIGINT NOT NULL,
    PRIMARY KEY (owner, name)
);
CREATE INDEX orders_by_time ON orders (made);
