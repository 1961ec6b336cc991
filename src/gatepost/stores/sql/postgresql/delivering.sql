-- How deliveries go on: those in order, what is known of lanes, work in the background.

-- name: heads
-- Of each ordering key behind `after` the first pending message: two seeks a key, however many wait behind it.
WITH RECURSIVE key (ordering) AS (
    (SELECT ordering FROM delivery WHERE state = 0 AND ordering IS NOT NULL AND endpoint = $1 AND ordering > $2
     ORDER BY ordering LIMIT 1)
    UNION ALL
    SELECT (SELECT d.ordering FROM delivery AS d
            WHERE d.state = 0 AND d.ordering IS NOT NULL AND d.endpoint = $1 AND d.ordering > key.ordering
            ORDER BY d.ordering LIMIT 1)
    FROM key WHERE key.ordering IS NOT NULL
)
SELECT d.message, d.endpoint, d.state, d.tries, d.due, d.manual, d.since, d.ordering, d.batch
FROM (SELECT ordering FROM key LIMIT $3) AS key CROSS JOIN LATERAL (
    SELECT * FROM delivery AS h
    WHERE h.state = 0 AND h.ordering IS NOT NULL AND h.endpoint = $1 AND h.ordering = key.ordering
    ORDER BY h.message LIMIT 1) AS d
WHERE key.ordering IS NOT NULL ORDER BY d.ordering;

-- name: lanes_in_order
-- Endpoints with something pending that goes in order: one seek each.
SELECT key FROM endpoint AS e WHERE life = 0 AND EXISTS (
    SELECT 1 FROM delivery WHERE state = 0 AND ordering IS NOT NULL AND endpoint = e.key
);

-- name: skip_delivery
UPDATE delivery SET state = 4, due = NULL, manual = NULL WHERE message = $1 AND endpoint = $2 AND state = 0
RETURNING message;

-- name: lane_states
SELECT l.endpoint, l.failing_since, l.paused_until, l.disabled_at, l.reason
FROM lane AS l JOIN endpoint AS e ON e.key = l.endpoint WHERE e.life = 0;

-- name: put_lane_state
INSERT INTO lane (endpoint, failing_since, paused_until, disabled_at, reason) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (endpoint) DO UPDATE SET failing_since = excluded.failing_since, paused_until = excluded.paused_until,
                                     disabled_at = excluded.disabled_at, reason = excluded.reason;

-- name: drop_lane_state
DELETE FROM lane WHERE endpoint = $1;

-- name: disable_endpoint
UPDATE endpoint SET disabled = true, updated = $1 WHERE key = $2 AND life = 0 AND NOT disabled RETURNING key;

-- name: replay_deliveries
-- Their tries begin anew. What goes in order keeps its place in it.
INSERT INTO delivery (app, message, endpoint, state, tries, due, since)
SELECT $1, m.id, $3, 0, 0, $4, $4 FROM unnest($2::bigint[]) AS m (id)
ON CONFLICT (app, message, endpoint) DO UPDATE
SET state = 0, tries = 0, due = excluded.due, since = excluded.since, batch = NULL
WHERE delivery.state <> 0 AND (1 << delivery.state) & $5::int <> 0
RETURNING message;

-- name: insert_task
INSERT INTO task (id, app, endpoint, running, document) VALUES ($1, $2, $3, $4, $5);

-- name: update_task
UPDATE task SET running = $1, document = $2 WHERE id = $3 AND document = $4 RETURNING id;

-- name: task
SELECT document FROM task WHERE id = $1;

-- name: running_tasks
SELECT document FROM task WHERE running ORDER BY id;

-- name: list_tasks
SELECT id, document FROM task WHERE id BETWEEN $1 AND $2 AND ($3::int IS NULL OR endpoint = $3::int)
ORDER BY id {order} LIMIT $4;

-- name: set_batches
UPDATE delivery AS d SET batch = b.batch
FROM unnest($1::int[], $2::bigint[], $3::int[], $4::bigint[]) AS b (app, message, endpoint, batch)
WHERE d.app = b.app AND d.message = b.message AND d.endpoint = b.endpoint;
