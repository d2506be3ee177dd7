# SPDX-License-Identifier: Apache-2.0
"""What servers say that is not theirs to say, and tables that the service may not change: one line
with the reason, no crash, bounded memory, nothing written; the next good answer goes on."""
import glob
import http.server
import json
import os
import subprocess
import tempfile
import threading
import unittest

import lake as e2e
from lake import FAILED, USAGE, Lake, end, until

MIB = 1 << 20
PIECE = b" " * MIB
PAGE = b"<html><body>Please sign in</body></html>"


class Rude(http.server.BaseHTTPRequestHandler):
    """Answers all by the server's `way`; "good": the first paths of a catalog, then `then`."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def give(self, status, body, length=None, fields=()):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self):
        self.server.asked += 1
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.config and self.path.startswith("/v1/config"):
            self.give(200, b'{"defaults":{},"overrides":{}}')
            return
        try:
            getattr(self, self.server.way)()
        except OSError:
            self.close_connection = True  # who asked had enough

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def page(self):
        self.give(200, PAGE)

    def page_of_a_proxy(self):
        self.give(403, PAGE)

    def nothing(self):
        self.give(200, b"")

    def cut(self):
        self.give(200, b'{"metadata-location":"s3://x', length=1000)
        self.close_connection = True

    def list_for_object(self):
        self.give(200, b"[1]")

    def wrong_types(self):
        self.give(200, b'{"defaults":7,"overrides":[],"metadata-location":{},"metadata":"x"}')

    def other_xml(self):
        self.give(200, b"<a><b>c</b></a>")

    def bombs(self):
        self.give(200, b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>')

    def deep(self):
        self.give(200, b"[" * MIB)

    def huge(self):
        self.send_response(200)
        self.send_header("Content-Length", str(8 << 30))
        self.end_headers()
        for _ in range(8 << 10):
            self.wfile.write(PIECE)

    def huge_head(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for i in range(64 << 10):
            self.wfile.write(b"X-%d: %s\r\n" % (i, PIECE[:1000].replace(b" ", b"x")))

    def no_http(self):
        self.wfile.write(b"220 mail.example.com ESMTP\r\n")
        self.close_connection = True

    def redirects(self):
        self.give(302, b"", fields=[("Location", self.path)])

    def moved(self):
        self.give(301, b"", fields=[("Location", f"http://127.0.0.1:{self.server.server_port}/x")])


WAYS = ["page", "page_of_a_proxy", "nothing", "cut", "list_for_object", "wrong_types", "other_xml",
        "bombs", "deep", "huge", "huge_head", "no_http", "redirects", "moved"]


def most_memory(pid):
    """In MiB; 0 of one that has ended."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for text in file:
            if text.startswith("VmHWM:"):
                return int(text.split()[1]) // 1024
    return 0


def run(name, *arguments, env=None):
    """Exit status (negative: a signal), stderr, and the most memory it had, as seen every few ms."""
    with tempfile.TemporaryFile() as err:
        process = subprocess.Popen([os.path.join(e2e.BUILD, name), *arguments], stderr=err,
                                   stdout=subprocess.DEVNULL, env=dict(os.environ, **(env or {})))
        seen = 0
        try:
            def ended():
                nonlocal seen
                seen = max(seen, most_memory(process.pid))
                return process.poll() is not None
            until(ended, f"{name} ends", 60)
        finally:
            end(process)
        err.seek(0)
        return process.returncode, err.read().decode("utf-8", "replace"), seen


