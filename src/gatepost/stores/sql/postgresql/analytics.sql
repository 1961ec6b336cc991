-- Named queries about what analytics counted.

-- name: put_analytics
INSERT INTO analytics (span, time, part, route, consumer, status, requests, bytes_in, bytes_out, gateway, upstream)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (span, time, part, route, consumer, status) DO UPDATE SET
    requests = excluded.requests, bytes_in = excluded.bytes_in, bytes_out = excluded.bytes_out,
    gateway = excluded.gateway, upstream = excluded.upstream;

-- name: analytics_rows
-- A range of the primary key: $1 span, $2 since, $3 until, $4 route, $5 consumer, $6 to $10 the last row seen, $11 limit.
SELECT span, time, part, route, consumer, status, requests, bytes_in, bytes_out, gateway, upstream FROM analytics
WHERE span = $1 AND time >= $2 AND time < $3 AND (time, part, route, consumer, status) > ($6, $7, $8, $9, $10)
    AND ($4::text IS NULL OR route = $4) AND ($5::text IS NULL OR consumer = $5)
ORDER BY time, part, route, consumer, status LIMIT $11;

-- name: analytics_totals_by_route
SELECT route, SUM(requests)::bigint,
    COALESCE(SUM(requests) FILTER (WHERE status = 4), 0)::bigint,
    COALESCE(SUM(requests) FILTER (WHERE status IN (0, 5)), 0)::bigint,
    SUM(bytes_in)::bigint, SUM(bytes_out)::bigint FROM analytics
WHERE span = $1 AND time >= $2 AND time < $3 AND ($4::text IS NULL OR route = $4) AND ($5::text IS NULL OR consumer = $5)
GROUP BY route ORDER BY 2 DESC, 1 LIMIT $6;

-- name: analytics_totals_by_consumer
SELECT consumer, SUM(requests)::bigint,
    COALESCE(SUM(requests) FILTER (WHERE status = 4), 0)::bigint,
    COALESCE(SUM(requests) FILTER (WHERE status IN (0, 5)), 0)::bigint,
    SUM(bytes_in)::bigint, SUM(bytes_out)::bigint FROM analytics
WHERE span = $1 AND time >= $2 AND time < $3 AND ($4::text IS NULL OR route = $4) AND ($5::text IS NULL OR consumer = $5)
GROUP BY consumer ORDER BY 2 DESC, 1 LIMIT $6;

-- name: analytics_end
SELECT MAX(time) FROM analytics WHERE span = $1;

-- name: drop_analytics
DELETE FROM analytics WHERE (span, time, part, route, consumer, status) IN (
    SELECT span, time, part, route, consumer, status FROM analytics WHERE span = $1 AND time < $2
    ORDER BY time LIMIT $3
) RETURNING 1;
