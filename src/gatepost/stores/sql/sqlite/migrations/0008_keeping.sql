-- What is sealed and under which keys; what is kept for how long; who changed what.

-- Data keys, sealed under the master key, which stands elsewhere (`sealing.py`). Endpoints' headers, secrets and
-- settings are sealed under them.
CREATE TABLE sealing_key (
    id INTEGER PRIMARY KEY,
    wrapped BLOB NOT NULL,
    created REAL NOT NULL
);

-- Messages whose payload is kept for a time of their own.
CREATE TABLE message_keep (
    message INTEGER PRIMARY KEY,
    until REAL NOT NULL                     -- Unix seconds
);
CREATE INDEX message_keep_until ON message_keep (until);

-- How far each rule of retention has come.
CREATE TABLE retention_mark (
    rule TEXT PRIMARY KEY,
    reached INTEGER NOT NULL                -- an id: what is older was looked at
) WITHOUT ROWID;

-- Who changed what by the API.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    who TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    object TEXT NOT NULL,                   -- the id of what was written; empty where there is none
    fields TEXT NOT NULL,                   -- JSON array: names of the fields that the request gave
    request TEXT NOT NULL,
    client TEXT NOT NULL
);
