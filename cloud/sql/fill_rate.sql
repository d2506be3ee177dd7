-- Share of the bid requests that were answered with a bid.
SELECT requests, answered, CAST(answered AS DOUBLE) / requests AS fill_rate
FROM (SELECT count(DISTINCT request_id) AS requests FROM bid_requests) AS asked
CROSS JOIN (SELECT count(DISTINCT request_id) AS answered FROM bid_responses) AS bids
