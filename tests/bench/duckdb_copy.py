#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""DuckDB's way from NDJSON bid requests to zstd Parquet, the measure that bench.py holds
bidlake against: the columns of db.bid_requests, made as the mapping openrtb/bid_requests
makes them, by the reader that DuckDB recommends when the shape is known (explicit columns).

usage: duckdb_copy.py INPUT OUTPUT [--sorted]
Prints {"cpu_seconds", "seconds"} of the COPY alone: neither Python's start nor the
library's is DuckDB's fault.
"""
import json
import resource
import sys
import time

import duckdb

COLUMNS = """{
    id: 'VARCHAR',
    imp: 'STRUCT(id VARCHAR, bidfloor DOUBLE,
                 banner STRUCT(w INTEGER, h INTEGER, format STRUCT(w INTEGER, h INTEGER)[]))[]',
    site: 'STRUCT(id VARCHAR, "domain" VARCHAR, cat JSON, publisher STRUCT(id VARCHAR))',
    app: 'STRUCT(id VARCHAR, "domain" VARCHAR, bundle VARCHAR, cat JSON,
                 publisher STRUCT(id VARCHAR))',
    device: 'STRUCT(devicetype INTEGER, os VARCHAR, geo STRUCT(country VARCHAR, region VARCHAR))',
    "user": 'STRUCT(id VARCHAR)', "at": 'INTEGER', tmax: 'INTEGER', cur: 'VARCHAR[]',
    regs: 'STRUCT(coppa BOOLEAN, gdpr BOOLEAN, ext STRUCT(gdpr BOOLEAN))',
    ext: 'STRUCT(ts BIGINT)'}"""

# The lone scalar that some send as cat is an error to a column of type VARCHAR[], so cat
# comes as JSON. Countries are only put in capitals: the way from alpha-2 to alpha-3 and
# the check against ISO 3166 are spared DuckDB.
SELECT = """
SELECT id AS request_id, i.id AS imp_id,
       coalesce(i.banner.w, i.banner.format[1].w) AS imp_banner_w,
       coalesce(i.banner.h, i.banner.format[1].h) AS imp_banner_h,
       i.bidfloor AS imp_bidfloor, coalesce(site.id, app.id) AS site_id,
       coalesce(site."domain", app."domain", app.bundle) AS site_domain,
       CASE WHEN cat IS NULL THEN NULL
            WHEN starts_with(cat::VARCHAR, '[') THEN cat->>'$[*]'
            ELSE [cat->>'$'] END AS site_cat,
       coalesce(site.publisher.id, app.publisher.id) AS publisher_id,
       device.devicetype AS device_type, device.os AS device_os,
       upper(device.geo.country) AS device_geo_country, device.geo.region AS device_geo_region,
       "user".id AS user_id, "at" AS auction_type, tmax, cur[1] AS currency,
       regs.coppa AS is_coppa, coalesce(regs.gdpr, regs.ext.gdpr) AS is_gdpr,
       coalesce(make_timestamptz(ext.ts * 1000), received_at) AS event_timestamp, received_at
FROM (SELECT *, unnest(imp) AS i, coalesce(site.cat, app.cat) AS cat, now() AS received_at
      FROM read_json('{input}', format = 'newline_delimited', columns = {columns}))
{order}"""

ORDER = "ORDER BY device_geo_country, site_domain, event_timestamp"


def quoted(path):
    return path.replace("'", "''")


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    source, target = sys.argv[1], sys.argv[2]
    order = ORDER if "--sorted" in sys.argv[3:] else ""
    select = SELECT.format(input=quoted(source), columns=COLUMNS, order=order)
    connection = duckdb.connect(config={"threads": 1})
    cpu, wall = cpu_seconds(), time.monotonic()
    connection.execute(
        f"COPY ({select}) TO '{quoted(target)}' (FORMAT parquet, COMPRESSION zstd)")
    print(json.dumps({"cpu_seconds": cpu_seconds() - cpu, "seconds": time.monotonic() - wall}))


if __name__ == "__main__":
    main()
