# SPDX-License-Identifier: Apache-2.0
"""The programs over a REST catalog (a small one of the tests' own, see rest_catalog_fake.py; make
interop has real ones): signing in, levels, tokens that expire, secrets that stay secret, and a
wire with faults between two committers and the server."""
import collections
import json
import os
import random
import signal
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(HERE), "interop"))

from faulty_wire import FATES, Wire  # noqa: E402
from lake import BUILD, DEADLINE, DONE, FAILED, PATIENCE, USAGE, Lake, end, program, until  # noqa: E402
from pyiceberg.table import StaticTable  # noqa: E402
from rest_catalog_fake import ID, SECRET, RestCatalogFake  # noqa: E402

SCHEDULES = 10


def line(key):
    return b'{"id":"%s","ts":1767225600000}\n' % key.encode()


class RestLake(Lake):
    def __init__(self, url, namespace="db", secret=SECRET, timeout="1s"):
        super().__init__(tables="openrtb/clicks")
        self.namespace = namespace
        self.secret_file = self.write("secret", f"{ID}:{secret}\n")
        self.config = self.write("commit.yaml", f"""
warehouse: file://{self.warehouse}
namespace: {namespace}
tables: [openrtb/clicks]
catalog:
  type: rest
  uri: {url}/
  credential_file: {self.secret_file}
  timeout: {timeout}
""")

    def commit_flags(self):
        return ["--config", self.config]

    def agent_flags(self, spool=None, agent_id="edge-1"):
        return [*super().agent_flags(spool, agent_id), "--namespace", self.namespace]


class Case(unittest.TestCase):
    SEPARATOR = None

    def setUp(self):
        self.fake = RestCatalogFake(self.SEPARATOR)
        self.addCleanup(self.fake.close)

    def lake(self, url=None, **how):
        lake = RestLake(url or self.fake.url, **how)
        self.addCleanup(lake.__exit__)
        return lake

    def ids(self, lake):
        """Through the server's metadata, not through us."""
        key = (lake.namespace.replace(".", "\x1f"), "clicks")
        path = lake.write("shown.metadata.json", self.fake.tables[key][1].model_dump_json())
        table = StaticTable.from_metadata(f"file://{path}")
        return collections.Counter(
            table.scan(selected_fields=("click_id",)).to_arrow()["click_id"].to_pylist())

    def begin(self, lake, command):
        """The commit program at work, and what asks for all that it has said."""
        log = lake.path("log")
        with open(log, "wb") as out:
            process = subprocess.Popen([f"{BUILD}/bidlake-commit", *command, *lake.commit_flags()],
                                       stdout=out, stderr=out)
        self.addCleanup(end, process)

        def said():
            with open(log, encoding="utf-8") as file:
                return file.read()
        return process, said

    def terminate(self, process, seconds, said):
        """How it ended, within these seconds of its SIGTERM."""
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        code = process.wait(timeout=60 * PATIENCE)
        self.assertLess(time.monotonic() - began, seconds * PATIENCE, said())
        return code


class Stopping(Case):
    """A container is killed ten seconds behind its SIGTERM, and while the catalog commits nothing a
    turn has pauses of many seconds before it."""

    def stop(self, *command):
        """How it ended, and what it said."""
        lake = self.lake()
        lake.init()
        lake.ingest("clicks", "-", stdin=line("late"))
        self.fake.busy = True
        process, said = self.begin(lake, command)
        until(lambda: "attempt=6" in said(), "it pauses long between its attempts", 60)
        code = self.terminate(process, 5, said)
        self.fake.busy = False
        self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(self.ids(lake), {"late": 1})
        lake.check("clicks")
        return code, said()

    def test_serve(self):
        code, said = self.stop("serve", "--interval", "1s")
        self.assertEqual(code, DONE, said)

    def test_once(self):
        code, said = self.stop("once", "--json")
        self.assertEqual(code, FAILED, said)
        self.assertIn("bidlake-commit: asked to stop", said)
        self.assertIn('"error":"asked to stop', said)


class Hanging(Case):
    """A catalog that takes a request and says nothing, for as long as it is allowed to: who is asked
    to stop gives it some seconds. What became of a commit nobody knows then, as of any answer that
    was lost."""

    def stop(self, where, *command):
        """How it ended, and what the catalog and the next turn have."""
        lake = self.lake(timeout="10m")
        lake.init()
        lake.ingest("clicks", "-", stdin=line("late"))
        self.fake.hangs = where
        process, said = self.begin(lake, command)
        until(lambda: self.fake.hanging, "the catalog is asked", 60)
        code = self.terminate(process, 20, said)
        self.assertIn("given up at a stop", said())
        self.assertEqual(self.fake.hanging, 1)
        self.fake.hangs = None
        taken = lake.once()["taken"]
        self.assertEqual(self.ids(lake), {"late": 1})
        self.assertEqual(lake.once()["taken"], 0)
        lake.check("clicks")
        return code, taken

    def test_serve_at_a_commit(self):
        self.assertEqual(self.stop("commit", "serve", "--interval", "1s"), (DONE, 1))

    def test_serve_at_a_commit_that_was_applied(self):
        self.assertEqual(self.stop("applied", "serve", "--interval", "1s"), (DONE, 0))

    def test_serve_at_its_start(self):
        self.assertEqual(self.stop("config", "serve"), (DONE, 1))

    def test_once_at_a_commit_that_was_applied(self):
        self.assertEqual(self.stop("applied", "once"), (FAILED, 0))


