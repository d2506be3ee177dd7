-- Share of the bids that became an impression, by the hour of the bid.
SELECT FLOOR(b.event_timestamp TO HOUR) AS hour_of_bid, count(*) AS bids,
       count(i.bid_id) AS won, CAST(count(i.bid_id) AS DOUBLE) / count(*) AS win_rate
FROM bid_responses AS b
LEFT JOIN (SELECT DISTINCT bid_id FROM impressions) AS i ON i.bid_id = b.bid_id
GROUP BY FLOOR(b.event_timestamp TO HOUR)
ORDER BY hour_of_bid
