# SPDX-License-Identifier: Apache-2.0
"""A warehouse in S3, over Versity's gateway and over MinIO: the store does what a folder does, the
programs go the whole way on it, foreign readers find the rows, and refusals say what to look at.

Where MinIO is another: its objects are no files; of uploads in parts it lists those of the whole
bucket or of one object, so the sweep of a prefix finds none there (MinIO ends them by itself after
a day); the end of an empty object is 206 with "bytes 0--1/0"; an unknown key is InvalidAccessKeyId,
as Amazon has it, not XAdminUserNotFound."""
import collections
import contextlib
import os
import subprocess
import time
import unittest

from peer import PATIENCE, Minio, PeerCase, Versitygw, duck_with_http
from slow_wire import OnceEachWire, SlowWire

from pyiceberg.catalog.sql import SqlCatalog

from lake import BUILD, DEADLINE, DONE, FAILED, ROOT, Lake, end, until

INTEROP_BUILD = os.environ.get("INTEROP_BUILD", os.path.join(ROOT, "build", "release", "interop"))
EVENTS = 2000
MIB = 1 << 20


def line(key):
    return b'{"id":"%s","ts":1767225600000,"device_geo_country":"DE"}\n' % key.encode()


class S3Lake(Lake):
    """A lake whose warehouse is in a bucket."""

    def __init__(self, peer, prefix, flags=()):
        super().__init__(tables="openrtb/clicks")
        self.peer, self.url, self.flags = peer, f"s3://lake/{prefix}", list(flags)
        self.environment = peer.environment()

    def agent_flags(self, spool=None, agent_id="edge-1"):
        return ["--warehouse", self.url, "--spool", spool or self.spool, "--agent-id", agent_id,
                "--tables", self.tables, *self.flags]

    def commit_flags(self):
        return ["--warehouse", self.url, "--catalog", f"sqlite:{self.catalog_path}", "--tables",
                self.tables, *self.flags]

    def load(self, table="clicks"):
        with contextlib.closing(SqlCatalog("bidlake", uri=f"sqlite:///{self.catalog_path}",
                                           **self.peer.for_pyiceberg())) as catalog:
            return catalog.load_table(f"db.{table}")


class S3Case(PeerCase):
    @classmethod
    def start(cls, folder):
        return Versitygw(folder)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.peer = cls.keep(cls.start(cls.home.directory))


class Case(S3Case):
    def lake(self, prefix, flags=()):
        lake = S3Lake(self.peer, prefix, flags)
        self.addCleanup(lake.__exit__)
        return lake

    def conforms(self, url, *arguments, **environment):
        ran = subprocess.run([os.path.join(INTEROP_BUILD, "objstore_conformance"), url,
                              *map(str, arguments)], capture_output=True, text=True,
                             env=dict(os.environ, **self.peer.environment(**environment)))
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertRegex(ran.stdout, r": [0-9]{3,} checks passed\n")
        return ran


class OnMinio:
    @classmethod
    def start(cls, folder, **how):
        return Minio(folder, **how)


class Others(Case):
    def test_folder_and_memory(self):
        self.conforms("memory:")
        self.conforms(self.home.path("wh"))


class Conformance(Case):
    def test_one_request_a_body(self):
        self.conforms("s3://lake/whole", 32 * MIB)

    def test_parts(self):
        self.conforms("s3://lake", 5 * MIB)

    def test_learns_the_region(self):
        ran = self.conforms("s3://lake/region", 5 * MIB, AWS_REGION="eu-central-1")
        self.assertIn("region=us-east-1", ran.stderr)


class MinioConformance(OnMinio, Conformance):
    pass


class Tls(Case):
    """Bodies are not signed there, and an unknown authority ends it."""

    @classmethod
    def start(cls, folder):
        return Versitygw(folder, tls=True)

    def test_the_whole_way(self):
        whole_way(self, self.lake("tls", ["--s3-ca-file", self.peer.ca_file]))

    def test_conformance(self):
        self.conforms("s3://lake/tls", 5 * MIB, AWS_CA_BUNDLE=self.peer.ca_file)

    def test_unknown_authority(self):
        said = self.lake("tls").agent("check", code=FAILED)
        self.assertRegex(said.err, "certificate|NOT_TRUSTED")


