# SPDX-License-Identifier: Apache-2.0
"""A table whose files are in Versity's S3 gateway and whose catalog is Apache's REST server, both
on this machine; announcements piled up in its inbox; a turn of the commit service over them."""
import json
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "interop"), HERE]

from measure import run_watched  # noqa: E402
from peer import IcebergRest, Versitygw  # noqa: E402
from pile import COUNTRIES, Pile, write_events  # noqa: E402

TIMEOUT = ["--catalog-timeout", "60s"]


class Cloud:
    """`folder` takes all that they keep; `store_url`: of what stands before the store."""

    def __init__(self, build, folder, store_url=None):
        self.build, self.folder = build, folder
        self.rest = None
        self.store = Versitygw(folder, keep_alive=True)
        try:
            self.rest = IcebergRest(folder, "s3://lake/catalog", [
                "io-impl=org.apache.iceberg.aws.s3.S3FileIO", f"s3.endpoint={self.store.url}",
                "s3.path-style-access=true", "s3.access-key-id=bidlake",
                "s3.secret-access-key=bidlake-secret", "client.region=us-east-1"])
        except BaseException:
            self.close()
            raise
        self.environment = self.store.environment()
        if store_url:
            self.environment["AWS_ENDPOINT_URL_S3"] = store_url
        self.tables = 0

    def close(self):
        for peer in (self.rest, self.store):
            if peer is not None:
                peer.close()

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
