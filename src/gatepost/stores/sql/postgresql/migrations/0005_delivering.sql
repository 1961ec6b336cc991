-- How deliveries go on: asked for again, in an order, in a batch; what is known of lanes; work in the background.
ALTER TABLE delivery ADD COLUMN manual boolean;
ALTER TABLE delivery ADD COLUMN since double precision;
ALTER TABLE delivery ADD COLUMN ordering bigint;
ALTER TABLE delivery ADD COLUMN batch bigint;

DROP INDEX pending;
CREATE INDEX pending ON delivery (endpoint, due, message) WHERE state = 0 AND ordering IS NULL;
CREATE INDEX pending_in_order ON delivery (endpoint, ordering, message) WHERE state = 0 AND ordering IS NOT NULL;

CREATE TABLE lane (
    endpoint integer PRIMARY KEY,
    failing_since double precision,
    paused_until double precision,
    disabled_at double precision,
    reason text NOT NULL
);

CREATE TABLE task (
    id bigint PRIMARY KEY,
    app integer NOT NULL,
    endpoint integer NOT NULL,
    running boolean NOT NULL,
    document text NOT NULL
);
CREATE INDEX task_running ON task (id) WHERE running;
