#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The static programs in a root that holds nothing but them: no library, no /dev, no /proc.

Their sizes; TLS by the names in certificates; names by /etc/hosts and by a name server; and
the whole way from an event to a row that PyIceberg reads. In a network of its own, so that
the ports of https and of name servers are free; no root is needed.
"""
import fcntl
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

from lakeside import ids, until

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build/static"))
MIB = 1 << 20
BYTES_MAX = {"agent": 12 * MIB, "commit": 5 * MIB, "table": 5 * MIB, "gen": 5 * MIB}
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
AGENT = ("--config", "/etc/bidlake/agent.yaml", "--tables", "openrtb")
COMMIT = ("--config", "/etc/bidlake/commit.yaml")


def loopback_up():
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1))  # SIOCSIFFLAGS, UP


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def make_certificates(folder):
    """An authority, and a server's certificate by it that names store.test."""
    for name in ("ours", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem", "-days", "2",
                "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{folder}/server.key", "-out",
            f"{folder}/server.csr", "-subj", "/CN=server")
    with open(f"{folder}/names", "w", encoding="ascii") as file:
        file.write("subjectAltName=DNS:store.test,DNS:served.test,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", f"{folder}/server.csr", "-CA", f"{folder}/ours.pem", "-CAkey",
            f"{folder}/ours.key", "-CAcreateserial", "-days", "2", "-out", f"{folder}/server.pem",
            "-extfile", f"{folder}/names")


class Server(http.server.ThreadingHTTPServer):
    """https at port 443: an empty REST catalog, and a store that lets nobody in."""
    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 443), Answers)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/server.pem", f"{folder}/server.key")
        self.socket = context.wrap_socket(self.socket, server_side=True,
                                          do_handshake_on_connect=False)
        self.seen = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """Who does not trust us ends the connection: that is what is looked at."""


