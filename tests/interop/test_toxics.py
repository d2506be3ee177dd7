# SPDX-License-Identifier: Apache-2.0
"""A running agent and a running commit service, each with Toxiproxy between it and the S3 gateway
and the REST catalog. One toxic after the other: what was answered meanwhile is in the table once
when it has gone, the programs mend themselves and have said what was wrong, and no part of an
upload stays behind."""
import collections
import glob
import os
import re
import subprocess
import time
import unittest

from peer import PATIENCE, IcebergRest, Versitygw, die_with_parent
from toxiproxy import Toxiproxy
from wire_schedules import BIG_BYTES, BIG_LINES, Agent, FaultLake, Schedules

import lake as programs
from lake import Lake, end, until

MIB = 1 << 20


class Service:
    """bidlake-commit serve"""

    def __init__(self, lake):
        self.log_path = lake.path("serve.log")
        command = [os.path.join(programs.BUILD, "bidlake-commit"), "serve", "--interval", "1s",
                   *lake.faulty_commit_flags(), "--catalog-timeout", "4s"]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log,
                                            stdout=subprocess.DEVNULL, preexec_fn=die_with_parent,
                                            env=dict(os.environ, **lake.faulty_environment()))

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()


class Toxics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        home = Lake()
        cls.addClassCleanup(home.__exit__)
        cls.store = Versitygw(home.directory)
        cls.addClassCleanup(lambda: cls.store.close())
        catalog = IcebergRest(home.directory, "s3://lake/wh", store=cls.store)
        cls.addClassCleanup(catalog.close)
        toxiproxy = Toxiproxy(home.directory)
        cls.addClassCleanup(toxiproxy.close)
        cls.to_store = toxiproxy.proxy("store", cls.store.port)
        cls.to_catalog = toxiproxy.proxy("catalog", catalog.port)
        cls.lake = FaultLake((cls.store, catalog), "toxics", cls.to_store, cls.to_catalog)
        cls.addClassCleanup(cls.lake.__exit__)
        cls.lake.init()
        cls.agent = Agent(cls.lake, "edge-1")
        cls.agent.start()
        cls.addClassCleanup(cls.agent.stop)
        cls.service = Service(cls.lake)
        cls.addClassCleanup(end, cls.service.process)
        cls.expected = collections.Counter()

    def setUp(self):
        self.agent_from, self.service_from = len(self.agent.log()), len(self.service.log())

    def post(self, large=False):
        """Events that are answered, whatever stands between agent and store."""
        name = f"{self.id().rpartition('.')[2]}-{len(self.expected)}"
        lines, filler = (BIG_LINES, BIG_BYTES) if large else (3, 0)
        ids = [f"{name}-{n}" for n in range(lines)]
        self.agent.post(name, [Schedules.line(key, filler) for key in ids])
        self.expected.update(ids)

    def count(self):
        return int(self.lake.table("count", self.lake.name).out)

    def arrives(self):
        """And nothing besides: no event, no file that the table does not have."""
        wanted = self.expected.total()
        until(lambda: self.count() >= wanted, "all is in the table", 60)
        self.assertEqual(self.lake.ids(), self.expected)
        self.lake.table("check", self.lake.name)
        listed = {row["path"] for row in self.lake.table_json("files", self.lake.name)}
        lie = glob.glob(f"{self.lake.folder}/**/*.parquet", recursive=True)
        self.assertEqual({path.replace(self.store.folder, "s3:/") for path in lie}, listed)

    def agent_says(self, pattern):
        said = fr'level=warn at=uploader msg="step failed, will try again" step=\w+ .*(?:{pattern})'
        until(lambda: re.search(said, self.agent.log()[self.agent_from:]), f"agent: {said}", 60)

    def agent_mends(self):
        until(lambda: 'msg="step works again"' in self.agent.log()[self.agent_from:],
              "the agent says that it works again", 30)

    def service_says(self, pattern):
        said = fr'level=(warn|error) at=commit msg="[a-z, ]+" [^\n]*text="[^\n]*(?:{pattern})'
        until(lambda: re.search(said, self.service.log()[self.service_from:]), f"service: {said}",
              60)

    def is_quiet(self):
        for log in (self.agent.log()[self.agent_from:], self.service.log()[self.service_from:]):
            self.assertNotRegex(log, "level=(warn|error)")

    def both_mend(self):
        self.arrives()
        self.agent_mends()
        self.assertIsNone(self.agent.process.poll())
        self.assertIsNone(self.service.process.poll())

    # -- the store ---------------------------------------------------------------------------

    def test_store_latency(self):
        with self.to_store.toxic("latency", latency=100, jitter=50):
            self.post()
            self.arrives()
        self.is_quiet()

    def test_store_bandwidth(self):
        """An upload in parts takes its time, and no second try."""
        with self.to_store.toxic("bandwidth", "upstream", rate=5000):
            self.post(large=True)
            self.arrives()
        self.is_quiet()
        self.assertEqual(self.store.uploads(), [])

    def test_store_slicer(self):
        with self.to_store.toxic("slicer", average_size=100, size_variation=50, delay=10):
            self.post()
            self.arrives()
        self.is_quiet()

    def test_store_reset(self):
        with self.to_store.toxic("reset_peer", timeout=0):
            self.post()
            self.agent_says(f"PUT {self.to_store.url}/lake/")
            self.service_says(f"{self.to_store.url}/lake.*Connection reset by peer")
        self.both_mend()

    def test_store_cut_in_a_part(self):
        """Two of five megabytes get through, at each try."""
        with self.to_store.toxic("limit_data", "upstream", bytes=2 * MIB):
            self.post(large=True)
            self.agent_says(rf"part \d of \d: PUT {self.to_store.url}/lake/")
        self.both_mend()
        self.assertEqual(self.store.uploads(), [])

    def test_store_answers_cut(self):
        """In their heads."""
        with self.to_store.toxic("limit_data", bytes=30):
            self.post()
            self.agent_says(f"{self.to_store.url}/lake/.*: the answer ends in its head")
            self.service_says(f"{self.to_store.url}/lake.*: the answer ends in its head")
        self.both_mend()

    def test_store_silent(self):
        with self.to_store.toxic("timeout", timeout=500):
            self.post()
            self.agent_says(self.to_store.url)
            self.service_says(self.to_store.url)
        self.both_mend()

    def test_store_away(self):
        port = self.store.port
        self.store.close()
        self.post()
        self.agent_says(self.to_store.url)
        type(self).store = Versitygw(os.path.dirname(self.store.folder), port=port)
        self.both_mend()

    def test_upload_left_and_swept(self):
        """A store that goes away in a part hears of no abort: the upload stays, and a day later the
        next process that puts a data file ends it."""
        with self.to_store.toxic("bandwidth", "upstream", rate=3000):
            self.post(large=True)
            until(self.store.uploads, "an upload has begun")
            with self.to_store.away():
                self.agent_says("segment .*: Couldn't connect to server")
        self.both_mend()
        self.assertNotEqual(self.store.uploads(), [])
        two_days_ago = time.time() - 2 * 86400
        for path in glob.glob(f"{self.store.folder}/lake/.sgwtmp/multipart/*/*"):
            os.utime(path, (two_days_ago, two_days_ago))
        self.agent.kill()
        self.post(large=True)
        self.arrives()
        self.assertEqual(self.store.uploads(), [])

    # -- the catalog -------------------------------------------------------------------------

    def test_catalog_latency(self):
        with self.to_catalog.toxic("latency", latency=150, jitter=50):
            self.post()
            self.arrives()
        self.is_quiet()

    def test_catalog_too_late(self):
        """Each answer comes after the four seconds that the service waits."""
        with self.to_catalog.toxic("latency", latency=6000):
            self.post()
            self.service_says(self.to_catalog.url)
        self.arrives()

    def test_catalog_bandwidth(self):
        with self.to_catalog.toxic("bandwidth", rate=500):
            self.post()
            self.arrives()
        self.is_quiet()

    def test_catalog_reset(self):
        with self.to_catalog.toxic("reset_peer", timeout=0):
            self.service_says(f"{self.to_catalog.url}.*Connection reset by peer")
            self.post()
            until(self.lake.waiting, "the events are announced")
        self.arrives()

    def test_catalog_requests_cut(self):
        """Loads get through, commits do not."""
        with self.to_catalog.toxic("limit_data", "upstream", bytes=600):
            self.post()
            self.service_says(f"POST {self.to_catalog.url}|commit.*{self.to_catalog.url}")
        self.arrives()

    def test_catalog_answers_cut(self):
        """In their heads."""
        with self.to_catalog.toxic("limit_data", bytes=100):
            self.post()
            self.service_says(f"{self.to_catalog.url}/.*: the answer ends in its head")
        self.arrives()

    def test_catalog_silent(self):
        with self.to_catalog.toxic("timeout", timeout=500):
            self.service_says(self.to_catalog.url)
            self.post()
            until(self.lake.waiting, "the events are announced")
        self.arrives()

    def test_catalog_away(self):
        with self.to_catalog.away():
            self.service_says(f"{self.to_catalog.url}.*connect")
            self.post()
            until(self.lake.waiting, "the events are announced")
        self.arrives()

    def test_both_reset(self):
        with self.to_catalog.toxic("reset_peer", timeout=100), \
                self.to_store.toxic("reset_peer", timeout=100):
            self.post()
            self.agent_says(self.to_store.url)
            self.service_says("Connection reset by peer")
        self.both_mend()


if __name__ == "__main__":
    unittest.main()