def whole_way(case, lake):
    lake.init()
    lake.ingest("clicks", "-", stdin=b"".join(line(f"c{n}") for n in range(EVENTS)))
    case.assertEqual(lake.once()["taken"], 1)
    lake.ingest("clicks", "-", stdin=line("last"))
    case.assertEqual(lake.once()["taken"], 1)
    case.assertEqual(lake.once()["taken"], 0)
    lake.table("check", "--deep", "db.clicks")
    case.assertEqual(lake.table("count", "db.clicks").out.strip(), str(EVENTS + 1))


class Programs(Case):
    WANTED = collections.Counter([*(f"c{n}" for n in range(EVENTS)), "last"])

    def test_the_whole_way(self):
        lake = self.lake("way/to it")
        whole_way(self, lake)
        found = lake.load().scan().to_arrow()
        self.assertEqual(collections.Counter(found["click_id"].to_pylist()), self.WANTED)

    def test_duckdb(self):
        lake = self.lake("duck")
        whole_way(self, lake)
        connection = duck_with_http()
        connection.execute(
            "CREATE SECRET (TYPE s3, KEY_ID 'bidlake', SECRET 'bidlake-secret', REGION 'us-east-1',"
            f" ENDPOINT '127.0.0.1:{self.peer.port}', URL_STYLE 'path', USE_SSL false)")
        found = connection.execute("SELECT click_id FROM iceberg_scan(?)",
                                   [lake.catalog_location()]).fetchall()
        self.assertEqual(collections.Counter(row[0] for row in found), self.WANTED)

    def test_files_in_parts(self):
        """Files that are larger than S3's parts get to the table, and nothing stays behind."""
        lake = self.lake("parts", ["--s3-part-bytes", "5MiB", "--s3-concurrency", "3"])
        lake.init()
        lines = (b'{"id":"%s","ts":1767225600000,"user":{"id":"%s"}}\n' %
                 (os.urandom(60).hex().encode(), os.urandom(60).hex().encode())
                 for _ in range(170000))
        lake.ingest("clicks", "-", stdin=b"".join(lines))
        lake.once()
        files = lake.table_json("files", "db.clicks")
        self.assertGreater(max(row["bytes"] for row in files), 10 * MIB)
        for row in files:
            self.assertEqual(self.peer.uploads(prefix=row["path"].removeprefix("s3://lake/")), [])
        lake.table("check", "--deep", "db.clicks")
        self.assertEqual(lake.load().scan().to_arrow().num_rows, 170000)


class MinioPrograms(OnMinio, Programs):
    pass


class Away(unittest.TestCase):
    """A store that goes away and comes back: what was taken meanwhile is in the table once."""
    start = Versitygw

    def test_store_comes_back(self):
        home = Lake()
        self.addCleanup(home.__exit__)
        peer = self.start(home.directory)
        self.addCleanup(lambda: peer.close())
        lake = S3Lake(peer, "away")
        self.addCleanup(lake.__exit__)
        lake.init()
        lake.ingest("clicks", "-", stdin=line("before"))
        peer.close()
        gone = lake.ingest("clicks", "-", "--ingest-deadline", "1s", stdin=line("meanwhile"),
                           code=None)
        self.assertEqual(gone.code, FAILED)
        self.assertRegex(gone.err, "connect")
        peer = lake.peer = self.start(home.directory, port=peer.port)
        lake.ingest("clicks", "-", stdin=line("after"))
        lake.once()
        found = lake.load().scan().to_arrow()["click_id"].to_pylist()
        self.assertEqual(sorted(found), ["after", "before", "meanwhile"])


class MinioAway(OnMinio, Away):
    pass


