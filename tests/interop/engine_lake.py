# SPDX-License-Identifier: Apache-2.0
"""A lake of all four tables in an S3 store and a REST catalog, made by the programs from events of
bidlake-gen: several snapshots, files of both partition specs and of one that came later, and the
rows that must be in it, by the reference."""
import contextlib
import datetime

from peer import IcebergRest, Versitygw
from rest_lake import RestLake

import pyarrow as pa
from pyiceberg.transforms import BucketTransform

import reference
from lake import Lake, generate, read_lines

REQUESTS = 6000
# Events from 2026-03-01 20:00 to 2026-03-03 05:20: three days.
START, RATE = "2026-03-01T20:00:00Z", 0.05
MIDDLE = "m"  # of the sites
THEIRS = 20  # impressions that another writer appends
TABLES = ("bid_requests", "bid_responses", "impressions", "clicks")


def moment(us):
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + \
        datetime.timedelta(microseconds=us)


def named(table, lines):
    names = reference.columns(table)
    return [dict(zip(names, row)) for row in reference.map_lines(table, lines).rows]


def shares(table, lines):
    """(lines, from what size a partition has its own file): all small slices in a day's file; a
    file for each partition; then sites apart, so that files differ in the column that they are
    sorted by."""
    at = [0, int(len(lines) * 0.4), int(len(lines) * 0.45), len(lines)]
    first, second, rest = (lines[at[n]:at[n + 1]] for n in range(3))
    low, high = [], []
    for line in rest:
        is_low = (named(table, [line])[0].get("site_domain") or "") < MIDDLE
        (low if is_low else high).append(line)
    return [(first, "1GiB"), (second, "0"), (low, "1GiB"), (high, "1GiB")]


class EngineLake:
    def __init__(self, namespace="db"):
        with contextlib.ExitStack() as stack:
            self.home = stack.enter_context(Lake())
            self.store = Versitygw(self.home.directory)
            stack.callback(self.store.close)
            self.rest = IcebergRest(self.home.directory, "s3://lake/wh", store=self.store)
            stack.callback(self.rest.close)
            self.lake = self.beside(namespace)
            self.lake.tables = ",".join(f"openrtb/{table}" for table in TABLES)
            stack.callback(self.lake.__exit__)
            self.lake.init()
            self.close = stack.pop_all().close

    def beside(self, namespace):
        """Another lake, with a spool of its own, in the same store and catalog."""
        return RestLake(self.rest.url, self.home.path("s3", "lake", "wh"), namespace,
                        warehouse="s3://lake/wh", store=self.store)

    def fill(self):
        """Returns rows by table, as dictionaries; `self.earlier` counts those before the last
        commit."""
        events = generate(self.home.path("events"), REQUESTS, seed=11, start=START, rate=RATE)
        parts = {table: shares(table, read_lines(path)) for table, path in events.items()}
        rows, self.earlier = {table: [] for table in TABLES}, {}
        for turn in range(4):
            for table in TABLES:
                lines, partition_bytes = parts[table][turn]
                if turn == 2 and table == "impressions":
                    lines, theirs = lines[THEIRS:], lines[:THEIRS]
                    rows[table] += self.evolve(theirs)
                if lines:
                    self.earlier[table] = len(rows[table])
                    self.lake.ingest(table, "-", "--roll-partition-bytes", partition_bytes,
                                     stdin=b"".join(lines))
                    rows[table] += named(table, lines)
            self.lake.once()
        return rows

    def evolve(self, lines):
        """Somebody partitions a table anew and writes to it; what comes from us goes on in our
        specs. Returns the rows."""
        table = self.lake.load("impressions")
        with table.update_spec() as update:
            update.add_field("campaign_id", BucketTransform(4), "campaign_bucket")
        rows = named("impressions", lines)
        now = datetime.datetime.now(datetime.timezone.utc)
        table.append(pa.Table.from_pylist(
            [{**row, "received_at": now, "event_timestamp": moment(row["event_timestamp"])}
             for row in rows], schema=table.schema().as_arrow()))
        return rows
