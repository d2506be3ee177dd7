# SPDX-License-Identifier: Apache-2.0
"""DuckDB with the Iceberg extension as its wheel brings it: nothing is downloaded."""
import glob
import sys

import duckdb


def connect():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET threads = 1")
    for name in ("avro", "iceberg"):
        found = [path for folder in sys.path for path in
                 glob.glob(f"{folder}/duckdb_extension_{name}/extensions/*/*_extension")]
        assert found, f"duckdb-extension-{name} is not installed: install-dependencies.sh python"
        connection.execute(f"LOAD '{found[0]}'")
    return connection
