-- What a thousand impressions cost, by country, and what was spent.
SELECT device_geo_country AS country, count(*) AS shown, avg(price) AS cpm, sum(price) / 1000 AS spent
FROM impressions
GROUP BY device_geo_country
ORDER BY shown DESC, country NULLS FIRST
