-- Named queries about who may call: consumers, their keys, plans, and what quotas have counted.

-- Writing -----------------------------------------------------------------------------------------------------------

-- name: insert_consumer
INSERT INTO consumer (id, name, tags, metadata, plans, routes, disabled, declared, created, updated)
VALUES ($1, $2, $3::text::jsonb, $4, $5, $6, $7, $8, $9, $10) RETURNING key;

-- name: update_consumer
UPDATE consumer SET name = $1, tags = $2::text::jsonb, metadata = $3, plans = $4, routes = $5, disabled = $6,
                    declared = $7, updated = $8
WHERE key = $9 RETURNING id, created;

-- name: delete_consumer
DELETE FROM consumer WHERE key = $1;

-- name: delete_keys_of_consumer
DELETE FROM access_key WHERE consumer = $1 RETURNING digest;

-- name: consumer_exists
SELECT 1 FROM consumer WHERE key = $1 FOR SHARE;

-- name: put_key
-- A key whose expiry was moved is told of again when it comes.
INSERT INTO access_key AS k (id, consumer, digest, prefix, name, tags, metadata, expires, disabled, created, updated)
VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9, $10, $11)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, tags = excluded.tags, metadata = excluded.metadata,
    told = k.told AND k.expires IS NOT DISTINCT FROM excluded.expires, expires = excluded.expires,
    disabled = excluded.disabled, updated = excluded.updated;

-- name: delete_key
DELETE FROM access_key WHERE id = $1 RETURNING digest;

-- name: tell_expired_keys
UPDATE access_key SET told = true WHERE id IN (
    SELECT id FROM access_key WHERE expires IS NOT NULL AND NOT told AND expires <= $1 ORDER BY expires LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING id, consumer, digest, prefix, name, tags, metadata, expires, disabled, created, updated;

-- name: put_plan
INSERT INTO plan (name, document) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET document = excluded.document;

-- name: delete_plan
DELETE FROM plan WHERE name = $1;

-- name: note_access
INSERT INTO access_change (kind, name, at) VALUES ($1, $2, $3);

-- name: forget_access
DELETE FROM access_change WHERE at < $1;

-- name: put_quota_counts
INSERT INTO quota_count (scope, key, state, ends)
SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::float8[])
ON CONFLICT (scope, key) DO UPDATE SET state = excluded.state, ends = excluded.ends;

-- name: forget_quota_counts
-- Those whose period is over, a few at a time.
DELETE FROM quota_count WHERE (scope, key) IN (
    SELECT scope, key FROM quota_count WHERE ends <= $1 ORDER BY ends LIMIT $2
);

-- Reading -----------------------------------------------------------------------------------------------------------

-- name: consumers
SELECT key, id, name, tags, metadata, plans, routes, disabled, declared, created, updated FROM consumer;

-- name: access_keys
SELECT consumer, digest, expires FROM access_key WHERE NOT disabled;

-- name: plans
SELECT document FROM plan;

-- name: access_changes
SELECT DISTINCT kind, name FROM access_change WHERE tx >= $1::text::xid8;

-- name: keys_with_digests
SELECT id, consumer, digest, prefix, name, tags, metadata, expires, disabled, created, updated
FROM access_key WHERE digest = ANY($1::bytea[]);

-- name: some_consumers
SELECT key, id, name, tags, metadata, plans, routes, disabled, declared, created, updated FROM consumer
WHERE key = ANY($1::int[]);

-- name: some_plans
SELECT document FROM plan WHERE name = ANY($1::text[]);

-- name: quota_counts
SELECT scope, key, state, ends FROM quota_count WHERE ends > $1;

-- name: consumer
SELECT key, id, name, tags, metadata, plans, routes, disabled, declared, created, updated FROM consumer WHERE id = $1;

-- name: consumer_named
SELECT key, id, name, tags, metadata, plans, routes, disabled, declared, created, updated FROM consumer WHERE name = $1;

-- name: consumer_with_key
SELECT key, id, name, tags, metadata, plans, routes, disabled, declared, created, updated FROM consumer WHERE key = $1;

-- name: list_consumers
SELECT id, key, name, tags, metadata, plans, routes, disabled, declared, created, updated FROM consumer
WHERE $1::int IS NULL AND id BETWEEN $2 AND $3 AND ($5::text IS NULL OR tags ? $5::text)
ORDER BY id {order} LIMIT $4;

-- name: list_consumers_bound
SELECT id FROM consumer WHERE $1::int IS NULL AND id BETWEEN $2 AND $3 ORDER BY id {order} LIMIT 1 OFFSET $4;

-- name: key
SELECT id, consumer, digest, prefix, name, tags, metadata, expires, disabled, created, updated
FROM access_key WHERE id = $1;

-- name: list_keys
SELECT id, consumer, digest, prefix, name, tags, metadata, expires, disabled, created, updated
FROM access_key WHERE consumer = $1 AND id BETWEEN $2 AND $3 AND ($5::text IS NULL OR tags ? $5::text)
ORDER BY id {order} LIMIT $4;

-- name: list_keys_bound
SELECT id FROM access_key WHERE consumer = $1 AND id BETWEEN $2 AND $3 ORDER BY id {order} LIMIT 1 OFFSET $4;
