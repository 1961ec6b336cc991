-- Named queries of the PostgreSQL store; `queries.py` reads them. Rows come in through `unnest`, a column an array.
-- {order} is ASC or DESC, {index} and {failed} name a partial list: the only texts ever put into a query.

-- Nodes -------------------------------------------------------------------------------------------------------------

-- name: claim_node
-- A number whose lease is over, or a new one; the epoch tells its holders apart.
WITH free AS (
    SELECT number FROM node WHERE lease_until < extract(epoch FROM clock_timestamp()) ORDER BY number LIMIT 1
    FOR UPDATE SKIP LOCKED
), fresh AS (
    SELECT coalesce(max(number) + 1, 0) AS number FROM node
)
INSERT INTO node (number, epoch, name, lease_until)
SELECT coalesce((SELECT number FROM free), (SELECT number FROM fresh)), 1, $1,
       extract(epoch FROM clock_timestamp()) + $2
ON CONFLICT (number) DO UPDATE SET epoch = node.epoch + 1, name = excluded.name, lease_until = excluded.lease_until
WHERE node.lease_until < extract(epoch FROM clock_timestamp())
RETURNING number, epoch;

-- name: renew_lease
-- No row: somebody else holds the number, because the lease was over.
UPDATE node SET lease_until = extract(epoch FROM clock_timestamp()) + $3
WHERE number = $1 AND epoch = $2 RETURNING number;

-- name: end_lease
UPDATE node SET lease_until = 0 WHERE number = $1 AND epoch = $2;

-- name: fence
-- Still ours? The row is locked until the transaction ends, so that nobody takes the number over meanwhile.
SELECT 1 FROM node WHERE number = $1 AND epoch = $2 FOR SHARE;

-- name: live_nodes
SELECT number FROM node WHERE lease_until >= extract(epoch FROM clock_timestamp()) ORDER BY number;

-- name: make_groups
INSERT INTO lane_group (number) SELECT generate_series(0, $1::int - 1) ON CONFLICT DO NOTHING;

-- name: bury
-- Nodes whose lease is over own nothing any more. Raising the epoch waits for what they are writing, and refuses what
-- they would write later.
WITH dead AS (
    UPDATE node SET epoch = epoch + 1
    WHERE lease_until < extract(epoch FROM clock_timestamp())
      AND number IN (SELECT node FROM lane_group WHERE node IS NOT NULL)
    RETURNING number
)
UPDATE lane_group SET node = NULL WHERE node IN (SELECT number FROM dead) RETURNING number;

-- name: groups
SELECT number, node FROM lane_group ORDER BY number;

-- name: take_groups
UPDATE lane_group SET node = $1 WHERE number = ANY($2::smallint[]) AND node IS NULL RETURNING number;

-- name: drop_groups
UPDATE lane_group SET node = NULL WHERE node = $1;

-- name: give_groups
UPDATE lane_group SET node = NULL WHERE number = ANY($2::smallint[]) AND node = $1;

-- Writing, hot ------------------------------------------------------------------------------------------------------

-- name: claim_keys
-- The rows that come back are ours; what is older than its time is taken over.
INSERT INTO idempotency AS i (app, key, message, digest)
SELECT * FROM unnest($1::int[], $2::text[], $3::bigint[], $4::bytea[])
ON CONFLICT (app, key) DO UPDATE SET message = excluded.message, digest = excluded.digest
WHERE i.message < CASE WHEN i.key LIKE 'auto\_%' THEN $5::bigint ELSE $6::bigint END
RETURNING message;

-- name: owners_of_keys
SELECT i.app, i.key, i.message, i.digest
FROM unnest($1::int[], $2::text[]) AS wanted (app, key) JOIN idempotency AS i USING (app, key);

-- name: drop_keys
DELETE FROM idempotency WHERE message = ANY($1::bigint[]);

-- name: expire_keys
DELETE FROM idempotency WHERE message IN (
    SELECT message FROM idempotency WHERE message < $1 ORDER BY message LIMIT $2
);

