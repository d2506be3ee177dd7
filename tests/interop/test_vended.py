# SPDX-License-Identifier: Apache-2.0
"""Credentials that a REST catalog lends for tables' files. Apache's server lends none, so a wire
before it adds them to what it answers: the keys of users of Versity's gateway who have the rights
of packaging/iam/commit.json to the tables and no others, while the service's own user has the
others and none of these. So whatever goes by the wrong credentials is refused by the store."""
import collections
import json
import os
import signal
import subprocess
import time
import unittest
import urllib.parse

from peer import IcebergRest, PeerCase, Versitygw
from faulty_wire import Handler, Request, Wire, is_commit
from rest_lake import RestLake, line
from test_rights import policy_of

import lake as e2e
from lake import DONE, FAILED, end, program, until

TABLES = ("Metadata", "DataFiles")
LENT = ("lent-a", "lent-b")


def policy(prefixes, without=()):
    """`without`: users of those who are lent that have no rights any more."""
    statements = []
    for prefix in prefixes:
        for user in ("agent", "commit", *LENT):
            kind = "agent" if user == "agent" else "commit"
            for statement in policy_of(kind, prefix)["Statement"]:
                if kind == "commit" and (statement["Sid"] in TABLES) != (user in LENT):
                    continue
                if user not in without:
                    resource = statement["Resource"].replace("/db/", "/*/")
                    statements.append(dict(statement, Sid=f"{user}{len(statements)}",
                                           Resource=resource, Principal={"AWS": user}))
    return {"Version": "2012-10-17", "Statement": statements}


class VendingHandler(Handler):
    def meet_fate(self):
        wire = self.server.wire
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fields = [field for field in self.headers.items() if field[0].lower() != "accept-encoding"]
        request = Request(self.command, self.path, fields, body)
        status, fields, answer = wire.forward(request)
        if status == 200 and self.shows_table():
            answer = json.dumps(wire.lend(json.loads(answer), self.headers, self.path)).encode()
        self.give(status, fields, answer)

    def shows_table(self):
        steps = urllib.parse.urlsplit(self.path).path.split("/")
        if is_commit(self.command, self.path):
            return False
        return steps[-2] == "tables" or (self.command == "POST" and steps[-1] == "tables")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = Handler.handle_any


class VendingWire(Wire):
    handler = VendingHandler

    def __init__(self, target):
        super().__init__(target)
        # under the lock
        self.keys = collections.deque()  # (key, secret, seconds); clicks gets all, others the last
        self.config = {}
        self.prefix = ""  # of the URLs that they are for; "": the table's place
        self.lent = []  # keys, in the order in which they were given

    def lend(self, answer, fields, path):
        if fields.get("X-Iceberg-Access-Delegation") != "vended-credentials":
            return answer
        with self.lock:
            answer["config"] = dict(answer.get("config") or {}, **self.config)
            if not self.keys:
                return answer
            key, secret, seconds = self.keys[-1]
            if "/tables/clicks" in path:
                key, secret, seconds = self.keys[0]
                if len(self.keys) > 1:
                    self.keys.popleft()
            self.lent.append(key)
            answer["storage-credentials"] = [
                {"prefix": self.prefix or answer["metadata"]["location"] + "/", "config": {
                    "s3.access-key-id": key, "s3.secret-access-key": secret,
                    "s3.session-token-expires-at-ms": str(int((time.time() + seconds) * 1000))}},
                {"prefix": "s3://lake/elsewhere/", "config": {"s3.access-key-id": "no",
                                                              "s3.secret-access-key": "no"}}]
            return answer


class VendedLake(RestLake):
    def __init__(self, wire, direct, store, namespace):
        super().__init__(wire.url, None, namespace, warehouse="s3://lake/wh", store=store,
                         direct=direct)
        self.environment = self.as_user("commit")

    def as_user(self, user):
        return self.store.environment(AWS_ACCESS_KEY_ID=user, AWS_SECRET_ACCESS_KEY=f"{user}-secret")

    def commit_flags(self):
        return [*super().commit_flags(), "--catalog-access-delegation", "vended-credentials"]

    def deliver(self, key):
        return self.agent("ingest", "clicks", "-", "--ingest-deadline", "30s", code=DONE,
                          stdin=line(key), env=self.as_user("agent"))


