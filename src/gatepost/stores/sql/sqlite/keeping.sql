-- Named queries about what is kept for how long.

-- name: keep_message
INSERT INTO message_keep (message, until) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: old_payloads
-- In the order of rowids: a step reads some neighbouring pages, and of a payload only its length.
SELECT m.id, m.app, t.name, ifnull(octet_length(m.payload), 0), k.until
FROM message AS m CROSS JOIN event_type AS t ON t.key = m.type LEFT JOIN message_keep AS k ON k.message = m.id
WHERE m.id > ? AND m.id < ? ORDER BY m.id LIMIT ?;

-- name: old_responses
SELECT a.id, e.app, t.name, ifnull(octet_length(a.response), 0), NULL
FROM attempt AS a CROSS JOIN endpoint AS e ON e.key = a.endpoint CROSS JOIN event_type AS t ON t.key = a.type
WHERE a.id > ? AND a.id < ? ORDER BY a.id LIMIT ?;

-- name: overdue_payloads
SELECT m.id, m.app, t.name, ifnull(octet_length(m.payload), 0), k.until
FROM message_keep AS k CROSS JOIN message AS m ON m.id = k.message CROSS JOIN event_type AS t ON t.key = m.type
WHERE k.until <= ? ORDER BY k.until LIMIT ?;

-- name: forget_payloads
UPDATE message SET payload = NULL WHERE id IN (SELECT value FROM json_each(?));

-- name: forget_responses
UPDATE attempt SET response = NULL WHERE id IN (SELECT value FROM json_each(?));

-- name: drop_keeps
DELETE FROM message_keep WHERE message IN (SELECT value FROM json_each(?));

-- name: retention_marks
SELECT rule, reached FROM retention_mark;

-- name: put_retention_mark
INSERT INTO retention_mark (rule, reached) VALUES (?, ?) ON CONFLICT DO UPDATE SET reached = excluded.reached;

-- name: drop_retention_marks
DELETE FROM retention_mark WHERE rule NOT IN (SELECT value FROM json_each(?));

-- name: expunge_shaped
-- What was made of a message for its endpoints is as much its content.
DELETE FROM shaped WHERE message = ? AND endpoint IN (SELECT key FROM endpoint WHERE app = ?);
