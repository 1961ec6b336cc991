-- Sampled exchanges.

-- Single exchanges, redacted, that routes with `capture` kept.
CREATE TABLE capture (
    id bigint PRIMARY KEY,                  -- rises with time
    time double precision NOT NULL,         -- Unix seconds
    route text NOT NULL,
    status integer NOT NULL,
    document bytea NOT NULL                 -- JSON
);
