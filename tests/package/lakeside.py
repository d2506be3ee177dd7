# SPDX-License-Identifier: Apache-2.0
"""A lake whose programs know it under another path than we do: in a root of their own, or as
a volume. PyIceberg reads it from here."""
import collections
import os
import time

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFileIO

THERE = "/var/lib/bidlake"


def until(condition, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return found


class Moved(PyArrowFileIO):
    """What lies THERE for the programs is in the property `here` for us."""

    def new_input(self, location):
        assert location.startswith(f"file://{THERE}/"), location
        return super().new_input(location.replace(THERE, self.properties["here"], 1))


def ids(here, table, column):
    """How often each value of a column is in the table. Read as the lake's owner: what the
    reader may leave beside the catalog must not bar its service."""
    before = os.geteuid()
    os.seteuid(os.stat(here).st_uid)
    try:
        catalog = SqlCatalog("bidlake", uri=f"sqlite:///{here}/catalog.db", here=here,
                             **{"py-io-impl": "lakeside.Moved"})
        try:
            found = catalog.load_table(f"db.{table}").scan(selected_fields=(column,)).to_arrow()
            return collections.Counter(found[column].to_pylist())
        finally:
            catalog.close()
    finally:
        os.seteuid(before)
