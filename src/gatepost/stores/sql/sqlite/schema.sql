-- The whole schema as it stands today. A new database is made from this file; migrations/ bring an old one here,
-- and a test proves that both ways end equal.
--
-- Every identifier is a 63-bit integer that begins with milliseconds, and it is the rowid: rows arrive in key
-- order, so an insert touches the last page. Apps, endpoints, event types and URLs are small integers.

CREATE TABLE app (
    key INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: rows of a deleted app must not join a new one's
    id INTEGER NOT NULL,
    uid TEXT,
    name TEXT NOT NULL,
    metadata TEXT NOT NULL,                 -- JSON object
    throttle_rate INTEGER,
    declared INTEGER NOT NULL,
    created REAL NOT NULL,                  -- Unix seconds
    updated REAL NOT NULL,
    life INTEGER NOT NULL DEFAULT 0         -- 0 alive, 2 deleted
);
CREATE UNIQUE INDEX app_uid ON app (uid) WHERE uid IS NOT NULL;

CREATE TABLE endpoint (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id INTEGER NOT NULL,
    app INTEGER NOT NULL,
    uid TEXT,
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    event_types TEXT,                       -- JSON array; NULL: every type
    channels TEXT,                          -- JSON array; NULL: any channel and none
    headers TEXT NOT NULL,                  -- sealed: JSON object
    secrets TEXT NOT NULL,                  -- sealed: JSON array of {value, expires}, the newest first
    disabled INTEGER NOT NULL,
    version INTEGER NOT NULL,
    rate_limit INTEGER,
    metadata TEXT NOT NULL,
    declared INTEGER NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    life INTEGER NOT NULL DEFAULT 0,        -- 0 alive, 1 deleted with deliveries still to cancel, 2 deleted
    settings TEXT NOT NULL DEFAULT '{}'     -- sealed: JSON object, model.EndpointSettings
);
CREATE UNIQUE INDEX endpoint_uid ON endpoint (app, uid) WHERE uid IS NOT NULL;
CREATE INDEX endpoint_of_app ON endpoint (app);
CREATE INDEX endpoint_to_sweep ON endpoint (key) WHERE life = 1;

CREATE TABLE event_type (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE url (
    key INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
);

-- The columns that lists look at stand before the payload, so that a scan reads no overflow page.
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    type INTEGER NOT NULL,
    event_id TEXT,
    channels TEXT,                          -- JSON array; NULL: none
    tags TEXT,                              -- JSON array; NULL: none
    auto_key TEXT,                          -- `auto_…` idempotency key: read once, at start, never searched
    auto_digest BLOB,
    payload BLOB                            -- NULL once expired
);
CREATE INDEX message_of_app ON message (app);  -- (app, id): the rowid is an index's last column

-- Only messages with channels stand here. `channel` is a 63-bit hash of (app, name), made by the store: names like
-- /orders/12345 are as many as messages, and an integer is a fifth of the text. Readers compare the name itself.
CREATE TABLE message_channel (
    channel INTEGER NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (channel, message)
) WITHOUT ROWID;

-- What makes `eventId` unique in an app.
CREATE TABLE event_id (
    app INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (app, event_id)
) WITHOUT ROWID;

-- Explicit idempotency keys, kept for 12 hours. The rowid is the message, so the expired ones are the first rows.
CREATE TABLE idempotency (
    message INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL
);
CREATE UNIQUE INDEX idempotency_key ON idempotency (app, key);

CREATE TABLE delivery (
    message INTEGER NOT NULL,
    endpoint INTEGER NOT NULL,
    state INTEGER NOT NULL,                 -- lifecycle.State
    tries INTEGER NOT NULL,
    due REAL,                               -- Unix seconds while pending, NULL otherwise
    manual INTEGER,                         -- 1: a person asked for the next try
    since REAL,                             -- when it was asked for again; NULL: its time counts from the message's
    ordering INTEGER,                       -- one after another among those of the same number; NULL: free
    batch INTEGER,                          -- sent together with those of the same number; 0: alone from now on
    PRIMARY KEY (message, endpoint)
) WITHOUT ROWID;
-- Endpoint first: the backlog of a dead endpoint stands beside the others', not in front of them.
CREATE INDEX pending ON delivery (endpoint, due) WHERE state = 0 AND ordering IS NULL;
CREATE INDEX pending_in_order ON delivery (endpoint, ordering, message) WHERE state = 0 AND ordering IS NOT NULL;

-- What is known of a lane that has trouble; the others have no row.
CREATE TABLE lane (
    endpoint INTEGER PRIMARY KEY,
    failing_since REAL,                     -- Unix seconds; every try since then failed
    paused_until REAL,                      -- Unix seconds: the receiver asked for it
    disabled_at REAL,                       -- Unix seconds
    reason TEXT NOT NULL                    -- why it was disabled
);

-- Work in the background: recoveries and replays.
CREATE TABLE task (
    id INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    endpoint INTEGER NOT NULL,
    running INTEGER NOT NULL,
    document TEXT NOT NULL                  -- JSON of model.BackgroundTask
);
CREATE INDEX task_running ON task (id) WHERE running = 1;

CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    message INTEGER NOT NULL,
    endpoint INTEGER NOT NULL,
    type INTEGER NOT NULL,
    ok INTEGER NOT NULL,
    status INTEGER NOT NULL,
    url INTEGER NOT NULL,
    trigger INTEGER NOT NULL,
    started REAL NOT NULL,                  -- Unix seconds
    duration REAL NOT NULL,                 -- seconds
    error TEXT,                             -- NULL: none
    response BLOB                           -- at most 16 KiB; NULL: empty
);
CREATE INDEX attempt_of_endpoint ON attempt (endpoint);
CREATE INDEX attempt_of_message ON attempt (message);
CREATE INDEX attempt_failed ON attempt (endpoint) WHERE ok = 0;

-- What an endpoint's transform made of a message whose first try failed: every later try sends these bytes. They go
-- when the delivery is over.
CREATE TABLE shaped (
    endpoint INTEGER NOT NULL,
    message INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (endpoint, message)
) WITHOUT ROWID;

CREATE TABLE consumer (
    key INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: memory finds consumers by it
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    tags TEXT,                              -- JSON array; NULL: none
    metadata TEXT NOT NULL,                 -- JSON object
    plans TEXT,                             -- JSON array of names; NULL: none
    routes TEXT,                            -- JSON array of names; NULL: every one
    disabled INTEGER NOT NULL,
    declared INTEGER NOT NULL,              -- the file says what it may do; here are only its keys
    created REAL NOT NULL,
    updated REAL NOT NULL
);
CREATE UNIQUE INDEX consumer_id ON consumer (id);
CREATE UNIQUE INDEX consumer_name ON consumer (name);

-- Credentials of consumers: never a key itself.
CREATE TABLE access_key (
    id INTEGER PRIMARY KEY,
    consumer INTEGER NOT NULL,
    digest BLOB NOT NULL,                   -- SHA-256 of the key
    prefix TEXT NOT NULL,                   -- the key's first 8 characters
    name TEXT NOT NULL,
    tags TEXT,
    metadata TEXT NOT NULL,
    expires REAL,                           -- Unix seconds; NULL: never
    told INTEGER NOT NULL DEFAULT 0,        -- that it expired was told
    disabled INTEGER NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL
);
CREATE INDEX access_key_of_consumer ON access_key (consumer);
CREATE INDEX access_key_expiring ON access_key (expires) WHERE expires IS NOT NULL AND told = 0;

CREATE TABLE plan (
    name TEXT PRIMARY KEY,
    document TEXT NOT NULL                  -- JSON of model.Plan
) WITHOUT ROWID;

-- What quotas have counted: written every second, read at start.
CREATE TABLE quota_count (
    scope TEXT NOT NULL,                    -- which quota
    key TEXT NOT NULL,                      -- whom it counts
    state BLOB NOT NULL,                    -- 64-bit integers, as `policies/periods.py` keeps them
    ends REAL NOT NULL,                     -- Unix seconds when it counts no more
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX quota_count_ends ON quota_count (ends);

-- What analytics counted, by minute, hour and day.
CREATE TABLE analytics (
    span INTEGER NOT NULL,                  -- seconds: 60, 3600, 86400
    time INTEGER NOT NULL,                  -- Unix seconds where the span begins
    part INTEGER NOT NULL,                  -- tells lots of the same span apart; 0 for what was rolled up
    route TEXT NOT NULL,
    consumer TEXT NOT NULL,
    status INTEGER NOT NULL,                -- its class; 0: no response
    requests INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    gateway BLOB NOT NULL,                  -- sketches of durations
    upstream BLOB NOT NULL,
    PRIMARY KEY (span, time, part, route, consumer, status)
) WITHOUT ROWID, STRICT;

-- What is known of event types: description, JSON Schemas. (event_type above has the names that messages had.)
CREATE TABLE event_type_info (
    name TEXT PRIMARY KEY,
    document TEXT NOT NULL                  -- JSON of model.EventType
) WITHOUT ROWID;

-- What opens the API to an app's own people for a time.
CREATE TABLE portal_token (
    digest TEXT PRIMARY KEY,                -- SHA-256 of the token, in hex
    app INTEGER NOT NULL,
    expires REAL NOT NULL                   -- Unix seconds
) WITHOUT ROWID;
CREATE INDEX portal_token_expires ON portal_token (expires);

-- Answers to POSTs with an idempotency key, to be given again. Those that show a secret never stand here.
CREATE TABLE answer (
    place TEXT PRIMARY KEY,                 -- SHA-256 of path, query and key, in hex
    digest BLOB NOT NULL,                   -- of the request's body
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    expires REAL NOT NULL                   -- Unix seconds
) WITHOUT ROWID;
CREATE INDEX answer_expires ON answer (expires);

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

-- Single exchanges, redacted, that routes with `capture` kept.
CREATE TABLE capture (
    id INTEGER PRIMARY KEY,                 -- rises with time
    time REAL NOT NULL,                     -- Unix seconds
    route TEXT NOT NULL,
    status INTEGER NOT NULL,
    document BLOB NOT NULL                  -- JSON
);

-- How far those got who read along.
CREATE TABLE poller (
    app INTEGER NOT NULL,
    name TEXT NOT NULL,
    position TEXT NOT NULL,                 -- as `follow` gave it
    PRIMARY KEY (app, name)
) WITHOUT ROWID;

-- What the probe writes while the disk refuses; always empty.
CREATE TABLE probe (
    filler BLOB
);
