# SPDX-License-Identifier: Apache-2.0
"""packaging/iam: agent and commit service go the whole way with these rights, and each of them is
needed: without it something fails, in a line that names it. Whatever else their keys are used for
is refused. The store is Versity's gateway, where
each is a user of its own; its policies hang on the bucket, so each statement gets its user."""
import base64
import contextlib
import glob
import http.client
import http.server
import json
import os
import subprocess
import sys
import threading
import unittest

from peer import PeerCase, Versitygw
from test_s3 import S3Lake, line

from pyiceberg.catalog.sql import SqlCatalog

from lake import DONE, FAILED, REFUSED, ROOT, program, until

IAM = os.path.join(ROOT, "packaging", "iam")
USERS = ("agent", "commit")
MIB = 1 << 20


def policy_of(user, prefix):
    with open(os.path.join(IAM, f"{user}.json"), encoding="utf-8") as file:
        text = file.read()
    for name, value in (("BUCKET", "lake"), ("PREFIX", prefix), ("NAMESPACE", "db")):
        text = text.replace(name, value)
    return json.loads(text)


def rights_of(user):
    """(Sid, action) of each right."""
    found = []
    for statement in policy_of(user, "x")["Statement"]:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            found.append((statement["Sid"], action))
    return found


def bucket_policy(prefix, without=None):
    """`without`: (user, Sid, action)"""
    statements = []
    for user in USERS:
        for statement in policy_of(user, prefix)["Statement"]:
            actions = statement["Action"]
            actions = [actions] if isinstance(actions, str) else actions
            actions = [action for action in actions
                       if (user, statement["Sid"], action) != without]
            if actions:
                statements.append(dict(statement, Sid=user + statement["Sid"], Action=actions,
                                       Principal={"AWS": user}))
    return {"Version": "2012-10-17", "Statement": statements}


class NoList(http.server.BaseHTTPRequestHandler):
    """As AWS answers those who may not list: what isn't there is refused. (The gateway says that
    it isn't there to anybody who may read.)"""
    protocol_version = "HTTP/1.1"
    REFUSAL = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"

    def log_message(self, *_):
        pass

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.port)) as to:
            to.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    to.putheader(name, value)
            to.endheaders(body)
            answer = to.getresponse()
            status, fields, content = answer.status, answer.getheaders(), answer.read()
        if status == 404 and self.command in ("GET", "HEAD"):
            status, fields = 403, []
            content = b"" if self.command == "HEAD" else self.REFUSAL
        self.send_response_only(status)
        length = None
        for name, value in fields:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length",
                         length if length and self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward


class RightsLake(S3Lake):
    """Agent and service are different users."""

    def __init__(self, peer, prefix):
        super().__init__(peer, prefix)
        self.prefix = prefix
        self.endpoint = peer.url

    def as_user(self, user):
        return self.peer.environment(AWS_ACCESS_KEY_ID=user, AWS_SECRET_ACCESS_KEY=f"{user}-secret",
                                     AWS_ENDPOINT_URL_S3=self.endpoint)

    def agent(self, *arguments, **how):
        return super().agent(*arguments, env=self.as_user("agent"), **how)

    def init(self, *arguments, **how):
        return super().init(*arguments, env=self.as_user("commit"), **how)

    def once(self, *arguments, code=DONE):
        """One turn; its Result."""
        return program("bidlake-commit", "once", "--json", *self.commit_flags(), *arguments,
                       code=code, env=self.as_user("commit"))

    def deliver(self, *arguments, stdin=line("c"), code=DONE, **how):
        """One click, or more; what is refused for good is told after two seconds."""
        return self.agent("ingest", "clicks", "-", "--ingest-deadline",
                          "2s" if code == FAILED else "30s", *arguments, stdin=stdin, code=code,
                          **how)

    def objects(self, pattern):
        return sorted(glob.glob(os.path.join(self.peer.folder, "s3", "lake", self.prefix, pattern),
                                recursive=True))


# What lies in a warehouse; and beside it.
KINDS = ("db/clicks/data/", "db/clicks/metadata/", "_bidlake/inbox/db.clicks/s/",
         "_bidlake/tables/", "_bidlake/receipts/", "_bidlake/ledger/db.clicks/",
         "_bidlake/refused/db.clicks/s/", "_bidlake/dropped/db.clicks/", "_bidlake/probe/",
         "_bidlake/", "other/clicks/data/", "")
VERSIONING = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
DELETE = "<Delete><Object><Key>{}</Key></Object></Delete>"