-- name: claim_event_ids
INSERT INTO event_id (app, event_id, message)
SELECT * FROM unnest($1::int[], $2::text[], $3::bigint[])
ON CONFLICT DO NOTHING RETURNING message;

-- name: owners_of_event_ids
SELECT e.app, e.event_id, e.message
FROM unnest($1::int[], $2::text[]) AS wanted (app, event_id) JOIN event_id AS e USING (app, event_id);

-- name: revisions
SELECT key, revision FROM app WHERE key = ANY($1::int[]);

-- name: insert_messages
INSERT INTO message (app, id, type, event_id, channels, tags, payload)
SELECT app, id, type, event_id, channels::jsonb, tags::jsonb, payload
FROM unnest($1::int[], $2::bigint[], $3::int[], $4::text[], $5::text[], $6::text[], $7::bytea[])
     AS m (app, id, type, event_id, channels, tags, payload);

-- name: insert_channels
INSERT INTO message_channel (app, channel, message)
SELECT * FROM unnest($1::int[], $2::text[], $3::bigint[]) ON CONFLICT DO NOTHING;

-- name: insert_deliveries
-- None to an endpoint that was deleted since the message was matched.
INSERT INTO delivery (app, message, endpoint, state, tries, due, ordering)
SELECT d.app, d.message, d.endpoint, d.state, 0, CASE WHEN d.state = 0 THEN $6::float8 END, d.ordering
FROM unnest($1::int[], $2::bigint[], $3::int[], $4::smallint[], $5::bigint[])
     AS d (app, message, endpoint, state, ordering)
     LEFT JOIN endpoint AS e ON e.key = d.endpoint
WHERE coalesce(e.life, 0) = 0;

-- name: put_deliveries
-- What would be tried again is cancelled where its endpoint is gone.
INSERT INTO delivery (app, message, endpoint, state, tries, due)
SELECT d.app, d.message, d.endpoint,
       CASE WHEN d.state = 0 AND e.life <> 0 THEN 4 ELSE d.state END, d.tries,
       CASE WHEN e.life <> 0 THEN NULL ELSE d.due END
FROM unnest($1::int[], $2::bigint[], $3::int[], $4::smallint[], $5::int[], $6::float8[])
     AS d (app, message, endpoint, state, tries, due)
     JOIN endpoint AS e ON e.key = d.endpoint
ON CONFLICT (app, message, endpoint)
DO UPDATE SET state = excluded.state, tries = excluded.tries, due = excluded.due, manual = NULL;

-- name: insert_attempts
INSERT INTO attempt (app, id, message, endpoint, type, ok, status, url, trigger, started, duration, error, response)
SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::int[], $5::int[], $6::boolean[], $7::smallint[],
                     $8::int[], $9::smallint[], $10::float8[], $11::float8[], $12::text[], $13::bytea[])
ON CONFLICT DO NOTHING;

-- name: intern_types
INSERT INTO event_type (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING;

-- name: find_types
SELECT name, key FROM event_type WHERE name = ANY($1::text[]);

-- name: intern_urls
INSERT INTO url (text) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING;

-- name: find_urls
SELECT text, key FROM url WHERE text = ANY($1::text[]);

-- Writing, cold -----------------------------------------------------------------------------------------------------

-- name: insert_app
INSERT INTO app (id, uid, name, metadata, throttle_rate, declared, created, updated)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING key;

-- name: update_app
UPDATE app SET uid = $1, name = $2, metadata = $3, throttle_rate = $4, declared = $5, updated = $6, revision = revision + 1, changed = pg_current_xact_id()
WHERE key = $7 AND life = 0 RETURNING id, created;

-- name: touch_app
-- Its endpoints are about to change: whoever accepts a message meanwhile finds that out. No row: the app is gone.
UPDATE app SET revision = revision + 1, changed = pg_current_xact_id() WHERE key = $1 AND life = 0 RETURNING key;

-- name: touch_app_of
UPDATE app SET revision = revision + 1, changed = pg_current_xact_id()
WHERE key = (SELECT app FROM endpoint WHERE key = $1) RETURNING key;

-- name: delete_app
UPDATE app SET life = 2, uid = NULL, revision = revision + 1, changed = pg_current_xact_id() WHERE key = $1 AND life = 0;

-- name: delete_endpoints_of_app
UPDATE endpoint SET life = 1, uid = NULL, headers = '{}', secrets = '[]', settings = '{}' WHERE app = $1 AND life = 0;

-- name: insert_endpoint
INSERT INTO endpoint (id, app, uid, url, description, event_types, channels, headers, secrets, disabled, version,
                      rate_limit, metadata, declared, created, updated, settings)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) RETURNING key;

