-- Named queries about captures.

-- name: put_capture
INSERT INTO capture (id, time, route, status, document) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING;

-- name: capture
SELECT id, time, route, status, document FROM capture WHERE id = $1;

-- name: list_captures
-- From the end of the primary key; there are never more than `captures.most`. $1 route, $2 low, $3 high, $4 before, $5 limit.
SELECT id, time, route, status, document FROM capture
WHERE id < COALESCE($4::bigint, 9223372036854775807) AND status >= $2 AND status < $3
    AND ($1::text IS NULL OR route = $1)
ORDER BY id DESC LIMIT $5;

-- name: drop_captures
-- Ranges of the primary key: what is older, and what lies behind the latest ones.
DELETE FROM capture WHERE id IN (
    SELECT id FROM capture
    WHERE id < GREATEST($1, COALESCE((SELECT id + 1 FROM capture WHERE id > 0 ORDER BY id DESC LIMIT 1 OFFSET $2), 0))
    ORDER BY id LIMIT $3
) RETURNING 1;
