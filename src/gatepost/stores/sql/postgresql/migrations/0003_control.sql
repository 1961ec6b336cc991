-- What the control API keeps: event types, tokens of portals, answers.

-- What is known of event types: description, JSON Schemas. (event_type above has the names that messages had.)
CREATE TABLE event_type_info (
    name text COLLATE "C" PRIMARY KEY,
    document text,                          -- JSON of model.EventType; NULL: deleted, which other nodes must hear
    changed xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX event_type_info_changed ON event_type_info (changed);

-- What opens the API to an app's own people for a time.
CREATE TABLE portal_token (
    digest text PRIMARY KEY,                -- SHA-256 of the token, in hex
    app integer NOT NULL,
    expires double precision NOT NULL       -- Unix seconds
);
CREATE INDEX portal_token_expires ON portal_token (expires);

-- Answers to POSTs with an idempotency key, to be given again. Those that show a secret never stand here.
CREATE TABLE answer (
    place text PRIMARY KEY,                 -- SHA-256 of path, query and key, in hex
    digest bytea NOT NULL,                  -- of the request's body
    status integer NOT NULL,
    body bytea NOT NULL,
    expires double precision NOT NULL       -- Unix seconds
);
CREATE INDEX answer_expires ON answer (expires);
