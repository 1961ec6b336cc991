-- Who may call: consumers, their keys, plans, and what quotas have counted.
CREATE TABLE consumer (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    tags TEXT,
    metadata TEXT NOT NULL,
    plans TEXT,
    routes TEXT,
    disabled INTEGER NOT NULL,
    declared INTEGER NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL
);
CREATE UNIQUE INDEX consumer_id ON consumer (id);
CREATE UNIQUE INDEX consumer_name ON consumer (name);

CREATE TABLE access_key (
    id INTEGER PRIMARY KEY,
    consumer INTEGER NOT NULL,
    digest BLOB NOT NULL,
    prefix TEXT NOT NULL,
    name TEXT NOT NULL,
    tags TEXT,
    metadata TEXT NOT NULL,
    expires REAL,
    told INTEGER NOT NULL DEFAULT 0,
    disabled INTEGER NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL
);
CREATE INDEX access_key_of_consumer ON access_key (consumer);
CREATE INDEX access_key_expiring ON access_key (expires) WHERE expires IS NOT NULL AND told = 0;

CREATE TABLE plan (
    name TEXT PRIMARY KEY,
    document TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE quota_count (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    state BLOB NOT NULL,
    ends REAL NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX quota_count_ends ON quota_count (ends);
