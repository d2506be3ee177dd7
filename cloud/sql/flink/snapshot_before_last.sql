-- The snapshot that the last commit came upon: rows_at_snapshot.sql reads it.
SELECT parent_id AS snapshot
FROM `bid_requests$history`
WHERE is_current_ancestor
ORDER BY made_current_at DESC
LIMIT 1
