-- Named queries about captures.

-- name: put_capture
INSERT INTO capture (id, time, route, status, document) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING;

-- name: capture
SELECT id, time, route, status, document FROM capture WHERE id = :id;

-- name: list_captures
-- From the end of the primary key; there are never more than `captures.most`.
SELECT id, time, route, status, document FROM capture
WHERE id < COALESCE(:before, 9223372036854775807) AND status >= :low AND status < :high
    AND (:route IS NULL OR route = :route)
ORDER BY id DESC LIMIT :limit;

-- name: drop_captures
-- Ranges of the primary key: what is older, and what lies behind the latest ones.
DELETE FROM capture WHERE id IN (
    SELECT id FROM capture
    WHERE id < max(:before, COALESCE((SELECT id + 1 FROM capture WHERE id > 0 ORDER BY id DESC LIMIT 1 OFFSET :most), 0))
    ORDER BY id LIMIT :limit
);
