-- Events on their way to the endpoints that want them. Those of one stream (a call, a customer) go to an endpoint one after the
-- other, by place. `dead` is 1 once delivery was given up; such a row stays until it is retried or forgotten.
CREATE TABLE outbox (
    endpoint TEXT NOT NULL,
    id TEXT NOT NULL,
    stream TEXT NOT NULL,
    place BIGINT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    made BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    due BIGINT NOT NULL,
    dead BIGINT NOT NULL,
    why TEXT,
    PRIMARY KEY (endpoint, id)
);
CREATE INDEX outbox_by_stream ON outbox (endpoint, stream, dead, place);
CREATE INDEX outbox_by_due ON outbox (endpoint, dead, due, place);
CREATE INDEX outbox_by_place ON outbox (place);
