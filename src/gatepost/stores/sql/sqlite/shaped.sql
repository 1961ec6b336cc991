-- Bodies that endpoints' transforms made, between the first failed try and the delivery's end.

-- name: keep_shaped
-- The first one stays: what was sent once is what is sent again.
INSERT INTO shaped (endpoint, message, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: drop_shaped
DELETE FROM shaped WHERE endpoint = ? AND message = ?;

-- name: drop_shaped_of
DELETE FROM shaped WHERE endpoint = ?;

-- name: shaped
SELECT body FROM shaped WHERE endpoint = ? AND message = ?;
