-- What is sealed and under which keys; what is kept for how long; who changed what.

-- Data keys, sealed under the master key, which stands elsewhere (`sealing.py`). Endpoints' headers, secrets and
-- settings are sealed under them.
CREATE TABLE sealing_key (
    id integer PRIMARY KEY,
    wrapped bytea NOT NULL,
    created double precision NOT NULL
);

-- Messages whose payload is kept for a time of their own.
CREATE TABLE message_keep (
    message bigint PRIMARY KEY,
    until double precision NOT NULL         -- Unix seconds
);
CREATE INDEX message_keep_until ON message_keep (until);

-- How far each rule of retention has come.
CREATE TABLE retention_mark (
    rule text PRIMARY KEY,
    reached bigint NOT NULL                 -- an id: what is older was looked at
);

-- Who changed what by the API.
CREATE TABLE audit (
    id bigint PRIMARY KEY,
    who text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    object text NOT NULL,                   -- the id of what was written; empty where there is none
    fields text NOT NULL,                   -- JSON array: names of the fields that the request gave
    request text NOT NULL,
    client text NOT NULL
);
