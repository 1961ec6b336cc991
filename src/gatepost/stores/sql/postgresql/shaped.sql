-- Bodies that endpoints' transforms made, between the first failed try and the delivery's end.

-- name: keep_shaped
-- The first one stays: what was sent once is what is sent again.
INSERT INTO shaped (endpoint, message, body) SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bytea[])
ON CONFLICT DO NOTHING;

-- name: drop_shaped
DELETE FROM shaped USING unnest($1::integer[], $2::bigint[]) AS over (endpoint, message)
WHERE shaped.endpoint = over.endpoint AND shaped.message = over.message;

-- name: drop_shaped_of
DELETE FROM shaped WHERE endpoint = $1;

-- name: shaped
SELECT body FROM shaped WHERE endpoint = $1 AND message = $2;
