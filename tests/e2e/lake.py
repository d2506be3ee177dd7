# SPDX-License-Identifier: Apache-2.0
"""A lake in a folder of its own: warehouse, catalog file, spool; the programs run over it as
in production, each a process, and readers that are not ours look at what came of it.

Programs are taken from BIDLAKE_BUILD (build/release), folders made in BIDLAKE_TEST_DIR;
BIDLAKE_TEST_PATIENCE=6 makes each deadline six times as long, for programs that are slow.
"""
import collections
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

import reference

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BIDLAKE_BUILD", "build/release"))
DATA = os.path.join(ROOT, "tests", "e2e", "data")
PATIENCE = float(os.environ.get("BIDLAKE_TEST_PATIENCE", "1"))
RUN_SECONDS = 40 * PATIENCE
DEADLINE = 30 * PATIENCE  # of what ought to come at once

DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 3
Result = collections.namedtuple("Result", "code out err")


def until(condition, what, seconds=20.0):
    """Polls a state; a deadline passed is a failure that says what was waited for."""
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.005)
    return found


def program(name, *arguments, code=None, fault=None, stdin=None, env=None, prefix=()):
    """Runs a program to its end. `code`: what it must exit with (None: anything)."""
    environment = dict(os.environ, **(env or {}))
    environment.pop("BIDLAKE_FAULT", None)
    if fault:
        environment["BIDLAKE_FAULT"] = fault
    command = [*prefix, os.path.join(BUILD, name), *map(str, arguments)]
    ran = subprocess.run(command, input=stdin, capture_output=True, env=environment,
                         timeout=RUN_SECONDS)
    result = Result(ran.returncode, ran.stdout.decode("utf-8", "replace"),
                    ran.stderr.decode("utf-8", "replace"))
    if code is not None and result.code != code:
        raise AssertionError(f"{' '.join(command)}\nexit {result.code}, wanted {code}\n"
                             f"{result.out[-2000:]}\n{result.err[-4000:]}")
    return result


def keep_programs(folder):
    """Copies the programs, so that one built anew during a long run is not half of it."""
    global BUILD
    for name in ("agent", "commit", "table", "gen"):
        shutil.copy(os.path.join(BUILD, f"bidlake-{name}"), folder)
    BUILD = os.environ["BIDLAKE_BUILD"] = folder


def generate(directory, count, seed, start="2026-03-01T22:00:00Z", rate=20):
    """The four tables' NDJSON files for `count` requests, the same for the same seed."""
    program("bidlake-gen", "--out", directory, "--count", count, "--seed", seed, "--start", start,
            "--time-rate", rate, "--events-per-second", 0, code=DONE)
    return {table: os.path.join(directory, f"{table}.ndjson") for table in reference.TABLES}


def read_lines(path):
    with open(path, "rb") as file:
        return file.readlines()


