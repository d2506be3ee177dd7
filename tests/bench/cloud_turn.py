# SPDX-License-Identifier: Apache-2.0
"""A table whose files are in Versity's S3 gateway and whose catalog is Apache's REST server, both
on this machine; announcements piled up in its inbox; a turn of the commit service over them."""
import collections
import contextlib
import json
import os
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "interop"), HERE]

from measure import run_watched  # noqa: E402
from peer import IcebergRest, Versitygw  # noqa: E402
from pile import COUNTRIES, Pile, write_events  # noqa: E402
from faulty_wire import Request, Wire  # noqa: E402
from s3_wire import S3Handler, kind_of  # noqa: E402

TIMEOUT = ["--catalog-timeout", "60s"]


class CountingHandler(S3Handler):
    def meet_fate(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers.items(), body)
        wire = self.server.wire
        wire.count(request)
        time.sleep(wire.delay)
        self.give(*wire.forward(request))


class CountingWire(Wire):
    """Before the store: a delay for each request, which is counted by what it is."""
    handler = CountingHandler

    def __init__(self, target, delay):
        super().__init__(target)
        self.delay = delay
        # under the lock
        self.asked = collections.Counter()
        self.most = 0  # under way at once

    def count(self, request):
        kind = "delete_many" if request.path.endswith("?delete=") else kind_of(request)
        with self.lock:
            self.asked[kind] += 1
            self.most = max(self.most, self.under_way)


class Cloud:
    """`folder` takes all that they keep."""

    def __init__(self, build, folder):
        self.build, self.folder = build, folder
        self.rest = None
        self.store = Versitygw(folder, keep_alive=True)
        try:
            self.rest = IcebergRest(folder, "s3://lake/catalog", store=self.store)
        except BaseException:
            self.close()
            raise
        self.environment = self.store.environment()
        self.tables = 0

    def close(self):
        for peer in (self.rest, self.store):
            if peer is not None:
                peer.close()

    @contextlib.contextmanager
    def behind(self, wire):
        """Our programs go by it to the store."""
        self.environment["AWS_ENDPOINT_URL_S3"] = wire.url
        try:
            yield wire
        finally:
            self.environment["AWS_ENDPOINT_URL_S3"] = self.store.url
            wire.close()

    def run(self, program, *arguments):
        return run_watched([os.path.join(self.build, program), *arguments], self.environment,
                           os.path.join(self.folder, program))

    def new_table(self, files):
        """An empty one, and the pile of announcements of so many files each for it."""
        self.tables += 1
        name = f"t{self.tables}"
        table = CloudTable(self, name)
        table.run("bidlake-commit", "init", *table.commit_flags())
        events = os.path.join(self.folder, "events.ndjson")
        write_events(events, COUNTRIES[:files])
        table.run("bidlake-agent", "ingest", *table.flags(), "--spool",
                  os.path.join(self.folder, f"spool-{name}"), "--agent-id", "edge",
                  "--roll-partition-bytes", "0", "--quiet", "bid_requests", events)
        table.pile.take_template(files)
        return table


class CloudTable:
    def __init__(self, cloud, name):
        self.cloud, self.name, self.run = cloud, name, cloud.run
        self.warehouse = os.path.join(cloud.store.folder, "lake", name)
        self.pile = Pile(self.warehouse, os.path.join(cloud.folder, f"files-{name}"), name)

    def flags(self):
        return ["--warehouse", f"s3://lake/{self.name}", "--namespace", self.name, "--tables",
                "openrtb/bid_requests"]

    def commit_flags(self):
        return [*self.flags(), "--catalog", f"rest:{self.cloud.rest.url}", *TIMEOUT]

    def turn(self, *flags):
        """`once`: what it took, with its report."""
        measured = self.run("bidlake-commit", "once", *self.commit_flags(), "--json", *flags)
        measured["report"] = json.loads(measured.pop("text"))
        return measured

    def remove(self):
        shutil.rmtree(self.warehouse, ignore_errors=True)
        shutil.rmtree(self.pile.folder, ignore_errors=True)
