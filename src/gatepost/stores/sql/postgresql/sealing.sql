-- Named queries about what is sealed.

-- name: sealing_keys
SELECT id, wrapped FROM sealing_key ORDER BY id;

-- name: put_sealing_key
INSERT INTO sealing_key (id, wrapped, created) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET wrapped = excluded.wrapped;

-- name: drop_sealing_keys
DELETE FROM sealing_key WHERE id < $1;

-- name: sealed_endpoints
SELECT key, id, headers, secrets, settings FROM endpoint WHERE life = 0 AND key > $1 ORDER BY key LIMIT $2;

-- name: reseal_endpoint
UPDATE endpoint SET headers = $2, secrets = $3, settings = $4 WHERE key = $1;

-- name: drop_answers
-- Kept for twelve hours at most, and sealed under the key that goes.
DELETE FROM answer;

-- name: id_of_endpoint
-- What its values are bound to, whatever a caller says.
SELECT id FROM endpoint WHERE key = $1;
