#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyIceberg's SqlCatalog opens our catalog as it is, appends between two of our commits, and
both go on; bidlake-table check agrees.

usage: catalog_readers.py CATALOG_MAKE BIDLAKE_TABLE
"""
import datetime
import pathlib
import subprocess
import sys
import tempfile

import duck
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo

UTC = datetime.timezone.utc
DAY = datetime.datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 20454  # from 1970 to 2026-01-01


def field(name, kind, number, nullable=True):
    return pa.field(name, kind, nullable, metadata={"PARQUET:field_id": str(number)})


SCHEMA = pa.schema([
    field("id", pa.string(), 1, False),
    field("country", pa.string(), 2),
    field("at", pa.timestamp("us", tz="UTC"), 3),
])


def rows(first, count):
    return pa.table([
        pa.array([f"e{i}" for i in range(first, first + count)]),
        pa.array(["DEU"] * count),
        pa.array([DAY + datetime.timedelta(seconds=i) for i in range(count)],
                 pa.timestamp("us", tz="UTC")),
    ], schema=SCHEMA)


def main():
    make, table_tool = sys.argv[1:]
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bidlake_catalog_"))
    path = directory / "a.parquet"

    def ours(first, count, spec):
        pq.write_table(rows(first, count), path)
        out = subprocess.run([make, directory, path, str(first), str(count), str(DAYS), str(spec)],
                             check=True, stdout=subprocess.PIPE, text=True).stdout
        assert out.startswith("taken 1 "), out

    def ids(table, **scan):
        return sorted(table.scan(**scan).to_arrow()["id"].to_pylist(), key=lambda i: int(i[1:]))

    ours(0, 100, 0)
    catalog = SqlCatalog("bidlake", uri=f"sqlite:///{directory}/catalog.db",
                         warehouse=f"file://{directory}/wh")
    assert catalog.list_namespaces() == [("db",)], catalog.list_namespaces()
    assert catalog.list_tables("db") == [("db", "t")]
    table = catalog.load_table("db.t")
    assert table.metadata.format_version == 2
    assert len(table.specs()) == 2 and table.metadata.default_spec_id == 0
    assert ids(table) == [f"e{i}" for i in range(100)]

    table.append(rows(1000, 7))  # somebody else's commit, between two of ours
    ours(100, 50, 1)
    table = catalog.load_table("db.t")
    wanted = [f"e{i}" for i in range(150)] + [f"e{i}" for i in range(1000, 1007)]
    assert ids(table) == wanted
    assert ids(table, row_filter=EqualTo("country", "DEU")) == wanted
    assert ids(table, row_filter=EqualTo("id", "e120")) == ["e120"]
    assert ids(table, row_filter=EqualTo("country", "USA")) == []
    kinds = [s.summary.operation.value for s in table.metadata.snapshots]
    assert kinds == ["append"] * 4, kinds
    assert "bidlake.ledger" in table.properties

    found = duck.connect().execute(
        f"SELECT count(*), count(DISTINCT id) FROM iceberg_scan('{table.metadata_location}')"
    ).fetchone()
    assert found == (157, 157), found

    check = subprocess.run([table_tool, "check", "t", "--warehouse", directory / "wh", "--catalog",
                            f"sqlite:{directory}/catalog.db"], stdout=subprocess.PIPE, text=True)
    assert check.returncode == 0, check.stdout
    print("catalog_readers: ok")


if __name__ == "__main__":
    main()
