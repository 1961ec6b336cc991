-- Named queries about what is sealed.

-- name: sealing_keys
SELECT id, wrapped FROM sealing_key ORDER BY id;

-- name: put_sealing_key
INSERT INTO sealing_key (id, wrapped, created) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET wrapped = excluded.wrapped;

-- name: drop_sealing_keys
DELETE FROM sealing_key WHERE id < ?;

-- name: sealed_endpoints
SELECT key, id, headers, secrets, settings FROM endpoint WHERE life = 0 AND key > ? ORDER BY key LIMIT ?;

-- name: reseal_endpoint
UPDATE endpoint SET headers = ?, secrets = ?, settings = ? WHERE key = ?;

-- name: drop_answers
-- Kept for twelve hours at most, and sealed under the key that goes.
DELETE FROM answer;

-- name: id_of_endpoint
-- What its values are bound to, whatever a caller says.
SELECT id FROM endpoint WHERE key = ?;