-- name: update_endpoint
UPDATE endpoint SET uid = $1, url = $2, description = $3, event_types = $4, channels = $5, headers = $6, secrets = $7,
                    disabled = $8, version = $9, rate_limit = $10, metadata = $11, declared = $12, updated = $13,
                    settings = $14
WHERE key = $15 AND app = $16 AND life = 0 RETURNING id, created;

-- name: delete_endpoint
UPDATE endpoint SET life = 1, uid = NULL, headers = '{}', secrets = '[]', settings = '{}' WHERE key = $1 AND life = 0;

-- name: endpoints_to_sweep
SELECT key, app FROM endpoint WHERE life = 1;

-- name: cancel_some
-- One step of cancelling what a deleted endpoint still had before it.
UPDATE delivery SET state = 4, due = NULL WHERE (app, message, endpoint) IN (
    SELECT app, message, endpoint FROM delivery WHERE state = 0 AND endpoint = $1 LIMIT $2
);

-- name: endpoint_is_swept
UPDATE endpoint SET life = 2 WHERE key = $1;

-- name: can_resend
SELECT m.app FROM message AS m JOIN endpoint AS e ON e.app = m.app
WHERE m.id = $1 AND e.key = $2 AND e.life = 0;

-- name: resend
-- Out of its order and its batch: it is wanted now.
INSERT INTO delivery (app, message, endpoint, state, tries, due, manual, since, batch)
VALUES ($1, $2, $3, 0, 0, $4, true, $4, 0)
ON CONFLICT (app, message, endpoint) DO UPDATE
SET state = 0, due = excluded.due, manual = true, since = excluded.since, ordering = NULL, batch = 0
RETURNING tries;

-- Reading -----------------------------------------------------------------------------------------------------------

-- name: greatest_id
-- Of this node's own: each number has its range in every millisecond.
SELECT greatest(
    (SELECT max(id) FROM (SELECT id FROM message ORDER BY id DESC LIMIT 10000) AS m WHERE (id >> 12) & 1023 = $1),
    (SELECT max(id) FROM (SELECT id FROM attempt ORDER BY id DESC LIMIT 10000) AS a WHERE (id >> 12) & 1023 = $1),
    (SELECT max(id) FROM app WHERE (id >> 12) & 1023 = $1),
    (SELECT max(id) FROM endpoint WHERE (id >> 12) & 1023 = $1),
    (SELECT max(id) FROM consumer WHERE (id >> 12) & 1023 = $1),
    (SELECT max(id) FROM (SELECT id FROM access_key ORDER BY id DESC LIMIT 10000) AS k WHERE (id >> 12) & 1023 = $1),
    (SELECT max(id) FROM (SELECT id FROM audit ORDER BY id DESC LIMIT 10000) AS u WHERE (id >> 12) & 1023 = $1),
    (SELECT max(id) FROM task WHERE (id >> 12) & 1023 = $1),
    0
);

-- name: apps
SELECT key, id, name, uid, metadata, throttle_rate, declared, created, updated, revision
FROM app WHERE life = 0 ORDER BY key;

-- name: endpoints
SELECT key, id, app, url, uid, description, event_types, channels, headers, secrets, disabled, version, rate_limit,
       metadata, declared, created, updated, settings
FROM endpoint WHERE life = 0 ORDER BY key;

-- name: horizon
-- Every transaction below it has ended.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text;

-- name: changed_apps
SELECT key, id, name, uid, metadata, throttle_rate, declared, created, updated, revision, life
FROM app WHERE changed >= $1::text::xid8 ORDER BY key;