class Case(PeerCase):
    USER = None
    MAY = {}  # beginnings of KINDS: methods; all else is refused

    @classmethod
    def setUpClass(cls):
        if cls.USER is None:
            raise unittest.SkipTest("for others to build on")
        super().setUpClass()
        cls.peer = cls.keep(Versitygw(cls.home.directory, users=USERS))
        cls.peer.folder = cls.home.directory
        cls.tried = set()

    @classmethod
    def tearDownClass(cls):
        """Who adds a right says here what for. (Not where tests are run alone.)"""
        missing = set(rights_of(cls.USER)) - cls.tried
        if not sys.argv[1:]:
            assert not missing, f"no test takes these away: {missing}"

    def lake(self, prefix=None):
        lake = RightsLake(self.peer, prefix or self.id().rpartition(".")[2].replace("_", "-"))
        self.addCleanup(lake.__exit__)
        self.allow(lake)
        return lake

    def allow(self, lake, without=None):
        self.peer.set_policy("lake", bucket_policy(lake.prefix, without))

    @contextlib.contextmanager
    def lacking(self, lake, sid, action):
        right = (self.USER, sid, action)
        self.assertIn(right[1:], rights_of(self.USER))
        self.tried.add(right[1:])
        self.allow(lake, without=right)
        yield
        self.allow(lake)

    def assertNamed(self, result, action):
        self.assertRegex(result.out + result.err,
                         f"403 AccessDenied[^\\n]*the right is missing; [^;\\n]*{action}\\b")

    def needs(self, lake, sid, action, step, code=FAILED):
        """step(code=...) fails without the right, by its name, and is done with it."""
        with self.lacking(lake, sid, action):
            self.assertNamed(step(code=code), action)
        return step(code=DONE)


    def is_allowed(self, method, path, body=b""):
        try:
            self.peer.ask(method, path, body, user=self.USER)
        except AssertionError as error:
            self.assertIn("<Code>AccessDenied</Code>", str(error))
            return False
        return True

    def test_nothing_besides(self):
        """The harm: a key that was taken from a bidder's machine reads or removes more than what
        that machine sends."""
        lake = self.lake()
        for prefix in (lake.prefix, f"{lake.prefix}-2"):
            for kind in KINDS:
                key = f"lake/{prefix}/{kind}a"
                self.peer.ask("PUT", key, b"somebody's")
                may = set() if prefix != lake.prefix else next(
                    (set(methods.split()) for begin, methods in self.MAY.items()
                     if kind.startswith(begin)), set())
                found = {method for method in ("GET", "PUT", "DELETE")
                         if self.is_allowed(method, key, b"mine" if method == "PUT" else b"")}
                self.assertEqual(found, may, key)
                if "DELETE" not in may:
                    with contextlib.suppress(AssertionError):  # it may say so of each key
                        self.peer.ask("POST", "lake?delete=", DELETE.format(
                            key.removeprefix("lake/")).encode(), user=self.USER)
                    self.assertEqual(self.peer.ask("GET", key),
                                     "mine" if "PUT" in may else "somebody's")
        for method, path, body in (
                ("DELETE", "lake", ""), ("GET", "lake?policy=", ""), ("DELETE", "lake?policy=", ""),
                ("PUT", "lake?policy=", json.dumps(bucket_policy(lake.prefix))),
                ("GET", "lake?acl=", ""), ("PUT", "lake?versioning=", VERSIONING)):
            self.assertFalse(self.is_allowed(method, path, body.encode()), (method, path))


