-- Named queries about who changed what.

-- name: put_audit
INSERT INTO audit (id, who, method, path, object, fields, request, client) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: list_audit
SELECT id, who, method, path, object, fields, request, client FROM audit
WHERE id BETWEEN :low AND :high ORDER BY id {order} LIMIT :limit;

-- name: list_audit_bound
SELECT id FROM audit WHERE id BETWEEN :low AND :high ORDER BY id {order} LIMIT 1 OFFSET :scan;

-- name: drop_audit
DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < ? ORDER BY id LIMIT ?);