-- name: some_apps
SELECT key, id, name, uid, metadata, throttle_rate, declared, created, updated, revision, life
FROM app WHERE key = ANY($1::int[]) ORDER BY key;

-- name: endpoints_of_apps
SELECT key, id, app, url, uid, description, event_types, channels, headers, secrets, disabled, version, rate_limit,
       metadata, declared, created, updated, settings
FROM endpoint WHERE app = ANY($1::int[]) AND life = 0 ORDER BY key;

-- name: next_due
-- One seek an endpoint, however many deliveries wait.
SELECT e.key, d.due FROM endpoint AS e
    CROSS JOIN LATERAL (
        SELECT due FROM delivery WHERE state = 0 AND ordering IS NULL AND endpoint = e.key ORDER BY due LIMIT 1) AS d
WHERE e.life = 0;

-- name: due
SELECT message, endpoint, state, tries, due, manual, since, ordering, batch FROM delivery
WHERE state = 0 AND ordering IS NULL AND endpoint = $1 AND due <= $2 ORDER BY due, message LIMIT $3;

-- name: deliveries_of
SELECT d.message, d.endpoint, d.state, d.tries, d.due, d.manual, d.since, d.ordering, d.batch
FROM message AS m JOIN delivery AS d ON d.app = m.app AND d.message = m.id
WHERE m.id = $1 ORDER BY d.endpoint;

-- name: deliveries_to
SELECT d.message, d.endpoint, d.state, d.tries, d.due, d.manual, d.since, d.ordering, d.batch
FROM endpoint AS e JOIN delivery AS d ON d.app = e.app AND d.endpoint = e.key
WHERE e.key = $1 AND d.message = ANY($2::bigint[]);

-- name: messages
SELECT m.id, m.app, t.name, m.payload, m.channels, m.event_id, m.tags
FROM message AS m JOIN event_type AS t ON t.key = m.type
WHERE m.id = ANY($1::bigint[]);

-- name: message_by_event_id
SELECT m.id, m.app, t.name, m.payload, m.channels, m.event_id, m.tags
FROM event_id AS e JOIN message AS m ON m.app = e.app AND m.id = e.message JOIN event_type AS t ON t.key = m.type
WHERE e.app = $1 AND e.event_id = $2;

-- name: type_keys
SELECT key FROM event_type WHERE name = ANY($1::text[]);

-- name: list_messages
SELECT m.id, m.app, t.name, m.payload, m.channels, m.event_id, m.tags
FROM message AS m JOIN event_type AS t ON t.key = m.type
WHERE m.app = $1 AND m.id BETWEEN $2 AND $3
  AND ($5::int[] IS NULL OR m.type = ANY($5::int[]))
  AND ($6::text IS NULL OR m.tags ? $6::text)
  AND ($7::int IS NULL OR EXISTS (
        SELECT 1 FROM delivery AS d WHERE d.app = m.app AND d.message = m.id AND d.endpoint = $7::int))
ORDER BY m.id {order} LIMIT $4;

-- name: list_messages_bound
-- Where a scan of so many rows ends; no row where it would reach the end of the list.
SELECT id FROM message WHERE app = $1 AND id BETWEEN $2 AND $3 ORDER BY id {order} LIMIT 1 OFFSET $4;

-- name: list_channel
SELECT m.id, m.app, t.name, m.payload, m.channels, m.event_id, m.tags
FROM message_channel AS c JOIN message AS m ON m.app = c.app AND m.id = c.message
     JOIN event_type AS t ON t.key = m.type
WHERE c.app = $1 AND c.channel = $8 AND c.message BETWEEN $2 AND $3
  AND ($5::int[] IS NULL OR m.type = ANY($5::int[]))
  AND ($6::text IS NULL OR m.tags ? $6::text)
  AND ($7::int IS NULL OR EXISTS (
        SELECT 1 FROM delivery AS d WHERE d.app = m.app AND d.message = m.id AND d.endpoint = $7::int))
