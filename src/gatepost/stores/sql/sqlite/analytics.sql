-- Named queries about what analytics counted.

-- name: put_analytics
INSERT INTO analytics (span, time, part, route, consumer, status, requests, bytes_in, bytes_out, gateway, upstream)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (span, time, part, route, consumer, status) DO UPDATE SET
    requests = excluded.requests, bytes_in = excluded.bytes_in, bytes_out = excluded.bytes_out,
    gateway = excluded.gateway, upstream = excluded.upstream;

-- name: analytics_rows
-- A range of the primary key, behind the row that was seen last.
SELECT span, time, part, route, consumer, status, requests, bytes_in, bytes_out, gateway, upstream FROM analytics
WHERE span = :span AND time >= :since AND time < :until AND (time, part, route, consumer, status) > (:after_time, :after_part, :after_route, :after_consumer, :after_status)
    AND (:route IS NULL OR route = :route) AND (:consumer IS NULL OR consumer = :consumer)
ORDER BY time, part, route, consumer, status LIMIT :limit;

-- name: analytics_totals_by_route
SELECT route, SUM(requests), SUM(iif(status = 4, requests, 0)), SUM(iif(status IN (0, 5), requests, 0)), SUM(bytes_in),
    SUM(bytes_out) FROM analytics
WHERE span = :span AND time >= :since AND time < :until AND (:route IS NULL OR route = :route) AND (:consumer IS NULL OR consumer = :consumer)
GROUP BY route ORDER BY 2 DESC, 1 LIMIT :limit;

-- name: analytics_totals_by_consumer
SELECT consumer, SUM(requests), SUM(iif(status = 4, requests, 0)), SUM(iif(status IN (0, 5), requests, 0)), SUM(bytes_in),
    SUM(bytes_out) FROM analytics
WHERE span = :span AND time >= :since AND time < :until AND (:route IS NULL OR route = :route) AND (:consumer IS NULL OR consumer = :consumer)
GROUP BY consumer ORDER BY 2 DESC, 1 LIMIT :limit;

-- name: analytics_end
SELECT MAX(time) FROM analytics WHERE span = ?;

-- name: drop_analytics
DELETE FROM analytics WHERE (span, time, part, route, consumer, status) IN (
    SELECT span, time, part, route, consumer, status FROM analytics WHERE span = ? AND time < ?
    ORDER BY time LIMIT ?
);
