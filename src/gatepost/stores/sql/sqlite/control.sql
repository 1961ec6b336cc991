-- Named queries about what the control API keeps.

-- name: event_type_infos
SELECT document FROM event_type_info ORDER BY name;

-- name: insert_event_type_info
INSERT INTO event_type_info (name, document) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1;

-- name: put_event_type_info
INSERT INTO event_type_info (name, document) VALUES (?, ?) ON CONFLICT DO UPDATE SET document = excluded.document;

-- name: delete_event_type_info
DELETE FROM event_type_info WHERE name = ?;

-- name: put_portal_token
INSERT INTO portal_token (digest, app, expires) VALUES (?, ?, ?);

-- name: portal_token
SELECT app FROM portal_token WHERE digest = ? AND expires > ?;

-- name: delete_portal_token
DELETE FROM portal_token WHERE digest = ?;

-- name: forget_portal_tokens
DELETE FROM portal_token WHERE digest IN (SELECT digest FROM portal_token WHERE expires <= ? ORDER BY expires LIMIT ?);

-- name: keep_answer
INSERT INTO answer (place, digest, status, body, expires) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET digest = excluded.digest, status = excluded.status, body = excluded.body,
    expires = excluded.expires
WHERE answer.expires <= ?;

-- name: kept_answer
SELECT digest, status, body FROM answer WHERE place = ? AND expires > ?;

-- name: forget_answers
DELETE FROM answer WHERE place IN (SELECT place FROM answer WHERE expires <= ? ORDER BY expires LIMIT ?);

-- name: count_deliveries
-- One walk over the deliveries of that time: an index by endpoint would cost every delivery more.
SELECT state, tries > 0, count(*) FROM delivery NOT INDEXED
WHERE endpoint = ? AND message BETWEEN ? AND ? GROUP BY 1, 2;

-- name: expunge_message
UPDATE message SET payload = NULL WHERE id = ? AND app = ?;

-- name: expunge_attempt
UPDATE attempt SET response = NULL WHERE id = ?;