class SlowDown(Case):
    """A store that says when it wants to be asked again, and one that must not wait for bytes."""

    def behind(self, wire):
        self.addCleanup(wire.close)
        return self.peer.environment(AWS_ENDPOINT_URL_S3=wire.url)

    @staticmethod
    def large_lines():
        """Of which a file has some parts."""
        return b"".join(b'{"id":"%d","ts":1767225600000,"landing_page":"%s"}\n' %
                        (n, os.urandom(2000).hex().encode()) for n in range(9000))

    def test_parts(self):
        """Each part and the end of the upload is told to wait once: nothing is sent anew."""
        wire = OnceEachWire(self.peer.port, ("part", "complete"), after=[3])
        lake = self.lake("slow-parts", ["--s3-part-bytes", "5MiB", "--s3-concurrency", "3"])
        lake.init()
        lake.ingest("clicks", "-", stdin=self.large_lines(), env=self.behind(wire))
        self.assertEqual((wire.asked["create"], wire.asked["complete"], wire.asked["abort"]),
                         (1, 1, 0), wire.asked)
        self.assertGreaterEqual(wire.asked["part"], 3)
        self.assertEqual(wire.refused, {"part": wire.asked["part"], "complete": 1})
        lake.once()
        lake.table("check", "--deep", "db.clicks")
        self.assertEqual(lake.table("count", "db.clicks").out.strip(), "9000")

    def test_stop(self):
        """Who is asked to stop waits for nobody: the spool keeps what is not delivered."""
        wire = OnceEachWire(self.peer.port, ("part",), after=[100])
        lake = self.lake("slow-stop", ["--s3-part-bytes", "5MiB"])
        lake.init()
        with open(lake.path("events"), "wb") as file:
            file.write(self.large_lines())
        command = [os.path.join(BUILD, "bidlake-agent"), "ingest", "--quiet", *lake.agent_flags(),
                   "clicks", file.name]
        with subprocess.Popen(command, env=dict(os.environ, **self.behind(wire)),
                              stderr=subprocess.PIPE) as process:
            self.addCleanup(end, process)
            until(lambda: wire.refused["part"] > 0, "a part is told to wait", 30)
            at = time.monotonic()
            process.terminate()
            said = process.communicate(timeout=DEADLINE)[1].decode()
        self.assertLess(time.monotonic() - at, 25)  # one pause is half a minute
        self.assertEqual(process.returncode, FAILED, said)
        self.assertIn("stay in the spool", said)
        self.assertEqual(self.peer.uploads(prefix="slow-stop/"), [])
        lake.ingest("clicks", "-", stdin=b"")
        lake.once()
        self.assertEqual(lake.table("count", "db.clicks").out.strip(), "9000")

    def test_bandwidth(self):
        """No pause is so long that a store hangs up (S3: 20 s)."""
        wire = SlowWire(self.peer.port)
        lake = self.lake("paced")
        lake.init()
        lines = (b'{"id":"%d","ts":1767225600000,"landing_page":"%s"}\n' %
                 (n, os.urandom(1000).hex().encode()) for n in range(300))
        lake.ingest("clicks", "-", "--upload-bandwidth", "20KiB", stdin=b"".join(lines),
                    env=self.behind(wire))
        self.assertGreater(wire.silence, 0.2)
        self.assertLess(wire.silence, 2 * PATIENCE)
        lake.once()
        self.assertEqual(lake.table("count", "db.clicks").out.strip(), "300")


class Refusals(Case):
    """One line that says what was asked, by whom, and what to look at."""

    def said(self, url="s3://lake/refused", **environment):
        lake = self.lake("refused")
        lake.url = url
        result = lake.agent("check", env=environment)
        self.assertEqual(result.code, FAILED, result.err)
        self.assertNotIn("bidlake-secret", result.err)
        return result.err

    def test_wrong_secret(self):
        self.assertRegex(self.said(AWS_SECRET_ACCESS_KEY="guessed"),
                         "SignatureDoesNotMatch.*the secret key is not that of this access key.*"
                         "s3:PutObject of environment")

    def test_unknown_key(self):
        self.assertRegex(self.said(AWS_ACCESS_KEY_ID="nobody"), "this access key is unknown")

    def test_no_such_bucket(self):
        self.assertRegex(self.said("s3://elsewhere/x"), "NoSuchBucket.*the bucket's name")

    def test_no_credentials(self):
        self.assertRegex(self.said(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY=""),
                         "credentials")

    def test_nobody_there(self):
        self.assertRegex(self.said(AWS_ENDPOINT_URL_S3="http://127.0.0.1:9"), "connect")


class MinioRefusals(OnMinio, Refusals):
    def test_unknown_key(self):
        self.assertRegex(self.said(AWS_ACCESS_KEY_ID="nobody"),
                         "InvalidAccessKeyId.*this access key is unknown")


class ByHost(unittest.TestCase):
    """The bucket in the host's name, as Amazon has it."""

    def test_the_whole_way(self):
        home = Lake()
        self.addCleanup(home.__exit__)
        peer = Versitygw(home.directory, by_host=True)
        self.addCleanup(peer.close)
        lake = S3Lake(peer, "by-host", ["--s3-path-style", "no"])
        self.addCleanup(lake.__exit__)
        whole_way(self, lake)


class Check(Case):
    def test_a_good_store(self):
        lake = self.lake("good")
        self.assertIn("store s3://lake/good: ok", lake.agent("check", code=DONE).out)
        lake.url = "s3://lake"
        self.assertIn("store s3://lake: ok", lake.agent("check", code=DONE).out)


if __name__ == "__main__":
    unittest.main()
