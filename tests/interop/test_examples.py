# SPDX-License-Identifier: Apache-2.0
"""packaging/examples go the whole way over the servers that they are for, as far as there are such
here (Glue is none), with no more rights than packaging/iam gives. What is changed: where servers,
folders and doors are."""
import os
import re
import unittest

from peer import IcebergRest, Nessie, Versitygw
from test_rights import USERS, bucket_policy
from test_s3 import line

from lake import DONE, ROOT, Lake, program

EXAMPLES = os.path.join(ROOT, "packaging", "examples")


class Example(unittest.TestCase):
    def setUp(self):
        self.lake = Lake()
        self.addCleanup(self.lake.__exit__)
        self.store = Versitygw(self.lake.directory, users=USERS)
        self.addCleanup(self.store.close)
        self.store.set_policy("lake", bucket_policy("bidlake"))

    def configure(self, name, who, hosts):
        with open(os.path.join(EXAMPLES, name, f"{who}.yaml"), encoding="utf-8") as file:
            text = file.read()
        for old, new in hosts.items():
            text = text.replace(old, new)
        self.assertEqual(re.findall(r"^[^#]*https://.*", text, re.MULTILINE), [])
        text = text.replace("/var/lib/bidlake", self.lake.directory)
        text = text.replace("/etc/bidlake", self.lake.directory)
        return self.lake.write(f"{who}.yaml", text)

    def goes_the_whole_way(self, name, catalog_url, warehouse):
        hosts = {"https://s3.example.com": self.store.url,
                 "https://catalog.example.com/api": catalog_url,
                 "https://nessie.example.com/iceberg": catalog_url,
                 "  warehouse: lake\n": f"  warehouse: {warehouse}\n"}
        for secret in ("catalog", "catalog-token"):
            self.lake.write(secret, "name:secret\n")
        config = {who: self.configure(name, who, hosts) for who in USERS}

        def run(who, what, *arguments, code=DONE, stdin=None):
            return program(what, *arguments, "--config", config[who], code=code, stdin=stdin,
                           env=self.store.environment(AWS_ACCESS_KEY_ID=who,
                                                      AWS_SECRET_ACCESS_KEY=f"{who}-secret",
                                                      AWS_ENDPOINT_URL_S3=""))

        self.assertIn("store s3://lake/bidlake: ok", run("agent", "bidlake-agent", "check").out)
        run("commit", "bidlake-commit", "init")
        for turn in range(2):
            run("agent", "bidlake-agent", "ingest", "clicks", "-", stdin=line(f"c{turn}"))
            run("commit", "bidlake-commit", "once")
        self.assertEqual(run("commit", "bidlake-table", "count", "db.clicks").out.strip(), "2")
        run("commit", "bidlake-table", "check", "--deep", "db.clicks")

    def test_s3_rest(self):
        peer = IcebergRest(self.lake.directory, "s3://lake/bidlake", store=self.store)
        self.addCleanup(peer.close)
        self.goes_the_whole_way("s3-rest", peer.url, "lake")

    def test_s3_nessie(self):
        peer = Nessie(self.lake.directory, "s3://lake/bidlake", self.store)
        self.addCleanup(peer.close)
        self.goes_the_whole_way("s3-nessie", peer.url, "wh")


if __name__ == "__main__":
    unittest.main()
