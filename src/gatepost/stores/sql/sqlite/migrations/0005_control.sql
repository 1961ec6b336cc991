-- What the control API keeps: event types, tokens of portals, answers.

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
