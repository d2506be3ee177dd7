#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The part of the demo's report that is read back from the tables, by PyIceberg and pyarrow.

Conservation (generated = answered + refused, answered = in table + lost, events counted by
their ids), freshness (from received_at to the snapshot that shows the row), the funnel's
rates and the countries. Nothing here is taken from bidlake's own counts but what the agent
answered.

usage: demo_report.py DIR      a folder that tests/demo.sh filled
Exit: 0 the law holds, 1 it does not.
"""
import json
import sys

import pyarrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet
from pyiceberg.catalog.sql import SqlCatalog

ID = {"bid_requests": "request_id", "bid_responses": "request_id",
      "impressions": "impression_id", "clicks": "click_id"}
COUNTRY = "device_geo_country"
SHOWN_COUNTRIES = 10


def load_json(path):
    with open(path) as text:
        return json.load(text)


class Tables:
    def __init__(self, directory):
        self.directory = directory
        self.catalog = SqlCatalog("bidlake", uri=f"sqlite:///{directory}/catalog.db")

    def table(self, name):
        return self.catalog.load_table(f"db.{name}")

    def column(self, name, column):
        return self.table(name).scan(selected_fields=(column,)).to_arrow()[column]

    def lost(self, name):
        """Positions that the table's ledger counts as lost."""
        path = f"{self.directory}/warehouse/{self.table(name).properties['bidlake.ledger']}"
        with pyarrow.input_stream(path, compression="zstd") as text:
            ledger = json.loads(text.read())
        return sum(lost["events"] for stream in ledger["streams"].values()
                   for lost in stream.get("lost", []))

    def ages(self, name):
        """Seconds from received_at to its snapshot, of each row."""
        table = self.table(name)
        at_ms = {snapshot.snapshot_id: snapshot.timestamp_ms for snapshot in table.snapshots()}
        ages = []
        for entry in table.inspect.entries().to_pylist():
            path = entry["data_file"]["file_path"].removeprefix("file://")
            received = parquet.read_table(path, columns=["received_at"], partitioning=None)
            seen_us = pyarrow.scalar(at_ms[entry["snapshot_id"]] * 1000)
            age_us = compute.subtract(seen_us, received["received_at"].cast("int64"))
            ages += compute.divide(age_us.cast("double"), 1e6).chunks
        return ages


def report_conservation(tables, generated, answered):
    """The promise in numbers; True if it holds."""
    print("conservation, events counted by their ids in the tables:")
    print(f"  {'table':14} {'generated':>12} {'answered':>12} {'refused':>9} {'in table':>12}"
          f" {'lost':>6}")
    holds, sums = True, [0] * 5
    for name, column in ID.items():
        made = generated[name]["events"]
        found = compute.count_distinct(tables.column(name, column)).as_py()
        line = [made, answered[name]["accepted"], answered[name]["refused"], found,
                tables.lost(name)]
        sums = [a + b for a, b in zip(sums, line)]
        holds = holds and line[0] == line[1] + line[2] and line[1] == line[3] + line[4]
        print(f"  {name:14} {line[0]:12,} {line[1]:12,} {line[2]:9,} {line[3]:12,} {line[4]:6,}")
    equal = "=" if sums[0] == sums[1] == sums[3] else "is not"
    print(f"  generated {equal} answered {equal} in table:"
          f" {sums[0]:,} {equal} {sums[1]:,} {equal} {sums[3]:,}")
    return holds


def report_freshness(tables):
    ages = pyarrow.chunked_array([chunk for name in ID for chunk in tables.ages(name)])
    p50, p95, most = compute.quantile(ages, [0.5, 0.95, 1.0]).to_pylist()
    print(f"freshness, from received to queryable: p50 {p50:.1f} s, p95 {p95:.1f} s,"
          f" at most {most:.1f} s")


def share(part, whole):
    return f"{part / whole:.2%}" if whole else "none"


def report_funnel(tables):
    requests, responses = (compute.count_distinct(tables.column(name, "request_id")).as_py()
                           for name in ("bid_requests", "bid_responses"))
    impressions = tables.column("impressions", "price")
    clicks = len(tables.column("clicks", "click_id"))
    print(f"funnel: fill rate {share(responses, requests)},"
          f" win rate {share(len(impressions), responses)},"
          f" CTR {share(clicks, len(impressions))},"
          f" CPM {compute.mean(impressions).as_py() or 0:.3f}")


def report_countries(tables):
    shown = tables.table("impressions").scan(selected_fields=(COUNTRY, "price")).to_arrow()
    shown = shown.group_by(COUNTRY).aggregate([("price", "sum"), ("price", "count")])
    clicks = tables.table("clicks").scan(selected_fields=(COUNTRY,)).to_arrow()
    clicks = clicks.group_by(COUNTRY).aggregate([([], "count_all")])
    clicks = dict(zip(clicks[COUNTRY].to_pylist(), clicks["count_all"].to_pylist()))
    rows = sorted(shown.to_pylist(), key=lambda row: -row["price_count"])
    print(f"by country, the {SHOWN_COUNTRIES} largest of {len(rows)}:")
    print(f"  {'country':8} {'impressions':>12} {'CPM':>8} {'clicks':>8} {'CTR':>8}")
    for row in rows[:SHOWN_COUNTRIES]:
        count, click = row["price_count"], clicks.get(row[COUNTRY], 0)
        print(f"  {row[COUNTRY] or 'none':8} {count:12,} {row['price_sum'] / count:8.3f}"
              f" {click:8,} {click / count:8.2%}")


def main():
    tables = Tables(sys.argv[1])
    generator = load_json(f"{tables.directory}/logs/gen.json")
    print("\nread from the tables by PyIceberg:\n")
    holds = report_conservation(tables, generator["tables"], generator["http"]["tables"])
    print()
    report_freshness(tables)
    report_funnel(tables)
    print()
    report_countries(tables)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