class OtherSeparator(Case):
    """Levels are parted by what the server says, which may be no control character, nor one byte."""
    SEPARATOR = "%24%2F"

    def test_levels(self):
        lake = self.lake(namespace="a.b")
        lake.init()
        lake.ingest("clicks", "-", stdin=line("x"))
        self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(self.ids(lake), {"x": 1})
        self.assertEqual([row["table"] for row in lake.table_json("ls")],
                         ["a.b.clicks", "a.b.dead_letters"])


class TheWholeWay(Case):
    def test_levels_and_pages(self):
        lake = self.lake(namespace="a.b")
        lake.init()
        lake.ingest("clicks", "-", stdin=line("x"))
        self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(self.ids(lake), {"x": 1})
        lake.table("check", "a.b.clicks", "--deep")
        self.assertEqual([row["table"] for row in lake.table_json("ls")],
                         ["a.b.clicks", "a.b.dead_letters"])
        self.assertEqual(lake.once()["taken"], 0)

    def test_names_that_no_path_can_have(self):
        """One that the server itself can't find hides no other from who looks."""
        lake = self.lake()
        lake.init()
        self.fake.namespaces.insert(0, "a%b")
        self.fake.tables[("db", "t%u")] = self.fake.tables.pop(("db", "clicks"))
        for status in (400, 403, 500):
            self.fake.of_percent = status
            result = lake.table("ls", "--json", code=FAILED)
            self.assertEqual([row["table"] for row in json.loads(result.out)], ["db.dead_letters"])
            namespace, table = result.err.splitlines()
            self.assertIn(f"bidlake-table: tables of a%b: the catalog answers {status}", namespace)
            self.assertIn(f"bidlake-table: load db.t%u: the catalog answers {status}", table)
        self.fake.of_percent = 503
        result = lake.table("ls", "--json", code=FAILED)
        self.assertEqual(result.out, "")
        self.assertRegex(result.err, "^bidlake-table: tables of a%b: the catalog answers 503.*\n$")

    def test_names_that_command_a_terminal(self):
        """What a server calls its tables must not act on the terminal of who looks."""
        lake = self.lake()
        lake.init()
        name = "t\x1b]0;x\x07\r\n\x9b2J"
        shown = "t\\u001b]0;x\\u0007\\r\\n\\u009b2J"
        self.fake.tables[("db", name)] = self.fake.tables.pop(("db", "clicks"))
        self.fake.tables[("db", name + "%")] = self.fake.tables[("db", name)]
        result = lake.table("ls", code=FAILED)
        self.assertIn(f"db.{shown} ", result.out)
        self.assertIn(f"load db.{shown}%: ", result.err)
        for text in (result.out, result.err):
            self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f]")
        self.assertEqual(len(result.err.splitlines()), 1)
        result = lake.table("show", f"db.{name}", code=DONE)
        self.assertIn(f"table db.{shown}\n", result.out)

    def test_wrong_secret(self):
        """A person must act; and nobody learns the secret from the log."""
        lake = self.lake(secret="gu:essed")
        result = program("bidlake-commit", "init", *lake.commit_flags(), code=FAILED)
        self.assertIn("invalid_client", result.err)
        self.assertNotIn("essed", result.err + result.out)

    def test_no_uri(self):
        result = program("bidlake-commit", "once", "--warehouse", "/nowhere", "--catalog-type",
                         "rest", code=USAGE)
        self.assertIn("catalog.uri", result.err)

    def test_serve_outlives_its_token(self):
        """A token that the server forgets is renewed, and what has not changed is not sent."""
        lake = self.lake()
        lake.init()
        process = subprocess.Popen([os.path.join(BUILD, "bidlake-commit"), "serve",
                                    *lake.commit_flags(), "--interval", "1s"],
                                   stderr=subprocess.PIPE)
        try:
            granted = self.fake.granted
            until(lambda: self.fake.not_modified > 0, "a load of what has not changed")
            self.fake.expire_tokens()
            lake.ingest("clicks", "-", stdin=line("x"))
            until(lambda: not lake.inbox(), "the announcement is taken")
            self.assertGreaterEqual(self.fake.granted, granted + 1)
        finally:
            process.terminate()
            _, err = process.communicate(timeout=DEADLINE)
        self.assertEqual(process.returncode, DONE)
        self.assertNotIn(b"level=error", err)
        self.assertEqual(self.ids(lake), {"x": 1})


class Schedules(Case):
    def test_two_committers_and_faults(self):
        wire = Wire(self.fake.port)
        self.addCleanup(wire.close)
        lake = self.lake(wire.url)
        lake.init()
        expected = collections.Counter()
        for seed in range(SCHEDULES):
            self.schedule(lake, wire, seed, expected)
        wire.release()
        self.assertEqual(self.ids(lake), expected)
        lake.table("check", "clicks")

    def schedule(self, lake, wire, seed, expected):
        rng = random.Random(seed)
        for agent in ("edge-1", "edge-2"):
            lake.ingest("clicks", "-", stdin=line(f"{seed}-{agent}"), agent_id=agent,
                        spool=lake.path(agent))
            expected[f"{seed}-{agent}"] += 1
        wire.commits.extend(rng.choice(FATES) for _ in range(rng.randint(1, 3)))
        for _ in range(12):
            both = [subprocess.Popen([os.path.join(BUILD, "bidlake-commit"), "once",
                                      *lake.commit_flags()], stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL) for _ in range(2)]
            for process in both:
                self.assertIn(process.wait(timeout=60 * PATIENCE), (DONE, FAILED))
            if not lake.inbox():
                break
        wire.commits.clear()
        wire.settle()
        if rng.random() < 0.5:
            wire.release()
        lake.once()
        self.assertEqual(lake.inbox(), [], f"seed {seed}")
        self.assertEqual(self.ids(lake), expected, f"seed {seed}")


if __name__ == "__main__":
    unittest.main()
