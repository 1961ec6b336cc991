-- Named queries about what the control API keeps.

-- name: event_type_infos
SELECT document FROM event_type_info WHERE document IS NOT NULL ORDER BY name;

-- name: changed_event_type_infos
SELECT name, document FROM event_type_info WHERE changed >= $1::text::xid8;

-- name: insert_event_type_info
INSERT INTO event_type_info AS t (name, document) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET document = excluded.document, changed = pg_current_xact_id()
WHERE t.document IS NULL RETURNING 1;

-- name: put_event_type_info
INSERT INTO event_type_info (name, document) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET document = excluded.document, changed = pg_current_xact_id();

-- name: delete_event_type_info
UPDATE event_type_info SET document = NULL, changed = pg_current_xact_id() WHERE name = $1;

-- name: put_portal_token
INSERT INTO portal_token (digest, app, expires) VALUES ($1, $2, $3);

-- name: portal_token
SELECT app FROM portal_token WHERE digest = $1 AND expires > $2;

-- name: delete_portal_token
DELETE FROM portal_token WHERE digest = $1 RETURNING 1;

-- name: forget_portal_tokens
DELETE FROM portal_token WHERE digest IN (SELECT digest FROM portal_token WHERE expires <= $1 ORDER BY expires LIMIT $2);

-- name: keep_answer
INSERT INTO answer AS a (place, digest, status, body, expires) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (place) DO UPDATE SET digest = excluded.digest, status = excluded.status, body = excluded.body,
    expires = excluded.expires
WHERE a.expires <= $6;

-- name: kept_answer
SELECT digest, status, body FROM answer WHERE place = $1 AND expires > $2;

-- name: forget_answers
DELETE FROM answer WHERE place IN (SELECT place FROM answer WHERE expires <= $1 ORDER BY expires LIMIT $2);

-- name: count_deliveries
SELECT state, tries > 0, count(*) FROM delivery
WHERE app = $1 AND endpoint = $2 AND message BETWEEN $3 AND $4 GROUP BY 1, 2;

-- name: expunge_message
UPDATE message SET payload = NULL WHERE app = $1 AND id = $2;

-- name: expunge_attempt
UPDATE attempt SET response = NULL WHERE id = $1;