ORDER BY c.message {order} LIMIT $4;

-- name: list_channel_bound
SELECT message FROM message_channel
WHERE app = $1 AND channel = $5 AND message BETWEEN $2 AND $3 ORDER BY message {order} LIMIT 1 OFFSET $4;

-- name: attempt
SELECT a.id, a.message, a.endpoint, a.app, t.name, a.ok, a.status, u.text, a.started, a.duration, a.response, a.error,
       a.trigger
FROM attempt AS a JOIN event_type AS t ON t.key = a.type JOIN url AS u ON u.key = a.url
WHERE a.id = $1;

-- name: list_attempts
-- {of} is "endpoint" or "message".
SELECT a.id, a.message, a.endpoint, a.app, t.name, a.ok, a.status, u.text, a.started, a.duration, a.response, a.error,
       a.trigger
FROM attempt AS a JOIN event_type AS t ON t.key = a.type JOIN url AS u ON u.key = a.url
WHERE {failed} a.{of} = $1 AND a.id BETWEEN $2 AND $3
  AND ($5::boolean IS NULL OR a.ok = $5::boolean)
  AND ($6::int IS NULL OR a.status BETWEEN $6::int AND $6::int + 99)
  AND ($7::int IS NULL OR a.endpoint = $7::int)
  AND ($8::int[] IS NULL OR a.type = ANY($8::int[]))
  AND ($9::text IS NULL OR EXISTS (
        SELECT 1 FROM message AS m WHERE m.app = a.app AND m.id = a.message AND m.channels ? $9::text))
  AND ($10::text IS NULL OR EXISTS (
        SELECT 1 FROM message AS m WHERE m.app = a.app AND m.id = a.message AND m.tags ? $10::text))
ORDER BY a.id {order} LIMIT $4;

-- name: list_attempts_bound
SELECT id FROM attempt AS a WHERE {failed} a.{of} = $1 AND a.id BETWEEN $2 AND $3 ORDER BY id {order} LIMIT 1 OFFSET $4;

-- name: foreign_deliveries
-- Endpoints with something pending that other nodes accepted since.
SELECT DISTINCT d.endpoint FROM message AS m JOIN delivery AS d ON d.app = m.app AND d.message = m.id
WHERE m.tx >= $1::text::xid8 AND (m.id >> 12) & 1023 <> $2 AND d.state = 0;

-- Copying a SQLite store here -----------------------------------------------------------------------------------------

-- name: make_copy_marks
CREATE TABLE IF NOT EXISTS copy_mark (
    source text NOT NULL,
    name text NOT NULL,                     -- the table; empty for the copy as a whole
    place text NOT NULL,                    -- JSON: rows copied, and the key of the last
    PRIMARY KEY (source, name)
);

-- name: copy_sources
SELECT source FROM copy_mark WHERE name = '';

-- name: copy_mark
SELECT place FROM copy_mark WHERE name = $1 AND source = '';

-- name: mark_copy
INSERT INTO copy_mark (source, name, place) VALUES ($1, $2, $3)
ON CONFLICT (source, name) DO UPDATE SET place = excluded.place;

-- name: drop_copy_marks
DROP TABLE copy_mark;

-- name: anything
SELECT EXISTS (SELECT 1 FROM app) OR EXISTS (SELECT 1 FROM message) OR EXISTS (SELECT 1 FROM consumer);

-- name: go_on_after
SELECT setval(pg_get_serial_sequence($1, 'key'), $2);

-- Checking ------------------------------------------------------------------------------------------------------------

-- name: lost_deliveries
SELECT count(*) FROM delivery AS d
WHERE NOT EXISTS (SELECT 1 FROM message AS m WHERE m.app = d.app AND m.id = d.message);

-- name: stray_deliveries
SELECT count(*) FROM delivery AS d JOIN endpoint AS e ON e.key = d.endpoint WHERE d.state = 0 AND e.life = 2;

-- name: lost_attempts
SELECT count(*) FROM attempt AS a WHERE NOT EXISTS (SELECT 1 FROM endpoint AS e WHERE e.key = a.endpoint);