class Agent(Case):
    USER = "agent"
    MAY = {"db/clicks/data/": "GET PUT", "_bidlake/inbox/": "GET PUT", "_bidlake/tables/": "GET",
           "_bidlake/receipts/": "GET", "_bidlake/probe/": "PUT"}

    def test_probe(self):
        lake = self.lake()
        self.needs(lake, "Probe", "s3:PutObject", lambda code: lake.agent("check", code=code))

    def test_data_files(self):
        lake = self.lake()
        lake.init()
        self.needs(lake, "DataFiles", "s3:PutObject", lake.deliver)

    def test_announcements(self):
        lake = self.lake()
        lake.init()
        self.needs(lake, "Announcements", "s3:PutObject", lake.deliver)

    def test_announcements_of_an_earlier_start(self):
        """What a start before this one built is compared with what the inbox has."""
        lake = self.lake()
        lake.init()
        lake.deliver(fault="kill:upload.before_announcement", code=-9)
        self.needs(lake, "Announcements", "s3:GetObject", lake.deliver)

    def test_a_file_that_is_there(self):
        """Put before a crash: its checksum tells that it is the same."""
        lake = self.lake()
        lake.init()
        lake.deliver(fault="kill:upload.file_put", code=-9)
        self.needs(lake, "DataFiles", "s3:GetObject", lake.deliver)

    def test_contracts(self):
        """Without them it goes on, as it does where the store is away, and warns."""
        lake = self.lake()
        lake.init()
        with self.lacking(lake, "Contracts", "s3:GetObject"):
            self.assertNamed(lake.deliver(), "s3:GetObject")

    def waiting(self, lake):
        """Segments in the spool."""
        said = json.loads(lake.agent("spool", "--json", code=DONE).out)
        return sum(len(stream["segments"]) for stream in said["streams"])

    def test_receipts(self):
        lake = self.lake()
        lake.init()
        lake.deliver()
        lake.once()
        with self.lacking(lake, "Receipts", "s3:GetObject"):
            self.assertNamed(lake.deliver(), "s3:GetObject")
        self.assertEqual(self.waiting(lake), 2)  # delivered both; the first is not known to be
        lake.once()
        until(lambda: lake.deliver(stdin=b"") and self.waiting(lake) == 0, "trimmed")
        self.assertEqual(lake.load().scan().to_arrow()["click_id"].to_pylist(), ["c", "c"])

    def test_what_is_not_there(self):
        """On AWS who may not list is refused objects that don't exist: a stream's first receipt,
        a table's contract."""
        front = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NoList)
        front.daemon_threads = True
        front.port = self.peer.port
        thread = threading.Thread(target=front.serve_forever, args=(0.05,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(front.server_close)
        self.addCleanup(front.shutdown)
        lake = self.lake()
        lake.init()
        lake.deliver()

        with self.lacking(lake, "Names", "s3:ListBucket"):
            lake.endpoint = f"http://127.0.0.1:{front.server_port}"
            self.assertNamed(lake.deliver(), "s3:ListBucket")

    def test_uploads_of_a_crash(self):
        """Parts that nobody will ever complete are found and given up."""
        lake = self.lake()
        lake.init()
        large = b"".join(b'{"id":"%d-%s","ts":1767225600000}\n' % (
            i, base64.b64encode(os.urandom(600000))) for i in range(24))

        def upload():
            return lake.deliver("--s3-part-bytes", "5MiB", stdin=large)

        left = self.left_behind(lake)
        for action in ("ListBucketMultipartUploads", "AbortMultipartUpload"):
            sid = "Names" if action.startswith("List") else "DataFiles"
            with self.lacking(lake, sid, f"s3:{action}"):
                self.assertNamed(upload(), f"s3:{action}")
            self.assertTrue(os.path.exists(left))
        upload()
        self.assertFalse(os.path.exists(left))

    def left_behind(self, lake):
        """An upload of two days ago that was never completed; its place on disk."""
        key = f"lake/{lake.prefix}/db/clicks/data/{'0' * 32}-0-1-0.parquet"
        subprocess.run([sys.executable, "-c", (
            "import os, sys, pyarrow.fs as fs\n"
            "s3 = fs.S3FileSystem(access_key='bidlake', secret_key='bidlake-secret',\n"
            "    region='us-east-1', endpoint_override=sys.argv[1],\n"
            "    background_writes=False)\n"
            "out = s3.open_output_stream(sys.argv[2])\n"
            "out.write(os.urandom(11 << 20))\n"
            "os._exit(0)\n"), self.peer.url, key], check=True)
        found = until(lambda: glob.glob(os.path.join(
            self.peer.folder, "s3", "lake", ".sgwtmp", "multipart", "*", "*")), "an upload")
        self.assertEqual(len(found), 1)
        before = os.stat(found[0]).st_mtime - 2 * 86400
        os.utime(found[0], (before, before))
        return found[0]


class Commit(Case):
    USER = "commit"
    MAY = {"db/clicks/data/": "GET PUT", "db/clicks/metadata/": "GET PUT DELETE",
           "_bidlake/inbox/": "GET DELETE", "_bidlake/tables/": "GET PUT",
           "_bidlake/receipts/": "PUT", "_bidlake/ledger/": "GET PUT DELETE",
           "_bidlake/refused/": "GET PUT DELETE", "_bidlake/dropped/": "GET PUT DELETE"}

    def with_clicks(self):
        lake = self.lake()
        lake.init()
        lake.deliver()
        return lake

    def age(self, lake, pattern, days):
        """As if these objects were so old: their time is the store's."""
        found = lake.objects(pattern)
        self.assertTrue(found)
        for path in found:
            before = os.stat(path).st_mtime - days * 86400
            os.utime(path, (before, before))
        return found

    def test_a_table_is_made(self):
        lake = self.lake()
        for sid, action in (("Metadata", "s3:PutObject"), ("Ledgers", "s3:PutObject"),
                            ("Contracts", "s3:PutObject")):
            with self.lacking(lake, sid, action):
                self.assertNamed(lake.init(code=FAILED), action)
        lake.init()

    def test_a_turn(self):
        lake = self.with_clicks()
        for sid, action in (("Names", "s3:ListBucket"), ("Inbox", "s3:GetObject"),
                            ("DataFiles", "s3:GetObject"), ("Contracts", "s3:GetObject"),
                            ("Ledgers", "s3:GetObject"), ("Metadata", "s3:GetObject"),
                            ("Receipts", "s3:PutObject"), ("Inbox", "s3:DeleteObject")):
            with self.lacking(lake, sid, action):
                self.assertNamed(lake.once(code=FAILED), action)
        lake.once()
        self.assertEqual(lake.objects("_bidlake/inbox/**/*.json"), [])
        self.assertEqual(lake.load().scan().to_arrow()["click_id"].to_pylist(), ["c"])

    def test_an_old_file(self):
        """Is copied, so that nobody's clean-up meets it."""
        lake = self.with_clicks()
        self.age(lake, "db/clicks/data/**/*.parquet", 2)
        self.needs(lake, "DataFiles", "s3:PutObject", lake.once)

    def test_what_is_refused(self):
        """It is kept for a person for a month, and who announced it hears why, again where the
        stream has a gap for it."""
        lake = self.with_clicks()
        first = lake.objects("_bidlake/inbox/**/*.json")[0]
        with open(first, encoding="utf-8") as file:
            announcement = json.load(file)
        later = dict(announcement, **{"from": announcement["to"], "to": announcement["to"] + 1})
        for path, content in (
                (first, "{}"),
                (os.path.join(os.path.dirname(first), f"{later['from']:020}.json"),
                 json.dumps(later))):
            if os.path.exists(path):
                os.remove(path)  # and with it the checksum that the gateway keeps beside it
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
        with self.lacking(lake, "Refused", "s3:PutObject"):
            self.assertNamed(lake.once(code=FAILED), "s3:PutObject")
        lake.once(code=REFUSED)
        with self.lacking(lake, "Refused", "s3:GetObject"):
            self.assertNamed(lake.once(code=FAILED), "s3:GetObject")
        self.assertIn("a gap", lake.once(code=None).out)

    def test_old_metadata(self):
        """What may not be removed stays, with a warning: the turn was done by then."""
        lake = self.with_clicks()
        with contextlib.closing(SqlCatalog("bidlake", uri=f"sqlite:///{lake.catalog_path}",
                                           **self.peer.for_pyiceberg())) as catalog:
            with catalog.load_table("db.clicks").transaction() as change:
                change.set_properties({"write.metadata.previous-versions-max": "1"})
        with self.lacking(lake, "Metadata", "s3:DeleteObject"):
            self.assertNamed(lake.once(), "s3:DeleteObject")
        before = set(lake.objects("db/clicks/metadata/*.json"))
        lake.deliver()
        self.assertNotIn("AccessDenied", lake.once().err)
        self.assertTrue(before - set(lake.objects("db/clicks/metadata/*.json")))

    def test_cleaning(self):
        """Ledgers, refusals, dropped snapshots and their files go when they are old enough."""
        lake = self.with_clicks()
        clean = ("--commit-prune-every", "1", "--snapshots-keep", "2")

        def turn(code=DONE):
            lake.deliver()
            return lake.once(*clean, code=code)

        for _ in range(2):
            turn()
        with self.lacking(lake, "Dropped", "s3:PutObject"):
            self.assertNamed(turn(FAILED), "s3:PutObject")
        turn()
        refused = os.path.join(lake.objects("_bidlake/")[0], "refused", "db.clicks", "f" * 32)
        os.makedirs(refused)
        with open(os.path.join(refused, f"{0:020}.json"), "w", encoding="ascii") as file:
            file.write("{}")
        self.age(lake, "_bidlake/refused/**/*.json", 40)
        self.age(lake, "_bidlake/dropped/**/*.json", 2)
        manifests = set(lake.objects("db/clicks/metadata/*.avro"))
        ledgers = self.age(lake, "_bidlake/ledger/db.clicks/*.zst", 8)
        for sid, action in (("Ledgers", "s3:DeleteObject"), ("Refused", "s3:DeleteObject"),
                            ("Dropped", "s3:GetObject"), ("Metadata", "s3:DeleteObject"),
                            ("Dropped", "s3:DeleteObject")):
            with self.lacking(lake, sid, action):
                self.assertNamed(turn(FAILED), action)
        turn()
        self.assertEqual(lake.objects("_bidlake/refused/**/*.json"), [])
        self.assertEqual(set(ledgers) & set(lake.objects("_bidlake/ledger/**/*.zst")), set())
        self.assertTrue(manifests - set(lake.objects("db/clicks/metadata/*.avro")))
        lake.table("check", "--deep", "db.clicks")


if __name__ == "__main__":
    unittest.main()
