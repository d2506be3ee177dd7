#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What lib/iceberg writes PyIceberg and DuckDB read, and the other way round.

usage: iceberg_manifest.py PROGRAM    (tests/interop/iceberg_make, built)
"""
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile

import duck
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable
from pyiceberg.transforms import DayTransform
from pyiceberg.expressions import EqualTo, GreaterThan

ROWS = 100
UTC = datetime.timezone.utc


def field(name, kind, number, nullable=True):
    return pa.field(name, kind, nullable, metadata={"PARQUET:field_id": str(number)})


def rows_table():
    element = field("element", pa.string(), 6)
    schema = pa.schema([
        field("id", pa.int64(), 1, False),
        field("ts", pa.timestamp("us", tz="UTC"), 2),
        field("country", pa.string(), 3),
        field("price", pa.float64(), 4),
        field("cat", pa.list_(element), 5),
    ])
    at = datetime.datetime(2026, 1, 1, 12, tzinfo=UTC)
    return pa.table([
        pa.array(range(ROWS), pa.int64()),
        pa.array([at] * ROWS, pa.timestamp("us", tz="UTC")),
        pa.array(["DEU"] * ROWS),
        pa.array([None, float("nan"), float("nan")] + [1.5] * (ROWS - 3)),
        pa.array([["IAB1", "IAB2"]] * ROWS, pa.list_(element)),
    ], schema=schema)


def run(program, *args):
    return subprocess.run([program, *map(str, args)], check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def check_ours(program, directory, version):
    """Ours, read by PyIceberg: scanned, and pruned by partition and by bounds."""
    data = directory / "data" / "ts_day=2026-01-01"
    data.mkdir(parents=True)
    path = data / "a.parquet"
    pq.write_table(rows_table(), path)
    location = run(program, "table", directory, path, ROWS, version).strip()
    table = StaticTable.from_metadata(location)
    assert table.metadata.format_version == version
    assert table.metadata.current_snapshot_id == 4611686018427387905
    assert table.scan().to_arrow().num_rows == ROWS
    assert table.scan(EqualTo("country", "DEU")).to_arrow().num_rows == ROWS
    assert list(table.scan(EqualTo("country", "USA")).plan_files()) == []
    assert list(table.scan(GreaterThan("id", ROWS)).plan_files()) == []
    assert len(list(table.scan(GreaterThan("id", ROWS - 2)).plan_files())) == 1
    (task,) = table.scan().plan_files()
    assert task.file.value_counts == {1: ROWS, 4: ROWS} and task.file.nan_value_counts == {4: 2}
    assert task.file.partition[0] == 20454 and task.file.partition[1] == "DEU"
    assert task.file.split_offsets == [4] and task.file.sort_order_id == 1
    (entry,) = table.inspect.entries().to_pylist()
    assert entry["sequence_number"] == 1 and entry["status"] == 1
    (manifest,) = table.inspect.manifests().to_pylist()
    assert manifest["partition_summaries"][1]["lower_bound"] == "DEU"
    return location


def check_duckdb(location):
    """Ours, read by DuckDB."""
    count, total = duck.connect().execute(
        f"SELECT count(*), sum(id) FROM iceberg_scan('{location}')").fetchone()
    assert (count, total) == (ROWS, ROWS * (ROWS - 1) // 2)


def check_theirs(program, directory):
    """PyIceberg's (deflated, two appends), read by us."""
    directory.mkdir()
    catalog = SqlCatalog("test", uri=f"sqlite:///{directory}/catalog.db",
                         warehouse=f"file://{directory}")
    catalog.create_namespace("db")
    table = catalog.create_table("db.t", rows_table().schema)
    with table.update_spec() as update:
        update.add_field("ts", DayTransform(), "ts_day")
        update.add_identity("country")
    for _ in range(2):
        table.append(rows_table())
    metadata = pathlib.Path(table.metadata_location.removeprefix("file://"))
    ours = json.loads(run(program, "metadata", metadata))
    assert ours == json.loads(metadata.read_text())
    snapshot = table.current_snapshot()
    records = [json.loads(line) for line in
               run(program, "list", snapshot.manifest_list.removeprefix("file://")).splitlines()]
    wanted = snapshot.manifests(table.io)
    assert len(records) == len(wanted) == 2
    for record, manifest in zip(records, wanted):
        assert record["path"] == manifest.manifest_path
        assert record["length"] == manifest.manifest_length
        assert record["sequence_number"] == manifest.sequence_number
        assert (record["added_files"], record["added_rows"]) == (1, ROWS)
        assert record["summaries"] == 2
        check_their_manifest(program, table, manifest)


def check_their_manifest(program, table, manifest):
    path = manifest.manifest_path.removeprefix("file://")
    (ours,) = [json.loads(line) for line in run(program, "manifest", path).splitlines()]
    (entry,) = manifest.fetch_manifest_entry(table.io)
    file = entry.data_file
    assert ours["path"] == file.file_path and ours["size"] == file.file_size_in_bytes
    assert ours["rows"] == file.record_count == ROWS and ours["status"] == 1
    assert ours["partition"] == [20454, "DEU"]
    assert ours["splits"] == len(file.split_offsets)
    assert set(map(int, ours["metrics"])) >= set(file.value_counts)
    for key, (size, values, nulls, _, lower, upper) in ours["metrics"].items():
        number = int(key)
        assert size == file.column_sizes.get(number, -1)
        assert values == file.value_counts.get(number, -1)
        assert nulls == file.null_value_counts.get(number, -1)
        assert lower == file.lower_bounds.get(number, b"").hex()
        assert upper == file.upper_bounds.get(number, b"").hex()


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(temporary)
        location = check_ours(program, directory / "v2", 2)
        check_duckdb(location)
        check_ours(program, directory / "v3", 3)
        check_theirs(program, directory / "theirs")
    print("iceberg_manifest: ok")


if __name__ == "__main__":
    main()