class Answers(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.server.seen.append((self.path, self.headers["User-Agent"]))
        status, body = 403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        if self.path.startswith("/v1/config"):
            status, body = 200, b'{"defaults":{},"overrides":{}}'
        elif self.path.startswith("/v1/"):
            status, body = 200, b'{"namespaces":[],"identifiers":[]}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass


def name_server():
    """Answers each question for an IPv4 address of served.test with 127.0.0.1."""
    door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    door.bind(("127.0.0.1", 53))
    asked = []

    def serve():
        while True:
            query, sender = door.recvfrom(512)
            end = query.index(b"\0", 12) + 5
            known = query[12:end - 4] == b"\6served\4test\0" and query[end - 4:end - 2] == b"\0\1"
            asked.append(query[12:end - 4])
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if known else b""
            door.sendto(query[:2] + b"\x81\x80\0\1" + struct.pack(">H", known) + bytes(4) +
                        query[12:end] + answer, sender)
    threading.Thread(target=serve, daemon=True).start()
    return asked


class Static(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="bidlake-static-")
        cls.root = os.path.join(cls.folder, "root")
        for path in ("etc/ssl/certs", "etc/bidlake", "var/lib/bidlake", "run/bidlake"):
            os.makedirs(os.path.join(cls.root, path))
        for name in BYTES_MAX:
            shutil.copy(f"{BUILD}/bidlake-{name}", cls.root)
        make_certificates(cls.folder)
        cls.put(BUNDLE, cls.certificate("ours"))
        cls.put("etc/hosts", "127.0.0.1 localhost store.test elsewhere.test\n")
        cls.put("etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:2\n")
        loopback_up()
        cls.server, cls.asked = Server(cls.folder), name_server()

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def certificate(cls, name):
        with open(f"{cls.folder}/{name}.pem", encoding="ascii") as file:
            return file.read()

    @classmethod
    def put(cls, path, text):
        with open(os.path.join(cls.root, path), "w", encoding="ascii") as file:
            file.write(text)

    def command(self, name, *arguments):
        return ["chroot", self.root, f"/bidlake-{name}", *arguments]

    def program(self, name, *arguments, code=0, env=None):
        ran = subprocess.run(self.command(name, *arguments), capture_output=True, text=True,
                             timeout=60, check=False,
                             env=dict({"PATH": os.environ["PATH"]}, **(env or {})))
        self.assertEqual(ran.returncode, code, ran.stdout + ran.stderr)
        return ran.stdout + ran.stderr

    def catalog(self, host, **how):
        """Asks a REST catalog for its tables; what the program and the server say of it."""
        self.server.seen.clear()
        said = self.program("table", "ls", "--warehouse", "file:///var/lib/bidlake/none",
                            "--catalog", f"rest:https://{host}", *how.pop("flags", ()), **how)
        return said, list(self.server.seen)

    def test_nothing_is_needed(self):
        for name, most in BYTES_MAX.items():
            path = f"{BUILD}/bidlake-{name}"
            headers = subprocess.run(["readelf", "-ldW", path], check=True, capture_output=True,
                                     text=True).stdout
            self.assertNotRegex(headers, "NEEDED|INTERP", name)
            self.assertRegex(headers, "BIND_NOW|NOW", name)
            self.assertRegex(headers, r"GNU_STACK.* RW ", name)
            self.assertLess(os.path.getsize(path), most, name)
            self.assertRegex(self.program(name, "--version"), r"^bidlake-\w+ \d")

    def test_names_in_certificates(self):
        """Both programs would send signed requests to whoever answers."""
        _, seen = self.catalog("store.test")
        self.assertTrue(any(path.startswith("/v1/config") for path, _ in seen), seen)
        self.assertTrue(all(re.fullmatch(r"bidlake/[0-9.]+", agent) for _, agent in seen), seen)
        said, seen = self.catalog("elsewhere.test", code=1)
        self.assertEqual(seen, [], said)
        self.assertRegex(said.lower(), "cert")

    def test_authorities(self):
        """The bundle of the root is the default; the environment and the option win."""
        self.put("other.pem", self.certificate("other"))
        self.put("ours.pem", self.certificate("ours"))
        try:
            self.put(BUNDLE, self.certificate("other"))
            self.assertEqual(self.catalog("store.test", code=1)[1], [])
            self.assertTrue(self.catalog("store.test", env={"SSL_CERT_FILE": "/ours.pem"})[1])
            self.assertTrue(self.catalog("store.test",
                                         flags=("--catalog-ca-file", "/ours.pem"))[1])
            os.remove(os.path.join(self.root, BUNDLE))
            said, seen = self.catalog("store.test", code=1)
            self.assertEqual(seen, [])
            self.assertIn(BUNDLE, said)
        finally:
            self.put(BUNDLE, self.certificate("ours"))
        self.assertEqual(self.catalog("store.test", env={"SSL_CERT_FILE": "/other.pem"}, code=1)[1],
                         [])

    def test_agent_speaks_tls_too(self):
        self.server.seen.clear()
        keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
        said = self.program("agent", "check", "--warehouse", "s3://bucket/lake", "--spool",
                            "/var/lib/bidlake/check", "--s3-endpoint", "https://store.test",
                            "--s3-region", "us-east-1", code=1, env=keys)
        self.assertTrue(self.server.seen, said)
        self.assertTrue(all(path.startswith("/bucket") and agent.startswith("bidlake/")
                            for path, agent in self.server.seen), self.server.seen)
        self.assertIn("AccessDenied", said)

    def test_name_server(self):
        """Static glibc could want shared libraries of its own for this."""
        self.assertTrue(self.catalog("served.test")[1])
        self.assertIn(b"\6served\4test\0", self.asked)
        said, _ = self.catalog("nowhere.test", code=1)
        self.assertIn("nowhere.test", said)

    def start(self, name, *arguments):
        log = open(os.path.join(self.folder, f"{name}.log"), "ab")
        process = subprocess.Popen(self.command(name, *arguments), stderr=log,
                                   stdout=subprocess.DEVNULL)
        self.addCleanup(log.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def healthy(self, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def test_whole_way(self):
        here = os.path.join(self.root, "var/lib/bidlake")
        for name in ("agent", "commit"):
            shutil.copy(f"{TOP}/packaging/etc/{name}.yaml", f"{self.root}/etc/bidlake")
        self.program("commit", "init", *COMMIT)
        # The packaged doors, but for those of a group that is not there.
        agent = self.start("agent", "run", *AGENT, "--listen", "http:127.0.0.1:7180")
        until(lambda: self.healthy(7181), "the agent is ready")
        sent = json.loads(self.program("gen", "--to", "http://127.0.0.1:7180", "--count", "2000",
                                       "--seed", "7", "--events-per-second", "0", "--json"))
        agent.terminate()
        self.assertEqual(agent.wait(timeout=30), 0)
        service = self.start("commit", "serve", *COMMIT, "--listen", "127.0.0.1:7182")
        for table, column in (("bid_requests", "request_id"), ("clicks", "click_id")):
            want = sent["tables"][table]
            found = until(lambda: (rows := ids(here, table, column)).total() >= want["rows"] and
                          rows, f"{want} in {table}")
            self.assertEqual((found.total(), len(found)), (want["rows"], want["events"]), table)
        service.terminate()
        self.assertEqual(service.wait(timeout=30), 0)


if __name__ == "__main__":
    if os.environ.get("BIDLAKE_NAMESPACE") != "own":
        os.environ["BIDLAKE_NAMESPACE"] = "own"
        own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        os.execvp("unshare", ["unshare", *own, "--net", sys.executable, "-B", *sys.argv])
    unittest.main()
