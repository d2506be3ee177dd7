-- Impressions offered, by country.
SELECT device_geo_country AS country, count(*) AS offered
FROM bid_requests
GROUP BY device_geo_country
ORDER BY offered DESC, country NULLS FIRST