class Answers(unittest.TestCase):
    def setUp(self):
        self.lake = Lake(tables="openrtb/clicks")
        self.addCleanup(self.lake.__exit__)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rude)
        self.server.daemon_threads = True
        self.server.config = False
        self.server.handle_error = lambda *_: None
        thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def bad(self, name, *arguments, env=None, memory=400, asked=30, check=None):
        """`check`: what a person is to look at when this is another server than the one meant."""
        for way in WAYS:
            with self.subTest(way=way):
                self.server.way, self.server.asked = way, 0
                code, err, mib = run(name, *arguments, env=env)
                self.assertIn(code, (FAILED, USAGE), err)
                last = err.splitlines()[-1]
                self.assertRegex(last, f"^{name}: .{{20,}}")
                self.assertNotIn("line -1", last)
                if check and way in ("page", "nothing", "list_for_object", "other_xml"):
                    self.assertIn(check, last)
                self.assertGreater(self.server.asked, 0)
                self.assertLessEqual(self.server.asked, asked, "it goes round and round")
                self.assertLess(mib, memory, "memory")

    def test_catalog_s_configuration(self):
        self.bad("bidlake-commit", "once", "--warehouse", f"file://{self.lake.warehouse}",
                 "--catalog", f"rest:{self.url}", "--tables", self.lake.tables,
                 "--catalog-timeout", "5s", check="check catalog.uri")

    def test_catalog_s_tables(self):
        """Metadata may be 256 MiB large."""
        self.server.config = True
        self.bad("bidlake-table", "show", "db.clicks", "--warehouse",
                 f"file://{self.lake.warehouse}", "--catalog", f"rest:{self.url}", "--tables",
                 self.lake.tables, "--catalog-timeout", "5s", memory=1200)

    def test_token_service(self):
        self.lake.write("credential", "me:hidden-secret")
        self.bad("bidlake-commit", "once", "--warehouse", f"file://{self.lake.warehouse}",
                 "--catalog", "rest:http://127.0.0.1:9", "--tables", self.lake.tables,
                 "--catalog-oauth2-server-uri", f"{self.url}/token", "--catalog-timeout", "5s",
                 "--catalog-credential-file", self.lake.path("credential"),
                 check="catalog.oauth2_server_uri")

    def test_store(self):
        env = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1",
               "AWS_ENDPOINT_URL_S3": self.url, "AWS_EC2_METADATA_DISABLED": "true"}
        self.lake.init()
        self.bad("bidlake-commit", "once", "--warehouse", "s3://lake/wh", "--catalog",
                 f"sqlite:{self.lake.catalog_path}", "--tables", self.lake.tables, env=env)


class Tables(unittest.TestCase):
    """Refused with the reason, before anything is written."""

    def setUp(self):
        self.lake = Lake(tables="openrtb/clicks")
        self.addCleanup(self.lake.__exit__)
        self.lake.init()
        self.lake.ingest("clicks", "-", stdin=b'{"id":"c","ts":1767225600000}\n')

    def files(self):
        found = {}
        for path in glob.glob(f"{self.lake.warehouse}/**", recursive=True):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    found[path] = file.read()
        return found

    def metadata(self):
        return e2e.local_path(self.lake.catalog_location())

    def refused(self, change, pattern):
        path = self.metadata()
        with open(path, "rb") as file:
            good = file.read()
        document = json.loads(good)
        change(document)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(document, file)
        before = self.files()
        result = self.lake.once(code=None)
        self.assertEqual(result.code, FAILED, result.err)
        self.assertRegex(result.err.splitlines()[-1], f"^bidlake-commit: .*{pattern}")
        self.assertEqual(self.files(), before)
        self.assertEqual(self.metadata(), path)
        with open(path, "wb") as file:
            file.write(good)
        self.assertEqual(self.lake.once()["taken"], 1)

    def test_format_of_the_future(self):
        self.refused(lambda table: table.update({"format-version": 4}),
                     "format version 4 is not known")

    def test_encrypted(self):
        self.refused(lambda table: table["properties"].update({"encryption.key-id": "k"}),
                     "encrypt")

    def test_encryption_keys(self):
        self.refused(lambda table: table.update({"format-version": 3, "next-row-id": 0,
                                                 "encryption-keys": [{"key-id": "k"}]}), "encrypt")

    def test_foreign_ledger(self):
        """A table that was copied with its properties is another one."""
        self.refused(lambda table: table.update({"table-uuid":
                                                 "01900000-0000-7000-8000-00000000000a"}),
                     "ledger belongs to another table")

    def test_ledger_elsewhere(self):
        self.refused(lambda table: table["properties"].update(
            {"bidlake.ledger": "s3://elsewhere/ledger.json.zst"}), "points outside")

    def test_ledger_that_is_gone(self):
        self.refused(lambda table: table["properties"].update(
            {"bidlake.ledger": table["properties"]["bidlake.ledger"] + ".gone"}), "is gone")

    def test_transforms_of_the_future(self):
        def change(table):
            for spec in table["partition-specs"]:
                for field in spec["fields"]:
                    field["transform"] = "zorder[8]"
        self.refused(change, "zorder")


if __name__ == "__main__":
    unittest.main()
