-- Impressions offered as the table was at a snapshot, which stands for :snapshot.
SELECT count(*) AS offered FROM lake.`db.bid_requests` SETTINGS iceberg_snapshot_id = :snapshot
