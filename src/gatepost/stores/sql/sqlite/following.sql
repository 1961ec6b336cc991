-- Named queries about those who read along.

-- name: poller_position
SELECT position FROM poller WHERE app = ? AND name = ?;

-- name: keep_poller_position
INSERT INTO poller (app, name, position) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET position = excluded.position;
