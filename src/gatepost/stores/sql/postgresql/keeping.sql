-- Named queries about what is kept for how long.

-- name: keep_messages
INSERT INTO message_keep (message, until) SELECT * FROM unnest($1::bigint[], $2::float8[]) ON CONFLICT DO NOTHING;

-- name: old_payloads
SELECT m.id, m.app, t.name, coalesce(octet_length(m.payload), 0), k.until
FROM message AS m JOIN event_type AS t ON t.key = m.type LEFT JOIN message_keep AS k ON k.message = m.id
WHERE m.id > $1 AND m.id < $2 ORDER BY m.id LIMIT $3;

-- name: old_responses
SELECT a.id, a.app, t.name, coalesce(octet_length(a.response), 0), NULL::float8
FROM attempt AS a JOIN event_type AS t ON t.key = a.type
WHERE a.id > $1 AND a.id < $2 ORDER BY a.id LIMIT $3;

-- name: overdue_payloads
SELECT m.id, m.app, t.name, coalesce(octet_length(m.payload), 0), k.until
FROM message_keep AS k JOIN message AS m ON m.id = k.message JOIN event_type AS t ON t.key = m.type
WHERE k.until <= $1 ORDER BY k.until LIMIT $2;

-- name: forget_payloads
UPDATE message AS m SET payload = NULL FROM unnest($1::int[], $2::bigint[]) AS gone (app, id)
WHERE m.app = gone.app AND m.id = gone.id;

-- name: forget_responses
UPDATE attempt AS a SET response = NULL FROM unnest($1::int[], $2::bigint[]) AS gone (app, id)
WHERE a.app = gone.app AND a.id = gone.id;

-- name: drop_keeps
DELETE FROM message_keep WHERE message = ANY($1::bigint[]);

-- name: retention_marks
SELECT rule, reached FROM retention_mark;

-- name: put_retention_mark
INSERT INTO retention_mark (rule, reached) VALUES ($1, $2) ON CONFLICT (rule) DO UPDATE SET reached = excluded.reached;

-- name: drop_retention_marks
DELETE FROM retention_mark WHERE rule <> ALL($1::text[]);

-- name: expunge_shaped
-- What was made of a message for its endpoints is as much its content.
DELETE FROM shaped WHERE message = $2 AND endpoint IN (SELECT key FROM endpoint WHERE app = $1);
