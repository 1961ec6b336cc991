-- How deliveries go on: asked for again, in an order, in a batch; what is known of lanes; work in the background.
ALTER TABLE delivery ADD COLUMN manual INTEGER;
ALTER TABLE delivery ADD COLUMN since REAL;
ALTER TABLE delivery ADD COLUMN ordering INTEGER;
ALTER TABLE delivery ADD COLUMN batch INTEGER;

DROP INDEX pending;
CREATE INDEX pending ON delivery (endpoint, due) WHERE state = 0 AND ordering IS NULL;
CREATE INDEX pending_in_order ON delivery (endpoint, ordering, message) WHERE state = 0 AND ordering IS NOT NULL;

CREATE TABLE lane (
    endpoint INTEGER PRIMARY KEY,
    failing_since REAL,
    paused_until REAL,
    disabled_at REAL,
    reason TEXT NOT NULL
);

CREATE TABLE task (
    id INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    endpoint INTEGER NOT NULL,
    running INTEGER NOT NULL,
    document TEXT NOT NULL
);
CREATE INDEX task_running ON task (id) WHERE running = 1;
