-- Impressions offered as the table was at a snapshot, which stands for :snapshot.
SELECT count(*) AS offered FROM bid_requests AT (VERSION => :snapshot)
