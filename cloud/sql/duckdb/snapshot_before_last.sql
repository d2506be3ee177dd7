-- The snapshot that the last commit came upon: rows_at_snapshot.sql reads it.
SELECT snapshot_id AS snapshot
FROM iceberg_snapshots(lake.db.bid_requests)
ORDER BY sequence_number DESC
LIMIT 1 OFFSET 1
