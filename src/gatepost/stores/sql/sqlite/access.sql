-- Named queries about who may call: consumers, their keys, plans, and what quotas have counted.

-- Writing -----------------------------------------------------------------------------------------------------------

-- name: insert_consumer
INSERT INTO consumer (id, name, tags, metadata, plans, routes, disabled, declared, created, updated)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING key;

-- name: update_consumer
UPDATE consumer SET name = ?, tags = ?, metadata = ?, plans = ?, routes = ?, disabled = ?, declared = ?, updated = ?
WHERE key = ? RETURNING id, created;

-- name: delete_consumer
DELETE FROM consumer WHERE key = ?;

-- name: delete_keys_of_consumer
DELETE FROM access_key WHERE consumer = ? RETURNING digest;

-- name: consumer_exists
SELECT 1 FROM consumer WHERE key = ?;

-- name: put_key
-- A key whose expiry was moved is told of again when it comes.
INSERT INTO access_key (id, consumer, digest, prefix, name, tags, metadata, expires, disabled, created, updated)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET name = excluded.name, tags = excluded.tags, metadata = excluded.metadata,
    told = told AND expires IS excluded.expires, expires = excluded.expires,
    disabled = excluded.disabled, updated = excluded.updated;

-- name: delete_key
DELETE FROM access_key WHERE id = ? RETURNING digest;

-- name: tell_expired_keys
UPDATE access_key SET told = 1 WHERE id IN (
    SELECT id FROM access_key INDEXED BY access_key_expiring
    WHERE expires IS NOT NULL AND told = 0 AND expires <= ? ORDER BY expires LIMIT ?
)
RETURNING id, consumer, digest, prefix, name, tags, metadata, expires, disabled, created, updated;

-- name: put_plan
INSERT INTO plan (name, document) VALUES (?, ?) ON CONFLICT DO UPDATE SET document = excluded.document;

-- name: delete_plan
DELETE FROM plan WHERE name = ?;

-- name: put_quota_count
INSERT INTO quota_count (scope, key, state, ends) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET state = excluded.state, ends = excluded.ends;

-- name: forget_quota_counts
-- Those whose period is over, a few at a time.
DELETE FROM quota_count WHERE (scope, key) IN (
    SELECT scope, key FROM quota_count INDEXED BY quota_count_ends WHERE ends <= ? ORDER BY ends LIMIT ?
);

-- Reading -----------------------------------------------------------------------------------------------------------

-- name: consumers
SELECT key, id, name, tags, metadata, plans, routes, disabled, declared, created, updated FROM consumer;

-- name: access_keys
SELECT consumer, digest, expires FROM access_key WHERE disabled = 0;

-- name: plans
SELECT document FROM plan;

-- name: quota_counts
SELECT scope, key, state, ends FROM quota_count INDEXED BY quota_count_ends WHERE ends > ?;

-- name: consumer
SELECT key, id, name, tags, metadata, plans, routes, disabled, declared, created, updated FROM consumer WHERE id = ?;

-- name: consumer_named
SELECT key, id, name, tags, metadata, plans, routes, disabled, declared, created, updated FROM consumer WHERE name = ?;

-- name: consumer_with_key
SELECT key, id, name, tags, metadata, plans, routes, disabled, declared, created, updated FROM consumer WHERE key = ?;

-- name: list_consumers
SELECT id, key, name, tags, metadata, plans, routes, disabled, declared, created, updated FROM consumer AS c
WHERE id BETWEEN :low AND :high
  AND (:tag IS NULL OR :tag IN (SELECT value FROM json_each(c.tags)))
ORDER BY id {order} LIMIT :limit;

-- name: list_consumers_bound
SELECT id FROM consumer WHERE id BETWEEN :low AND :high ORDER BY id {order} LIMIT 1 OFFSET :scan;

-- name: key
SELECT id, consumer, digest, prefix, name, tags, metadata, expires, disabled, created, updated
FROM access_key WHERE id = ?;

-- name: list_keys
SELECT id, consumer, digest, prefix, name, tags, metadata, expires, disabled, created, updated
FROM access_key AS k INDEXED BY access_key_of_consumer
WHERE consumer = :of AND id BETWEEN :low AND :high
  AND (:tag IS NULL OR :tag IN (SELECT value FROM json_each(k.tags)))
ORDER BY id {order} LIMIT :limit;

-- name: list_keys_bound
SELECT id FROM access_key INDEXED BY access_key_of_consumer
WHERE consumer = :of AND id BETWEEN :low AND :high ORDER BY id {order} LIMIT 1 OFFSET :scan;