class Case(PeerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store = cls.keep(Versitygw(cls.home.directory, users=("agent", "commit", *LENT)))
        cls.peer = cls.keep(IcebergRest(cls.home.directory, "s3://lake/wh", store=cls.store))

    def setUp(self):
        self.store.set_policy("lake", policy(["wh"]))
        self.wire = VendingWire(self.peer.port)
        self.addCleanup(self.wire.close)
        self.wire.keys.append(("lent-a", "lent-a-secret", 3600))
        namespace = self.id().rpartition(".")[2].removeprefix("test_")
        self.lake = VendedLake(self.wire, self.peer.url, self.store, namespace)
        self.addCleanup(self.lake.__exit__)

    def once(self, code=DONE):
        """One turn; its Result, in which no secret stands."""
        result = program("bidlake-commit", "once", *self.lake.commit_flags(), code=code,
                         env=self.lake.environment)
        self.assertNotIn("-secret", result.out + result.err)
        return result


class Vended(Case):
    def test_whole_way(self):
        self.lake.init()
        for turn in range(2):
            self.lake.deliver(f"c{turn}")
            self.once()
        self.lake.table("check", "--deep", f"{self.lake.namespace}.clicks")
        self.assertEqual(self.lake.ids(), collections.Counter(["c0", "c1"]))
        self.assertEqual(set(self.wire.lent), {"lent-a"})

    def test_prefix_is_that_of_the_bucket(self):
        """What is lent for more than the table goes out for the table alone."""
        self.wire.prefix = "s3://lake/"
        self.lake.init()
        self.lake.deliver("c")
        self.once()
        self.assertEqual(self.lake.ids(), collections.Counter(["c"]))

    def test_own_rights_do_not_do(self):
        """The store refuses the service's own user the tables: so the tests above prove what they
        say."""
        self.lake.init()
        self.lake.deliver("c")
        flags = [flag for flag in self.lake.commit_flags()
                 if flag not in ("--catalog-access-delegation", "vended-credentials")]
        result = program("bidlake-commit", "once", *flags, code=FAILED, env=self.lake.environment)
        self.assertRegex(result.err, "403 AccessDenied[^\n]*s3:GetObject[^\n]* of environment")

    def test_they_end_within_a_run(self):
        """A service outlives what it was lent: others are asked for before they end."""
        self.lake.init()
        self.wire.keys.clear()
        self.wire.keys.extend([("lent-a", "lent-a-secret", 20), ("lent-b", "lent-b-secret", 3600)])
        process = subprocess.Popen(
            [os.path.join(e2e.BUILD, "bidlake-commit"), "serve", *self.lake.commit_flags(),
             "--interval", "1s"], env=dict(os.environ, **self.lake.environment),
            stderr=subprocess.PIPE)
        try:
            self.lake.deliver("c0")
            until(lambda: self.lake.ids() == collections.Counter(["c0"]), "the first is taken")
            # Its last minute: others are asked for with the next file, five seconds later at most.
            for turn in range(1, 20):
                self.lake.deliver(f"c{turn}")
                until(lambda: self.lake.ids()[f"c{turn}"] == 1, "taken")
                if self.wire.lent[-1] == "lent-b":
                    break
            self.assertIn("lent-b", self.wire.lent)
            self.store.set_policy("lake", policy(["wh"], without=["lent-a"]))
            self.lake.deliver("last")
            until(lambda: self.lake.ids()["last"] == 1, "taken by what came later")
        finally:
            end(process, signal.SIGTERM)
            err = process.stderr.read().decode()
            process.stderr.close()
        self.assertEqual(process.returncode, DONE)
        self.assertNotIn("level=error", err)
        self.assertNotIn("-secret", err)

    def test_they_end_too_early(self):
        """Keys that the store does not know any more are asked for anew, once."""
        self.lake.init()
        self.lake.deliver("c")
        self.wire.keys.appendleft(("lent-gone", "lent-gone-secret", 3600))
        self.once()
        self.assertEqual(self.wire.lent.count("lent-gone"), 1)
        self.assertEqual(self.lake.ids(), collections.Counter(["c"]))


class Refusals(Case):
    def setUp(self):
        super().setUp()
        self.lake.init()
        self.lake.deliver("c")

    def refused(self, pattern):
        """The last line says it, and a turn with the right credentials takes what waited."""
        result = self.once(code=FAILED)
        self.assertRegex(result.err.splitlines()[-1], f"^bidlake-commit: .*{pattern}")
        self.wire.config.clear()
        self.wire.keys.clear()
        self.wire.keys.append(("lent-b", "lent-b-secret", 3600))
        self.once()
        self.assertEqual(self.lake.ids(), collections.Counter(["c"]))

    def test_nothing_lent(self):
        self.wire.keys.clear()
        self.refused("lends nothing for s3://lake/wh/nothing_lent/clicks/, and this store takes "
                     "s3.access-key-id and s3.secret-access-key: let it vend that")

    def test_lent_for_another_store(self):
        self.wire.keys.clear()
        self.wire.config["gcs.oauth2.token"] = "not-to-be-logged"
        self.refused("lends only gcs.oauth2.token for s3://.*, and this store takes s3.access-key")

    def test_remote_signing(self):
        self.wire.keys.clear()
        self.wire.config["s3.remote-signing-enabled"] = "true"
        self.refused("s3.remote-signing-enabled.*isn't supported; let it vend credentials")

    def test_wrong_secret(self):
        self.wire.keys[0] = ("lent-a", "no-secret", 3600)
        self.refused("SignatureDoesNotMatch.*credentials that the catalog lends")

    def test_missing_right(self):
        self.wire.keys[0] = ("agent", "agent-secret", 3600)
        self.refused("AccessDenied.*the right is missing; s3:.*credentials that the catalog lends")


if __name__ == "__main__":
    unittest.main()
