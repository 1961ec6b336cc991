-- How deliveries go on: those in order, what is known of lanes, work in the background.

-- name: heads
-- Of each ordering key behind `after` the first pending message: two seeks a key, however many wait behind it.
WITH RECURSIVE key (ordering) AS (
    SELECT min(ordering) FROM delivery INDEXED BY pending_in_order
    WHERE state = 0 AND ordering IS NOT NULL AND endpoint = :endpoint AND ordering > :after
    UNION ALL
    SELECT (SELECT min(d.ordering) FROM delivery AS d INDEXED BY pending_in_order
            WHERE d.state = 0 AND d.ordering IS NOT NULL AND d.endpoint = :endpoint AND d.ordering > key.ordering)
    FROM key WHERE key.ordering IS NOT NULL LIMIT :limit
)
SELECT d.message, d.endpoint, d.state, d.tries, d.due, d.manual, d.since, d.ordering, d.batch
FROM key CROSS JOIN delivery AS d ON d.endpoint = :endpoint AND d.message = (
    SELECT min(h.message) FROM delivery AS h INDEXED BY pending_in_order
    WHERE h.state = 0 AND h.ordering IS NOT NULL AND h.endpoint = :endpoint AND h.ordering = key.ordering)
WHERE key.ordering IS NOT NULL;

-- name: lanes_in_order
-- Endpoints with something pending that goes in order: one seek each.
SELECT key FROM endpoint AS e WHERE life = 0 AND EXISTS (
    SELECT 1 FROM delivery INDEXED BY pending_in_order
    WHERE state = 0 AND ordering IS NOT NULL AND endpoint = e.key
);

-- name: skip_delivery
UPDATE delivery SET state = 4, due = NULL, manual = NULL WHERE message = ? AND endpoint = ? AND state = 0
RETURNING message;

-- name: lane_states
SELECT l.endpoint, l.failing_since, l.paused_until, l.disabled_at, l.reason
FROM lane AS l CROSS JOIN endpoint AS e ON e.key = l.endpoint WHERE e.life = 0;

-- name: put_lane_state
INSERT INTO lane (endpoint, failing_since, paused_until, disabled_at, reason) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET failing_since = excluded.failing_since, paused_until = excluded.paused_until,
                          disabled_at = excluded.disabled_at, reason = excluded.reason;

-- name: drop_lane_state
DELETE FROM lane WHERE endpoint = ?;

-- name: disable_endpoint
UPDATE endpoint SET disabled = 1, updated = ? WHERE key = ? AND life = 0 AND disabled = 0 RETURNING key;

-- name: replay_delivery
-- Its tries begin anew. What goes in order keeps its place in it.
INSERT INTO delivery (message, endpoint, state, tries, due, since) VALUES (?, ?, 0, 0, ?, ?)
ON CONFLICT DO UPDATE SET state = 0, tries = 0, due = excluded.due, since = excluded.since, batch = NULL
WHERE state <> 0 AND (1 << state) & ? <> 0
RETURNING message;

-- name: insert_task
INSERT INTO task (id, app, endpoint, running, document) VALUES (?, ?, ?, ?, ?);

-- name: update_task
UPDATE task SET running = ?, document = ? WHERE id = ? AND document = ? RETURNING id;

-- name: task
SELECT document FROM task WHERE id = ?;

-- name: running_tasks
SELECT document FROM task INDEXED BY task_running WHERE running = 1 ORDER BY id;

-- name: list_tasks
SELECT id, document FROM task WHERE id BETWEEN :low AND :high AND (:endpoint IS NULL OR endpoint = :endpoint)
ORDER BY id {order} LIMIT :limit;

-- name: set_batch
UPDATE delivery SET batch = ? WHERE message = ? AND endpoint = ?;