class Lake:
    def __init__(self, directory=None, tables=None):
        self.own = directory is None
        self.directory = directory or tempfile.mkdtemp(
            prefix="bidlake-", dir=os.environ.get("BIDLAKE_TEST_DIR"))
        self.warehouse = os.path.join(self.directory, "warehouse")
        self.spool = os.path.join(self.directory, "spool")
        self.catalog_path = os.path.join(self.directory, "catalog.db")
        self.tables = tables
        self.environment = {}  # for the programs, beside the test's own
        os.makedirs(self.warehouse, exist_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.own and not os.environ.get("BIDLAKE_TEST_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def write(self, name, content):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)

    def store_goes(self):
        """A file in its place: no put can succeed."""
        os.rename(self.warehouse, self.warehouse + ".away")
        self.write("warehouse", b"")

    def store_returns(self):
        os.remove(self.warehouse)
        os.rename(self.warehouse + ".away", self.warehouse)

    # -- the programs ----------------------------------------------------------------------

    def program(self, name, *arguments, env=None, **how):
        return program(name, *arguments, env={**self.environment, **(env or {})}, **how)

    def agent_flags(self, spool=None, agent_id="edge-1"):
        flags = ["--warehouse", f"file://{self.warehouse}", "--spool", spool or self.spool,
                 "--agent-id", agent_id]
        return flags + (["--tables", self.tables] if self.tables else [])

    def commit_flags(self):
        flags = ["--warehouse", f"file://{self.warehouse}", "--catalog",
                 f"sqlite:{self.catalog_path}"]
        return flags + (["--tables", self.tables] if self.tables else [])

    def agent(self, command, *arguments, spool=None, agent_id="edge-1", **how):
        return self.program("bidlake-agent", command, *self.agent_flags(spool, agent_id),
                            *arguments, **how)

    def ingest(self, table, *arguments, code=DONE, **how):
        """Returns the JSON report; with code=None the Result."""
        result = self.agent("ingest", "--quiet", "--json", table, *arguments, code=code, **how)
        return result if code is None else json.loads(result.out)

    def init(self, *arguments, code=DONE, **how):
        return self.program("bidlake-commit", "init", *arguments, *self.commit_flags(), code=code,
                            **how)

    def once(self, *arguments, code=DONE, **how):
        result = self.program("bidlake-commit", "once", "--json", *self.commit_flags(), *arguments,
                              code=code, **how)
        return result if code is None else json.loads(result.out)

    def table(self, command, *arguments, code=DONE, **how):
        return self.program("bidlake-table", command, *self.commit_flags(), *arguments, code=code,
                            **how)

    def table_json(self, command, *arguments, **how):
        return json.loads(self.table(command, *arguments, "--json", **how).out)

    def check(self, *tables):
        """bidlake-table check: manifests, footers and ledger agree."""
        for table in tables or reference.TABLES:
            self.table("check", f"db.{table}")

    # -- what lies in the store -------------------------------------------------------------

    def inbox(self, table=None):
        pattern = f"db.{table}" if table else "*"
        return sorted(glob.glob(f"{self.warehouse}/_bidlake/inbox/{pattern}/*/*.json"))

    def refused(self):
        return sorted(path for path in glob.glob(f"{self.warehouse}/_bidlake/refused/**",
                                                 recursive=True) if os.path.isfile(path))

    def receipts(self):
        found = {}
        for path in glob.glob(f"{self.warehouse}/_bidlake/receipts/*.json"):
            with open(path, "rb") as file:
                receipt = json.load(file)
            found[receipt["stream"]] = receipt
        return found

    # -- foreign readers --------------------------------------------------------------------

    def catalog(self):
        return SqlCatalog("bidlake", uri=f"sqlite:///{self.catalog_path}",
                          warehouse=f"file://{self.warehouse}")

    def load(self, table):
        with contextlib.closing(self.catalog()) as catalog:
            return catalog.load_table(f"db.{table}")

    def catalog_location(self, table="clicks"):
        """Where the catalog says that the table's metadata is."""
        with contextlib.closing(sqlite3.connect(self.catalog_path)) as connection:
            return connection.execute("SELECT metadata_location FROM iceberg_tables "
                                      "WHERE table_name = ?", (table,)).fetchone()[0]

    def live_files(self, table):
        """Paths of the table's live data files, as PyIceberg plans them."""
        return [local_path(task.file.file_path) for task in self.load(table).scan().plan_files()]

    def rows(self, table, names=None):
        """All live rows by pyarrow, page checksums verified; see normalise()."""
        tables = [pq.ParquetFile(path, page_checksum_verification=True).read()
                  for path in self.live_files(table)]
        return [row for data in tables for row in normalise(table, data, names)]

    def ids(self, table, column):
        """How often each value of one column is in the table."""
        found = collections.Counter()
        for path in self.live_files(table):
            data = pq.ParquetFile(path, page_checksum_verification=True).read(columns=[column])
            found.update(data.column(column).to_pylist())
        return found


def local_path(url):
    assert url.startswith("file://"), url
    return url[len("file://"):]


def normalise(table, data, names=None):
    """An arrow table's rows as the reference makes them: tuples, times in microseconds, an
    event_timestamp that is received_at as RECEIVED."""
    columns = []
    received = data.column("received_at").cast(pa.int64()).to_pylist()
    for name in names or reference.columns(table):
        column = data.column(name)
        if pa.types.is_timestamp(column.type):
            values = column.cast(pa.int64()).to_pylist()
        elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            values = [None if value is None else tuple(value) for value in column.to_pylist()]
        else:
            values = column.to_pylist()
        if name == "event_timestamp":
            values = [reference.RECEIVED if value == at else value
                      for value, at in zip(values, received)]
        columns.append(values)
    return list(zip(*columns))


def difference(expected, found, names):
    """None when the two are the same multisets of rows, else a text that shows where not."""
    expected, found = collections.Counter(expected), collections.Counter(found)
    if expected == found:
        return None
    lines = [f"{expected.total()} rows expected, {found.total()} found"]
    for text, rows in (("missing", expected - found), ("not expected", found - expected)):
        lines.append(f"{rows.total()} {text}")
        lines += [str(dict(zip(names, row))) for row in list(rows)[:3]]
    return "\n".join(lines)


def duck(iceberg=False, more=()):
    """A DuckDB connection; with the Iceberg extension as its wheel brings it, and `more`."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET threads = 1")
    if iceberg:
        for name in ("avro", *more, "iceberg"):
            found = [path for folder in sys.path for path in
                     glob.glob(f"{folder}/duckdb_extension_{name}/extensions/*/*_extension")]
            if not found:
                raise AssertionError(f"duckdb-extension-{name} is not installed")
            connection.execute(f"LOAD '{found[0]}'")
    return connection


def end(process, how=signal.SIGKILL):
    """Ends a process that the test started, by its own id, stopped or not."""
    if process.poll() is None:
        process.send_signal(how)
        if how != signal.SIGKILL:
            process.send_signal(signal.SIGCONT)
    process.wait(timeout=DEADLINE)


def damage(spool, text):
    """Flips a bit in the spool's block that holds this text; says so if there is none."""
    path = os.path.join(spool, "data.mdb")
    with open(path, "r+b") as file:
        data = file.read()
        found = [match.start() for match in re.finditer(re.escape(text.encode()), data)]
        assert found, f"{text} is not in {path}"
        for at in found:
            file.seek(at)
            file.write(bytes([data[at] ^ 1]))
