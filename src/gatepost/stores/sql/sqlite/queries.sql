-- Named queries of the SQLite store; `queries.py` reads them. A statement with one VALUES (?, …) group is also run
-- with many groups at once. {order} is ASC or DESC, the only text ever put into a query.

-- Writing, hot ------------------------------------------------------------------------------------------------------

-- name: insert_message
INSERT INTO message (id, app, type, event_id, channels, tags, auto_key, auto_digest, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_delivery
INSERT INTO delivery (message, endpoint, state, tries, due) VALUES (?, ?, ?, ?, ?);

-- name: insert_ordered_delivery
INSERT INTO delivery (message, endpoint, state, tries, due, ordering) VALUES (?, ?, ?, ?, ?, ?);

-- name: put_delivery
-- One statement for the first try and for every later one: as an UPDATE for each row it cost 2 µs more.
INSERT INTO delivery (message, endpoint, state, tries, due) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET state = excluded.state, tries = excluded.tries, due = excluded.due, manual = NULL;

-- name: insert_attempt
INSERT INTO attempt (id, message, endpoint, type, ok, status, url, trigger, started, duration, error, response)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_channel
INSERT INTO message_channel (channel, message) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: claim_event_id
INSERT INTO event_id (app, event_id, message) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING message;

-- name: owner_of_event_id
SELECT message FROM event_id WHERE app = ? AND event_id = ?;

-- name: find_idempotency
SELECT message, digest FROM idempotency WHERE app = ? AND key = ?;

-- name: insert_idempotency
INSERT INTO idempotency (message, app, key, digest) VALUES (?, ?, ?, ?);

-- name: forget_idempotency
DELETE FROM idempotency WHERE message = ?;

-- name: expire_idempotency
-- The oldest first, a few at a time: it runs beside the inserts, so it must never hold them up.
DELETE FROM idempotency WHERE message IN (
    SELECT message FROM idempotency WHERE message < ? ORDER BY message LIMIT ?
);

-- name: auto_key_of
SELECT auto_key, auto_digest FROM message WHERE id = ? AND app = ?;

-- name: recent_auto_keys
SELECT app, auto_key, id FROM message WHERE id >= ? AND auto_key IS NOT NULL ORDER BY id DESC LIMIT ?;

-- name: find_event_type
SELECT key FROM event_type WHERE name = ?;

-- name: insert_event_type
INSERT INTO event_type (name) VALUES (?) RETURNING key;

-- name: find_url
SELECT key FROM url WHERE text = ?;

-- name: insert_url
INSERT INTO url (text) VALUES (?) RETURNING key;

-- Writing, cold -----------------------------------------------------------------------------------------------------

-- name: insert_app
INSERT INTO app (id, uid, name, metadata, throttle_rate, declared, created, updated)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING key;

-- name: update_app
UPDATE app SET uid = ?, name = ?, metadata = ?, throttle_rate = ?, declared = ?, updated = ?
WHERE key = ? AND life = 0 RETURNING id, created;

-- name: delete_app
UPDATE app SET life = 2, uid = NULL WHERE key = ? AND life = 0;

-- name: delete_endpoints_of_app
UPDATE endpoint SET life = 1, uid = NULL, headers = '{}', secrets = '[]', settings = '{}' WHERE app = ? AND life = 0 RETURNING key;

-- name: app_is_alive
SELECT 1 FROM app WHERE key = ? AND life = 0;

-- name: insert_endpoint
INSERT INTO endpoint (id, app, uid, url, description, event_types, channels, headers, secrets, disabled, version,
                      rate_limit, metadata, declared, created, updated, settings)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING key;

-- name: update_endpoint
UPDATE endpoint SET uid = ?, url = ?, description = ?, event_types = ?, channels = ?, headers = ?, secrets = ?,
                    disabled = ?, version = ?, rate_limit = ?, metadata = ?, declared = ?, updated = ?, settings = ?
WHERE key = ? AND app = ? AND life = 0 RETURNING id, created;

-- name: delete_endpoint
UPDATE endpoint SET life = 1, uid = NULL, headers = '{}', secrets = '[]', settings = '{}' WHERE key = ? AND life = 0 RETURNING key;

-- name: endpoints_to_sweep
SELECT key FROM endpoint WHERE life = 1;

-- name: cancel_some
-- One step of cancelling what a deleted endpoint still had before it.
UPDATE delivery SET state = 4, due = NULL WHERE (message, endpoint) IN (
    SELECT message, endpoint FROM delivery INDEXED BY pending
    WHERE state = 0 AND ordering IS NULL AND endpoint = ? LIMIT ?
);

-- name: cancel_some_in_order
UPDATE delivery SET state = 4, due = NULL WHERE (message, endpoint) IN (
    SELECT message, endpoint FROM delivery INDEXED BY pending_in_order
    WHERE state = 0 AND ordering IS NOT NULL AND endpoint = ? LIMIT ?
);

-- name: endpoint_is_swept
UPDATE endpoint SET life = 2 WHERE key = ?;

-- name: can_resend
SELECT 1 FROM message AS m JOIN endpoint AS e ON e.app = m.app
WHERE m.id = ? AND e.key = ? AND e.life = 0;

-- name: resend
-- Out of its order and its batch: it is wanted now.
INSERT INTO delivery (message, endpoint, state, tries, due, manual, since, batch) VALUES (?, ?, 0, 0, ?, 1, ?, 0)
ON CONFLICT DO UPDATE SET state = 0, due = excluded.due, manual = 1, since = excluded.since, ordering = NULL, batch = 0
RETURNING tries;

-- name: probe_fill
INSERT INTO probe (filler) VALUES (zeroblob(65536));

-- name: probe_clear
DELETE FROM probe;

-- Reading -----------------------------------------------------------------------------------------------------------

-- name: greatest_id
SELECT max(
    ifnull((SELECT max(id) FROM message), 0), ifnull((SELECT max(id) FROM attempt), 0),
    ifnull((SELECT max(id) FROM app), 0), ifnull((SELECT max(id) FROM endpoint), 0),
    ifnull((SELECT max(id) FROM consumer), 0), ifnull((SELECT max(id) FROM access_key), 0),
    ifnull((SELECT max(id) FROM audit), 0),
    ifnull((SELECT max(id) FROM task), 0)
);

-- name: apps
SELECT key, id, name, uid, metadata, throttle_rate, declared, created, updated FROM app WHERE life = 0 ORDER BY key;

-- name: endpoints
SELECT key, id, app, url, uid, description, event_types, channels, headers, secrets, disabled, version, rate_limit,
       metadata, declared, created, updated, settings
FROM endpoint WHERE life = 0 ORDER BY key;

-- name: next_due
-- One seek an endpoint, however many deliveries wait.
SELECT key, (
    SELECT due FROM delivery INDEXED BY pending
    WHERE state = 0 AND ordering IS NULL AND endpoint = e.key ORDER BY due LIMIT 1
) FROM endpoint AS e WHERE life = 0;

-- name: due
SELECT message, endpoint, state, tries, due, manual, since, ordering, batch FROM delivery INDEXED BY pending
WHERE state = 0 AND ordering IS NULL AND endpoint = ? AND due <= ? ORDER BY due, message LIMIT ?;

-- name: deliveries_of
SELECT message, endpoint, state, tries, due, manual, since, ordering, batch FROM delivery WHERE message = ? ORDER BY endpoint;

-- name: deliveries_to
SELECT message, endpoint, state, tries, due, manual, since, ordering, batch FROM delivery
WHERE endpoint = ? AND message IN (SELECT value FROM json_each(?));

-- name: messages
SELECT m.id, m.app, t.name, m.payload, m.channels, m.event_id, m.tags
FROM message AS m JOIN event_type AS t ON t.key = m.type
WHERE m.id IN (SELECT value FROM json_each(?));

-- name: message_by_event_id
SELECT m.id, m.app, t.name, m.payload, m.channels, m.event_id, m.tags
FROM event_id AS e JOIN message AS m ON m.id = e.message JOIN event_type AS t ON t.key = m.type
WHERE e.app = ? AND e.event_id = ?;

-- name: type_keys
SELECT key FROM event_type WHERE name IN (SELECT value FROM json_each(?));

-- name: list_messages
SELECT m.id, m.app, t.name, m.payload, m.channels, m.event_id, m.tags
FROM message AS m INDEXED BY message_of_app JOIN event_type AS t ON t.key = m.type
WHERE m.app = :of AND m.id BETWEEN :low AND :high
  AND (:types IS NULL OR m.type IN (SELECT value FROM json_each(:types)))
  AND (:tag IS NULL OR :tag IN (SELECT value FROM json_each(m.tags)))
  AND (:endpoint IS NULL OR EXISTS (SELECT 1 FROM delivery WHERE message = m.id AND endpoint = :endpoint))
ORDER BY m.id {order} LIMIT :limit;

-- name: list_messages_bound
-- Where a scan of `scan` rows ends; no row where it would reach the end of the list.
SELECT id FROM message INDEXED BY message_of_app
WHERE app = :of AND id BETWEEN :low AND :high ORDER BY id {order} LIMIT 1 OFFSET :scan;

-- name: list_channel
SELECT m.id, m.app, t.name, m.payload, m.channels, m.event_id, m.tags
FROM message_channel AS c CROSS JOIN message AS m ON m.id = c.message JOIN event_type AS t ON t.key = m.type
WHERE c.channel = :of AND c.message BETWEEN :low AND :high
  AND m.app = :app AND :channel IN (SELECT value FROM json_each(m.channels))
  AND (:types IS NULL OR m.type IN (SELECT value FROM json_each(:types)))
  AND (:tag IS NULL OR :tag IN (SELECT value FROM json_each(m.tags)))
  AND (:endpoint IS NULL OR EXISTS (SELECT 1 FROM delivery WHERE message = m.id AND endpoint = :endpoint))
ORDER BY c.message {order} LIMIT :limit;

-- name: list_channel_bound
SELECT message FROM message_channel
WHERE channel = :of AND message BETWEEN :low AND :high ORDER BY message {order} LIMIT 1 OFFSET :scan;

-- name: attempt
SELECT a.id, a.message, a.endpoint, e.app, t.name, a.ok, a.status, u.text, a.started, a.duration, a.response, a.error,
       a.trigger
FROM attempt AS a JOIN endpoint AS e ON e.key = a.endpoint JOIN event_type AS t ON t.key = a.type
     JOIN url AS u ON u.key = a.url
WHERE a.id = ?;

-- name: list_attempts
-- {index} is one of attempt's three; {of} its column.
SELECT a.id, a.message, a.endpoint, e.app, t.name, a.ok, a.status, u.text, a.started, a.duration, a.response, a.error,
       a.trigger
FROM attempt AS a INDEXED BY {index} CROSS JOIN endpoint AS e ON e.key = a.endpoint
     CROSS JOIN event_type AS t ON t.key = a.type CROSS JOIN url AS u ON u.key = a.url
WHERE {failed} a.{of} = :of AND a.id BETWEEN :low AND :high
  AND (:ok IS NULL OR a.ok = :ok)
  AND (:status IS NULL OR a.status BETWEEN :status AND :status + 99)
  AND (:endpoint IS NULL OR a.endpoint = :endpoint)
  AND (:types IS NULL OR a.type IN (SELECT value FROM json_each(:types)))
  AND (:channel IS NULL OR EXISTS (
        SELECT 1 FROM message AS m WHERE m.id = a.message AND :channel IN (SELECT value FROM json_each(m.channels))))
  AND (:tag IS NULL OR EXISTS (
        SELECT 1 FROM message AS m WHERE m.id = a.message AND :tag IN (SELECT value FROM json_each(m.tags))))
ORDER BY a.id {order} LIMIT :limit;

-- name: list_attempts_bound
SELECT id FROM attempt AS a INDEXED BY {index}
WHERE {failed} a.{of} = :of AND a.id BETWEEN :low AND :high ORDER BY id {order} LIMIT 1 OFFSET :scan;

-- Checking ----------------------------------------------------------------------------------------------------------

-- name: lost_deliveries
SELECT count(*) FROM delivery AS d WHERE NOT EXISTS (SELECT 1 FROM message WHERE id = d.message);

-- name: stray_deliveries
SELECT count(*) FROM delivery AS d JOIN endpoint AS e ON e.key = d.endpoint WHERE d.state = 0 AND e.life = 2;

-- name: lost_attempts
SELECT count(*) FROM attempt AS a WHERE NOT EXISTS (SELECT 1 FROM endpoint WHERE key = a.endpoint);
