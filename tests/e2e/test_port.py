# SPDX-License-Identifier: Apache-2.0
"""The commit service's HTTP port: probes, metrics, and notices that bring a turn before its time."""
import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import threading
import unittest

from lake import BUILD, DEADLINE, DONE, USAGE, Lake, end, program, until

INBOX = "_bidlake/inbox/db.clicks/x/1.json"
MIB = 1 << 20


def s3_event(bucket, key):
    return json.dumps({"Records": [{"eventName": "ObjectCreated:Put",
                                    "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]})


def memory_peak(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read()).group(1)) * 1024


class CatalogAway(http.server.BaseHTTPRequestHandler):
    """A catalog that is down, and counts who asks."""

    def do_GET(self):
        self.server.asked += 1
        self.send_response(503)
        if self.server.after:
            self.send_header("Retry-After", self.server.after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments):
        pass


class PortCase(unittest.TestCase):
    def setUp(self):
        self.lake = Lake(tables="openrtb/clicks")
        self.addCleanup(self.lake.__exit__)
        self.lake.init()

    def serve(self, *arguments, **how):
        log = self.lake.path("log")
        with open(log, "wb") as err:
            process = subprocess.Popen(
                [f"{BUILD}/bidlake-commit", "serve", "--interval", "1h", "--listen", "127.0.0.1:0",
                 *self.lake.commit_flags(), *arguments], stderr=err, **how)
        self.addCleanup(end, process)

        def port():
            with open(log, encoding="utf-8") as file:
                found = re.search(r"address=\S+:(\d+)", file.read())
            return int(found.group(1)) if found else None
        self.port = until(port, "it listens")
        return process

    def ask(self, path, body=None, method=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        connection.request(method or ("GET" if body is None else "POST"), path, body)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def metric(self, name):
        for line in self.ask("/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return None

    def ingest(self, *keys):
        lines = "".join(f'{{"id":"{key}","ts":1767225600000}}\n' for key in keys)
        self.lake.ingest("clicks", "-", stdin=lines.encode())


class Port(PortCase):
    def test_probes(self):
        process = self.serve()
        until(lambda: self.ask("/readyz")[0] == 200, "ready")
        self.assertEqual(self.ask("/readyz"), (200, "db.clicks: ok\ndb.dead_letters: ok\n"))
        self.assertEqual(self.ask("/healthz"), (200, "ok\n"))
        self.assertEqual(self.metric("bidlake_service_ready"), 1)
        self.assertEqual(self.metric('bidlake_turn_turns_total{table="db.clicks",result="ok"}'), 1)
        for path, method, status in (("/", "GET", 404), ("/v1/notify", "GET", 404),
                                     ("/healthz", "PUT", 405), ("/metrics", "POST", 404)):
            self.assertEqual(self.ask(path, method=method)[0], status, path)
        for path, allowed in (("/healthz", "GET, HEAD"), ("/v1/notify", "POST")):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
            connection.request("PUT", path)
            self.assertEqual(connection.getresponse().headers["Allow"], allowed)
            connection.close()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=DEADLINE), DONE)

    def test_a_catalog_that_is_away_is_not_ready(self):
        """A probe that says ready of a service that commits nothing hides the outage."""
        self.serve("--interval", "1s")
        until(lambda: self.ask("/readyz")[0] == 200, "ready")
        os.rename(self.lake.catalog_path, self.lake.catalog_path + ".away")
        until(lambda: self.ask("/readyz")[0] == 503, "not ready")
        self.assertIn("catalog", self.ask("/readyz")[1])
        self.assertEqual(self.ask("/healthz")[0], 200)  # a restart would not help
        os.rename(self.lake.catalog_path + ".away", self.lake.catalog_path)
        until(lambda: self.ask("/readyz")[0] == 200, "ready again", seconds=90)

    def serve_without_catalog(self, after=None):
        server = http.server.HTTPServer(("127.0.0.1", 0), CatalogAway)
        server.asked, server.after = 0, after
        threading.Thread(target=server.serve_forever).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.serve("--warehouse", "s3://lake/wh",
                   "--catalog", f"rest:http://127.0.0.1:{server.server_port}")
        until(lambda: server.asked > 0, "it asks")
        return server

    def test_a_catalog_that_names_a_time_is_let_alone(self):
        """Who asks for quiet and gets requests each second stays down."""
        self.serve_without_catalog(after="600")

        def waits():
            with open(self.lake.path("log"), encoding="utf-8") as file:
                found = re.search(r"cannot open.* wait_ms=(\d+)", file.read())
            return int(found.group(1)) if found else None
        self.assertGreaterEqual(until(waits, "it says how long"), 600000)

    def test_notices_do_not_hasten_a_catalog_that_is_away(self):
        """Two thousand agents' notices must not become two thousand sign-ins."""
        server = self.serve_without_catalog()
        # Who waits for a turn hears that none comes.
        self.assertEqual(self.ask("/v1/notify?wait=1", s3_event("lake", "wh/" + INBOX))[0], 503)
        for _ in range(200):
            self.assertEqual(self.ask("/v1/notify", s3_event("lake", "wh/" + INBOX))[0], 202)
        self.assertLess(server.asked, 20)

    def test_what_is_no_notice(self):
        self.serve()
        for body in ("", "x", "{}", '{"Records":[7]}'):
            status, text = self.ask("/v1/notify", body)
            self.assertEqual(status, 400, body)
            self.assertNotEqual(text, "")
        self.assertEqual(self.ask("/v1/notify", "x" * (2 << 20))[0], 413)
        # Nothing below a file:// warehouse is in a bucket.
        self.assertEqual(self.ask("/v1/notify", s3_event("b", INBOX))[0], 200)
        self.assertEqual(self.metric('bidlake_notice_notices_total{result="ignored"}'), 1)
        self.assertEqual(self.metric('bidlake_notice_notices_total{result="malformed"}'), 4)

    def test_a_subscription_can_be_confirmed_from_the_log(self):
        """The token is the address's end: an address that is cut confirms nothing."""
        self.serve()
        start = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token="
        for length in (400, 1500):
            url = start + "7" * (length - len(start))
            self.assertEqual(self.ask("/v1/notify", json.dumps(
                {"Type": "SubscriptionConfirmation", "SubscribeURL": url}))[0], 200)
            with open(self.lake.path("log"), encoding="utf-8") as file:
                self.assertIn(f'url="{url}"\n', file.read())
        self.assertEqual(self.ask("/v1/notify", json.dumps(
            {"Type": "SubscriptionConfirmation", "SubscribeURL": url + "7"}))[0], 400)

    def test_a_broken_request(self):
        """What the server itself refuses is text, and says so."""
        self.serve()
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            self.assertEqual(answer.status, 400)
            self.assertEqual(answer.getheader("Content-Type"), "text/plain; charset=utf-8")
            self.assertRegex(answer.read().decode(), "^400: .+\n$")

    def test_large_bodies_have_a_bound(self):
        """Whoever reaches the port must not be able to fill the service's memory."""
        process = self.serve()
        until(lambda: self.ask("/readyz")[0] == 200, "ready")
        before = memory_peak(process)
        head = b"POST /v1/notify HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n"
        full = 'bidlake_notice_notices_total{result="refused"}'
        with contextlib.ExitStack() as stack:
            senders = [stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))
                       for _ in range(100)]
            for sender in senders:
                try:
                    sender.sendall(head + b" " * (MIB - 1))
                except ConnectionError:
                    pass  # it was told 503
            # All but eight, unless some of these were too late already.
            until(lambda: self.metric(full) >= 50, "most are refused")
            # A notice of common size finds room meanwhile.
            self.assertEqual(self.ask("/v1/notify", s3_event("b", INBOX))[0], 200)
        self.assertLess(memory_peak(process) - before, 48 * MIB)
        # Small text, large document.
        self.assertEqual(self.ask("/v1/notify", f"[{'{},' * 300000}0]")[0], 400)
        self.assertLess(memory_peak(process) - before, 48 * MIB)
        # What they held is free again.
        self.assertEqual(self.ask("/v1/notify", s3_event("b", INBOX) + " " * 1000000)[0], 200)

    def test_configuration(self):
        for arguments, environment in ((("--listen", "nowhere"), {}),
                                       ((), {"PORT": "80a"}),
                                       (("--listen", "203.0.113.7:1"), {})):
            result = subprocess.run(
                [f"{BUILD}/bidlake-commit", "serve", *self.lake.commit_flags(), *arguments],
                env={**os.environ, **environment}, capture_output=True, text=True, timeout=DEADLINE)
            self.assertEqual(result.returncode, USAGE, result.stderr)
            self.assertIn("listen", result.stderr)

    def test_port_is_for_serve_alone(self):
        """A shell that has a PORT of its own must still look into tables."""
        for name, command in (("bidlake-commit", "init"), ("bidlake-commit", "once"),
                              ("bidlake-table", "ls")):
            program(name, command, *self.lake.commit_flags(), code=DONE, env={"PORT": "80a"})


if __name__ == "__main__":
    unittest.main()
