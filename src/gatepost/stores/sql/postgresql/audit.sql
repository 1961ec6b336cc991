-- Named queries about who changed what.

-- name: put_audit
INSERT INTO audit (id, who, method, path, object, fields, request, client) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: list_audit
-- Of nobody's in particular: $1 stands for what other lists are of.
SELECT id, who, method, path, object, fields, request, client FROM audit
WHERE $1::int IS NULL AND id BETWEEN $2 AND $3 ORDER BY id {order} LIMIT $4;

-- name: list_audit_bound
SELECT id FROM audit WHERE $1::int IS NULL AND id BETWEEN $2 AND $3 ORDER BY id {order} LIMIT 1 OFFSET $4;

-- name: drop_audit
DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < $1 ORDER BY id LIMIT $2);
