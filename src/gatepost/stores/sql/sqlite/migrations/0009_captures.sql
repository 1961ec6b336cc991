-- Sampled exchanges.

-- Single exchanges, redacted, that routes with `capture` kept.
CREATE TABLE capture (
    id INTEGER PRIMARY KEY,                 -- rises with time
    time REAL NOT NULL,                     -- Unix seconds
    route TEXT NOT NULL,
    status INTEGER NOT NULL,
    document BLOB NOT NULL                  -- JSON
);
