-- Named queries about those who read along.

-- name: poller_position
SELECT position FROM poller WHERE app = $1 AND name = $2;

-- name: keep_poller_position
INSERT INTO poller (app, name, position) VALUES ($1, $2, $3)
ON CONFLICT (app, name) DO UPDATE SET position = excluded.position;

-- name: follow
-- A bounded walk in commit order, below the oldest transaction that is still running: nothing can appear behind it.
-- By `m.tx`: `tx` alone would be the text of the first line, in which 1000 comes before 999.
SELECT m.id, m.tx::text AS tx, m.app FROM message AS m
WHERE m.tx >= $1::text::xid8 AND (m.tx, m.id) > ($1::text::xid8, $2::bigint)
  AND m.tx < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY m.tx, m.id LIMIT $3;

-- name: first_transactions
-- Of the first messages of a time, those whose transactions began earliest.
SELECT min(tx::text::bigint)::text FROM (
    SELECT tx FROM message WHERE app = $1 AND id >= $2 ORDER BY id LIMIT 1000
) AS m;
