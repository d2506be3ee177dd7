# SPDX-License-Identifier: Apache-2.0
"""The daemon: events over HTTP, answered once durable, in the table once, whatever ends it."""
import contextlib
import glob
import gzip
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import unittest

import lake
from lake import DONE, USAGE, Lake, end, until


class Agent:
    """A running daemon on free ports."""

    def __init__(self, where, *arguments, env=None, prefix=(), roll_age="300ms"):
        self.log_path = where.path(f"agent-{random.randrange(1 << 30)}.log")
        command = [*prefix, os.path.join(lake.BUILD, "bidlake-agent"), "run", *where.agent_flags(),
                   "--listen", "http:127.0.0.1:0", "--operations", "127.0.0.1:0",
                   *(["--roll-age", roll_age] if roll_age else []), *map(str, arguments)]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL,
                                            env=dict(os.environ, **(env or {})))
        until(lambda: "msg=\"ready\"" in self.log() or self.process.poll() is not None, "ready")
        if self.process.poll() is not None:
            raise AssertionError(self.log())
        self.port = self.port_of("http")
        self.operations = self.port_of("operations")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def port_of(self, kind):
        return int(re.search(rf"kind={kind} address=\S+:(\d+)", self.log())[1])

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=lake.DEADLINE)

    def post(self, table, body, headers=None, connection=None):
        """Status and parsed answer."""
        own = connection or self.connect()
        own.request("POST", f"/v1/events/{table}", body, headers or {})
        answer = own.getresponse()
        text = answer.read()
        if connection is None:
            own.close()
        return answer.status, json.loads(text)

    def get(self, path, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=lake.DEADLINE)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer, text

    def metric(self, name):
        """The sum of all lines of that name."""
        _, text = self.get("/metrics", self.operations)
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.decode().splitlines()
                   if re.match(rf"{name}[{{ ]", line))

    def stop(self, code=DONE):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=lake.DEADLINE) != code:
            raise AssertionError(f"exit {self.process.returncode}\n{self.log()}")


class Case(unittest.TestCase):
    def setUp(self):
        self.lake = Lake()
        self.addCleanup(self.lake.__exit__)
        self.lake.init()

    def start(self, *arguments, **how):
        agent = Agent(self.lake, *arguments, **how)
        self.addCleanup(end, agent.process)
        return agent

    def raw(self, agent, data):
        """What comes back for these bytes until the connection is closed or silent."""
        with socket.create_connection(("127.0.0.1", agent.port), timeout=3) as connection:
            connection.sendall(data)
            answer = b""
            try:
                while chunk := connection.recv(65536):
                    answer += chunk
            except (TimeoutError, ConnectionResetError):
                pass
            return answer


class Answers(Case):
    def test_forms_and_encodings(self):
        """Each form that senders use arrives as the same events."""
        agent = self.start()
        ok = {"accepted": 2, "refused": 0}
        bodies = [b'{"id":"a"}\n{"id":"b"}\n', b'[{"id":"c"},\n{"id":"d"}]']
        for body in bodies:
            self.assertEqual(agent.post("clicks", body), (200, ok))
        packed = gzip.compress(b'{"id":"e"}\n') + gzip.compress(b'{"id":"f"}\n')
        self.assertEqual(agent.post("clicks", packed, {"Content-Encoding": "gzip"}), (200, ok))
        chunks = iter([b'{"id":', b'"g"}\n{"id"', b':"h"}'])
        self.assertEqual(agent.post("clicks", chunks), (200, ok))
        one = agent.post("clicks", b'{\n "id":\n "i"}')
        self.assertEqual(one, (200, {"accepted": 1, "refused": 0}))
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {name: 1 for name in "abcdefghi"})

    def test_bad_events_are_named(self):
        """A sender must learn which line of his is wrong, and the others must arrive."""
        agent = self.start()
        status, answer = agent.post("clicks", b'{"id":"a"}\n{"id":}\n\n{"ix":1}\n{"id":"b"}\n')
        self.assertEqual((status, answer["accepted"], answer["refused"]), (207, 2, 2))
        self.assertEqual([(error["line"], error["reason"]) for error in answer["errors"]],
                         [(2, "syntax"), (4, "required")])
        status, answer = agent.post("clicks", b"nonsense")
        self.assertEqual((status, answer["accepted"], answer["refused"]), (400, 0, 1))
        status, answer = agent.post("clicks", b"")
        self.assertEqual((status, answer["refused"]), (400, 1))
        many = agent.post("clicks", b"x\n" * 50)[1]
        self.assertEqual((many["refused"], len(many["errors"])), (50, 10))
        received = agent.metric("bidlake_capture_events_received_total")
        kept = agent.metric("bidlake_capture_events_kept_total")
        refused = agent.metric("bidlake_capture_events_refused_total")
        self.assertEqual((received, kept), (56, 2))
        self.assertEqual(received, kept + refused)
        agent.stop()

    def test_requests_that_are_refused_whole(self):
        token = self.lake.write("token", "s3cret\n")
        agent = self.start("--http-token-file", token, "--http-body-bytes", "1KiB",
                           "--http-expanded-bytes", "4KiB")
        right = {"Authorization": "Bearer s3cret"}
        event = b'{"id":"a"}'
        for headers in ({}, {"Authorization": "Bearer s3creT"}, {"Authorization": "Bearer "}):
            self.assertEqual(agent.post("clicks", event, headers)[0], 401)
        self.assertEqual(agent.post("clicks", event, right)[0], 200)
        self.assertEqual(agent.post("nothing", event, right)[0], 404)
        self.assertEqual(agent.post("clicks", b" " * 1025, right)[0], 413)
        bomb = {"Content-Encoding": "gzip", **right}
        self.assertEqual(agent.post("clicks", gzip.compress(b" " * 100000), bomb)[0], 413)
        self.assertEqual(agent.post("clicks", gzip.compress(event)[:-3], bomb)[0], 400)
        other = {"Content-Encoding": "br", **right}
        self.assertEqual(agent.post("clicks", event, other)[0], 415)
        self.assertEqual(agent.get("/v1/events/clicks")[0].status, 405)
        self.assertEqual(agent.get("/")[0].status, 404)
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {"a": 1})

    def test_body_without_one_good_line(self):
        """A megabyte of nonsense must not hold up the others."""
        agent = self.start()
        status, answer = agent.post("clicks", b"x\n" * 500000)
        self.assertEqual((status, answer["refused"], len(answer["errors"])), (400, 500000, 10))
        agent.stop()

    def test_bodies_under_way_are_bounded(self):
        """Senders that stop in the middle must not take the machine's memory."""
        with open(os.path.join(lake.BUILD, "bidlake-agent"), "rb") as program:
            if re.search(b"__[at]san_init", program.read()):
                self.skipTest("a sanitizer's memory is not the agent's")
        agent = self.start()
        held = []
        self.addCleanup(lambda: [connection.close() for connection in held])
        head = b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n"
        for _ in range(20):
            held.append(socket.create_connection(("127.0.0.1", agent.port), timeout=lake.DEADLINE))
            held[-1].sendall(head + b" " * 7000000)
        with open(f"/proc/{agent.process.pid}/status", encoding="utf-8") as text:
            anonymous = int(re.search(r"RssAnon:\s+(\d+)", text.read())[1])
        self.assertLess(anonymous, 110 << 10)
        # Those that were turned away gave their room back.
        self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
        agent.stop()

    def test_pixel(self):
        """Trackers and win notices are GETs; a macro nobody filled in is no price."""
        agent = self.start()
        answer, body = agent.get("/px/impressions?id=i%201&price=1.5&seat=%22x%22")
        self.assertEqual((answer.status, answer.headers["Content-Type"], body[:6]),
                         (200, "image/gif", b"GIF89a"))
        self.assertEqual(answer.headers["Cache-Control"], "no-store")
        agent.get("/px/impressions?id=i2&price=$%7BAUCTION_PRICE%7D")
        for path, status in (("impressions?price=1", 400), ("nothing?id=i3", 404)):
            answer, _ = agent.get(f"/px/{path}")
            self.assertEqual((answer.status, answer.headers["Cache-Control"]), (status, "no-store"))
        agent.stop()
        self.lake.once()
        rows = self.lake.rows("impressions", ["impression_id", "price", "seat"])
        self.assertEqual(sorted(rows), [("i 1", 1.5, '"x"'), ("i2", None, None)])

    def test_header_and_query_columns(self):
        """The exchange is in a header or the path's query, never in the body."""
        self.lake.tables = self.lake.write("mine.yaml", """
table: mine
columns:
  id: {type: string, from: id, required: true}
  exchange: {type: string, from: $header.x-exchange}
  region: {type: string, from: $query.region}
  received_at: {type: timestamptz, from: $received_at}
""")
        self.lake.init()
        agent = self.start()
        connection = agent.connect()
        connection.request("POST", "/v1/events/mine?region=eu%2D1", b'{"id":"a"}',
                           {"X-Exchange": "adx"})
        self.assertEqual(connection.getresponse().read(), b'{"accepted":1,"refused":0}\n')
        connection.close()
        agent.stop()
        self.lake.once()
        rows = self.lake.load("mine").scan().to_arrow().select(["id", "exchange", "region"])
        self.assertEqual(rows.to_pylist(), [{"id": "a", "exchange": "adx", "region": "eu-1"}])

    def test_broken_http_does_no_harm(self):
        """Port scanners, cut connections and liars are everyday guests."""
        agent = self.start("--http-idle", "1s")
        head = b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\n"
        for data in (b"\x00\xff\xfe garbage\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                     head + b"Content-Length: -5\r\n\r\n",
                     head + b"Content-Length: 99999999999999999999\r\n\r\n",
                     head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
                     head + b"X: " + b"y" * 100000 + b"\r\n\r\n",
                     head + b"Content-Length: 100\r\n\r\n{\"id\":\"half\"}"):
            answer = self.raw(agent, data)
            self.assertNotIn(b"200 OK", answer, data[:80])
        self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {"a": 1})


class Sockets(Case):
    def connect(self, path, kind=socket.SOCK_STREAM):
        connection = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(connection.close)
        connection.settimeout(lake.DEADLINE)
        connection.connect(path)
        return connection

    def acked(self, connection, lines):
        """Reads acks until one says so many lines."""
        text = b""
        while not text.endswith(b"%d\n" % lines):
            text += connection.recv(4096)
        return text

    def letters(self):
        return self.lake.rows("dead_letters", ["table", "position", "reason", "body"])

    def test_stream(self):
        """Lines are settled when they are durable; what is no event is not lost either."""
        path = self.lake.path("clicks.sock")
        agent = self.start("--listen", f"http:127.0.0.1:0,unix:{path}?table=clicks&ack=lines"
                                       "&mode=0600", "--limits-event-bytes", "1KiB")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        first, second = self.connect(path), self.connect(path)
        first.sendall(b'{"id":"a"}\n\n{"id":"b"}\nbad "line\n{"id":')
        self.acked(first, 4)
        second.sendall(b'{"id":"c"}\r\n' + b"x" * 70000)
        self.acked(second, 1)
        second.sendall(b"y" * 70000 + b'\n{"id":"d"}\n')
        self.acked(second, 3)
        first.sendall(b'"e"}\n{"id":"f"}')
        first.shutdown(socket.SHUT_WR)
        self.acked(first, 6)
        agent.stop()
        self.assertFalse(os.path.exists(path))
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {name: 1 for name in "abcdef"})
        found = sorted((table, position, len(body)) for table, position, _, body in self.letters())
        self.assertEqual(found, [("clicks", 2, 4096), ("clicks", 4, 9)])

    def test_datagrams(self):
        path = self.lake.path("clicks.sock")
        agent = self.start("--listen", f"http:127.0.0.1:0,unix_datagram:{path}?table=clicks")
        sender = self.connect(path, socket.SOCK_DGRAM)
        for n in range(2000):
            sender.send(b'{"id":\n"n%d"}' % n)
        sender.send(b"bad")
        kept = "bidlake_capture_events_kept_total"
        until(lambda: agent.metric(kept) == 2001, "all of them durable")
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {f"n{n}": 1 for n in range(2000)})
        self.assertEqual([body for _, _, _, body in self.letters()], ["bad"])

    def test_killed_with_acks_out(self):
        """What was acked is in the table; the sender sends the rest again."""
        path = self.lake.path("clicks.sock")
        acked, sent = 0, 0
        for _ in range(4):
            agent = self.start("--listen", f"http:127.0.0.1:0,unix:{path}?table=clicks&ack=lines")
            connection, base, text = self.connect(path), acked, b""
            connection.settimeout(0.2)
            lines = [b'{"id":"n%d"}\n' % n for n in range(base, base + 20000)]
            sender = threading.Thread(target=self.send_all, args=(connection, b"".join(lines)))
            sender.start()
            until(lambda: self.acks_so_far(connection, base) > base + 100, "acks")
            end(agent.process, signal.SIGKILL)
            sender.join()
            acked = max(acked, base + self.last_ack)
            connection.close()
        agent = self.start()
        # A stop delivers only what it can within its deadline.
        self.lake.agent("flush", "--operations", f"127.0.0.1:{agent.operations}", code=DONE)
        agent.stop()
        self.lake.once()
        found = self.lake.ids("clicks", "click_id")
        self.assertEqual([n for n in range(acked) if f"n{n}" not in found], [])

    last_ack = 0

    def send_all(self, connection, data):
        try:
            connection.sendall(data)
        except OSError:
            pass

    def acks_so_far(self, connection, base):
        try:
            lines = connection.recv(65536).split()
        except TimeoutError:
            lines = []
        self.last_ack = int(lines[-1]) if lines else self.last_ack
        return base + self.last_ack

    def test_what_cannot_be_listened_at(self):
        path = self.lake.path("s.sock")
        file = self.lake.write("file", "mine")
        for listen, words in ((f"unix:{path}", "table"), (f"unix:{path}?table=nothing", "nothing"),
                              (f"unix:{file}?table=clicks", "no socket"),
                              ("unix:relative?table=clicks", "absolute"),
                              (f"unix:{path}?table=clicks&mode=rw", "octal"),
                              (f"unix:{path}?table=clicks&owner=no-such-user", "no-such-user"),
                              ("http:127.0.0.1:0?table=clicks", "http has no other key")):
            result = self.lake.agent("run", "--listen", listen, code=USAGE)
            self.assertIn(words, result.err)
        with open(file, encoding="utf-8") as left:
            self.assertEqual(left.read(), "mine")
        agent = self.start("--listen", f"http:127.0.0.1:0,unix:{path}?table=clicks")
        result = self.lake.agent("run", "--listen", f"unix:{path}?table=clicks",
                                 spool=self.lake.path("other"), code=lake.FAILED)
        self.assertIn("listens there already", result.err)
        end(agent.process, signal.SIGKILL)
        self.start("--listen", f"http:127.0.0.1:0,unix:{path}?table=clicks").stop()


class Repeated(Case):
    KEY = {"Idempotency-Key": "k-1"}

    def test_second_gets_the_first_answer(self):
        """A sender that heard nothing sends again; with a key that is no second event."""
        agent = self.start()
        body = b'{"id":"a"}\n{"ix":1}\n'
        first = agent.post("clicks", body, self.KEY)
        self.assertEqual((first[0], first[1]["accepted"]), (207, 1))
        self.assertEqual(agent.post("clicks", body, self.KEY), first)
        self.assertEqual(agent.post("clicks", b'{"id":"other"}', self.KEY), first)
        self.assertEqual(agent.post("impressions", b'{"id":"b"}', self.KEY)[0], 200)
        bad = agent.post("clicks", b"nonsense", {"Idempotency-Key": "k-2"})
        self.assertEqual(bad[0], 400)
        self.assertEqual(agent.post("clicks", b'{"id":"c"}', {"Idempotency-Key": "k-2"}), bad)
        self.assertEqual(agent.post("clicks", b'{"id":"c"}', {"Idempotency-Key": "x" * 65})[0], 400)
        third = {"Idempotency-Key": "k-3"}
        for more, status in (("gzip", 400), ("br", 415)):
            self.assertEqual(agent.post("clicks", b"x", {**third, "Content-Encoding": more})[0], status)
        self.assertEqual(agent.post("clicks", b" " * (9 << 20), third)[0], 413)
        self.assertEqual(agent.post("clicks", b'{"id":"c"}', third)[0], 200)
        end(agent.process, signal.SIGKILL)
        agent = self.start()
        self.assertEqual(agent.post("clicks", body, self.KEY), first)
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {"a": 1, "c": 1})
        self.assertEqual(self.lake.ids("impressions", "impression_id"), {"b": 1})

    def test_at_the_same_time(self):
        """Both copies of a doubled request are under way at once."""
        agent = self.start()
        answers = []

        def send(n):
            answers.append(agent.post("clicks", json.dumps({"id": f"a{n % 5}"}),
                                      {"Idempotency-Key": f"k{n % 5}"}))

        for _ in range(10):
            senders = [threading.Thread(target=send, args=(n,)) for n in range(20)]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
        self.assertEqual(answers, [(200, {"accepted": 1, "refused": 0})] * 200)
        self.assertEqual(agent.metric("bidlake_capture_events_received_total"), 5)
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {f"a{n}": 1 for n in range(5)})

    def test_key_used_again_after_its_time(self):
        """The old entry's end must not take the new answer along."""
        agent = self.start("--dedup-window", "600ms")
        keys = [{"Idempotency-Key": f"k{n}"} for n in range(40)]
        for key in keys:
            agent.post("clicks", b'{"id":"first"}', key)
        until(lambda: agent.post("clicks", b"x", keys[0])[0] == 400, "the first key is free")
        before = agent.metric("bidlake_capture_events_kept_total")
        for key in keys[1:]:
            for _ in range(2):
                agent.post("clicks", b'{"id":"second"}', key)
        after = agent.metric("bidlake_capture_events_kept_total")
        self.assertLessEqual(after - before, len(keys) - 1)
        self.assertLessEqual(agent.metric("bidlake_source_keys"), 3 * len(keys))
        agent.stop()

    def test_keys_are_forgotten_in_time(self):
        """Else the spool would fill with keys."""
        agent = self.start("--dedup-window", "1ms")
        for n in range(100):
            agent.post("clicks", b'{"id":"a"}', {"Idempotency-Key": f"k{n}"})
        until(lambda: agent.post("clicks", b'{"id":"a"}', self.KEY)[0] == 200, "a free key")
        self.assertLess(agent.metric("bidlake_source_keys"), 10)
        agent.stop()


class Life(Case):
    def test_operations(self):
        agent = self.start("--spool-bytes", "64MiB")  # has room on small disks, too
        self.assertEqual(agent.get("/healthz", agent.operations)[0].status, 200)
        answer, text = agent.get("/readyz", agent.operations)
        self.assertEqual((answer.status, text.count(b"ok ")), (200, 5))
        self.assertEqual(agent.get("/else", agent.operations)[0].status, 404)
        agent.stop()

    def test_status_flush_and_drain(self):
        """Before a machine is taken down somebody must be able to see that it is empty."""
        agent = self.start("--roll-age", "1h")
        at = ("--operations", f"127.0.0.1:{agent.operations}")
        agent.post("clicks", b'{"id":"a"}')

        def status():
            return json.loads(self.lake.agent("status", *at, "--json", code=DONE).out)

        self.assertEqual((status()["tables"]["clicks"]["kept"], status()["ready"]), (1, True))
        until(lambda: status()["delivery"]["open_streams"] == 1, "an open stream")
        self.assertIn("ready", self.lake.agent("status", *at, code=DONE).out)
        self.assertEqual(self.lake.inbox("clicks"), [])
        self.lake.agent("flush", *at, code=DONE)
        self.assertEqual(len(self.lake.inbox("clicks")), 1)
        self.lake.agent("status", "--ready", *at, code=DONE)
        agent.post("clicks", b'{"id":"b"}')
        self.lake.agent("drain", *at, code=DONE)
        self.assertEqual(agent.process.wait(timeout=lake.DEADLINE), DONE, agent.log())
        self.assertEqual(len(self.lake.inbox("clicks")), 2)
        result = self.lake.agent("status", "--ready", *at, code=lake.FAILED)
        self.assertIn(at[1], result.err)
        # A page in a browser on the same machine can't do that.
        agent = self.start()
        connection = http.client.HTTPConnection("127.0.0.1", agent.operations, timeout=lake.DEADLINE)
        connection.request("POST", "/v1/drain", b"")
        self.assertEqual(connection.getresponse().status, 403)
        connection.close()
        agent.stop()

    def test_reload_under_load(self):
        """New columns and tables without a connection lost; a bad file changes nothing."""
        mine = """
table: mine
columns:
  id: {type: string, from: id, required: true}
  received_at: {type: timestamptz, from: $received_at}
"""
        path = self.lake.write("mine.yaml", mine)
        token = self.lake.write("token", "one\n")
        config = self.lake.write("agent.yaml", f"tables: [{path}]\nhttp: {{token_file: {token}}}\n")
        self.lake.tables = None
        stop, answers = threading.Event(), []

        def send(agent):
            with contextlib.closing(agent.connect()) as connection:
                while not stop.is_set():
                    name = f"s{len(answers)}"
                    body = json.dumps({"id": name, "price": 1.5})
                    answers.append(agent.post("mine", body, {"Authorization": "Bearer one"},
                                              connection))

        agent = Agent(self.lake, "--config", config)
        self.addCleanup(end, agent.process)
        sender = threading.Thread(target=send, args=(agent,))
        sender.start()

        def reload(words):
            before = agent.log().count(words)
            agent.process.send_signal(signal.SIGHUP)
            until(lambda: agent.log().count(words) > before, words)

        until(lambda: len(answers) > 20, "answers")
        self.lake.write("mine.yaml", mine + "  price: {type: double, from: price}\n")
        reload("were read again")
        at = len(answers)
        until(lambda: len(answers) > at + 20, "more answers")
        self.lake.write("mine.yaml", mine + "  price: {type: dubble, from: price}\n")
        reload("the configuration is refused")
        self.assertIn("dubble", agent.log())
        self.lake.write("mine.yaml", mine + "  price: {type: double, from: price}\n")
        other = self.lake.write("other.yaml", mine.replace("mine", "other"))
        self.lake.write("agent.yaml", f"tables: [{path}, {other}]\n"
                                      f"http: {{token_file: {token}, body_bytes: 1KiB}}\n")
        self.assertEqual(agent.post("other", b'{"id":"o"}')[0], 404)
        reload("were read again")
        right = {"Authorization": "Bearer one"}
        self.assertEqual(agent.post("other", b'{"id":"o"}', right)[0], 200)
        self.assertEqual(agent.post("other", b" " * 2000, right)[0], 413)
        stop.set()
        sender.join()
        self.assertEqual({status for status, _ in answers}, {200})
        self.lake.write("token", "two\n")
        reload("were read again")
        self.assertEqual(agent.post("other", b'{"id":"o2"}', right)[0], 401)
        agent.stop()
        self.lake.tables = f"{path},{other}"
        self.lake.init()
        self.lake.once()
        rows = self.lake.load("mine").scan().to_arrow()
        self.assertEqual(rows.num_rows, len(answers))
        self.assertEqual(set(rows["price"].to_pylist()), {None, 1.5})
        self.assertEqual(self.lake.load("other").scan().to_arrow().num_rows, 1)

    def test_reload_changes_delivery(self):
        """Age and bandwidth that were set wrong are put right without a restart, also for what
        they hold up already."""
        texts = [f"roll: {{age: {age}}}\nupload: {{bandwidth: {bandwidth}}}\n"
                 for age, bandwidth in (("1h", "1KiB"), ("300ms", "1KiB"), ("300ms", "0"))]
        draw = random.Random(1)
        agent = self.start("--config", self.lake.write("agent.yaml", texts[0]), roll_age=None)
        body = "".join(json.dumps({"id": f"n{n}", "campaign_id": draw.randbytes(700).hex()}) + "\n"
                       for n in range(1000)).encode()
        self.assertEqual(agent.post("clicks", body)[0], 200)

        def reload(text):
            self.lake.write("agent.yaml", text)
            agent.process.send_signal(signal.SIGHUP)

        reload(texts[1])
        until(lambda: glob.glob(f"{self.lake.spool}/sealed/*.parquet"), "an upload under way")
        self.assertEqual(self.lake.inbox("clicks"), [])
        reload(texts[2])
        until(lambda: self.lake.inbox("clicks"), "it is announced")
        self.assertNotIn("wants a restart", agent.log())
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {f"n{n}": 1 for n in range(1000)})

    def test_reload_limits_connections(self):
        """Their number and times hold for those, too, that are open and have waited since long."""
        def text(idle, connections):
            return f"http: {{head_time: {idle}, idle: {idle}, connections: {connections}}}\n"

        path = self.lake.path("s.sock")
        config = self.lake.write("agent.yaml", text("1h", 2))
        agent = self.start("--config", config,
                           "--listen", f"http:127.0.0.1:0,unix:{path}?table=clicks&ack=lines")
        with contextlib.ExitStack() as stack:
            def to_http(first=b""):
                connection = stack.enter_context(
                    socket.create_connection(("127.0.0.1", agent.port), timeout=lake.DEADLINE))
                connection.sendall(first)
                return connection

            def to_unix():
                connection = stack.enter_context(socket.socket(socket.AF_UNIX))
                connection.settimeout(lake.DEADLINE)
                connection.connect(path)
                connection.sendall(b'{"id":"a"}\n')
                return connection

            def reload(*limits):
                before = agent.log().count("were read again")
                self.lake.write("agent.yaml", text(*limits))
                agent.process.send_signal(signal.SIGHUP)
                until(lambda: agent.log().count("were read again") > before, "read again")

            silent, halting = to_http(), to_http(b"POST /v1")
            for connection in (to_unix(), to_unix()):
                self.assertEqual(connection.recv(9), b"1\n")
            third = to_unix() # waits in the queue of the listener
            ask = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            self.assertIn(b" 503 ", self.raw(agent, ask))
            third.settimeout(0.3)
            with self.assertRaises(TimeoutError):
                third.recv(9)
            third.settimeout(lake.DEADLINE)
            reload("1h", 3)
            self.assertEqual(third.recv(9), b"1\n")
            until(lambda: b" 404 " in self.raw(agent, ask), "there is a place")
            reload("1s", 3)
            self.assertEqual(silent.recv(9), b"")
            self.assertIn(b" 408 ", halting.recv(65536))
        self.assertNotIn("wants a restart", agent.log())
        agent.stop()

    def test_reload_names_what_it_leaves(self):
        """A key that only a restart reads must not look as if it were obeyed."""
        config = self.lake.write("agent.yaml", "http: {body_bytes: 1MiB}\n")
        agent = self.start("--config", config)

        def reload():
            before = agent.log().count("were read again")
            agent.process.send_signal(signal.SIGHUP)
            until(lambda: agent.log().count("were read again") > before, "read again")

        self.lake.write("agent.yaml", "http: {body_bytes: 2MiB}\nlimits: {event_bytes: 2MiB}\n")
        reload()
        self.assertNotIn("restart", agent.log())
        self.lake.write("agent.yaml", "background: {nice: 3}\nroll: {rows: 1000}\n"
                                      "namespace: db\nhttp: {body_bytes: 3MiB}\n")
        reload()
        until(lambda: 'keys="roll.rows, background.nice"' in agent.log(), "they are named")
        agent.stop()

    def test_systemd_is_told(self):
        path = self.lake.path("notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(path)
            listener.settimeout(lake.DEADLINE)
            agent = self.start(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
            self.assertEqual(listener.recv(100), b"READY=1")
            self.assertEqual(listener.recv(100), b"WATCHDOG=1")
            self.assertEqual(listener.recv(100), b"WATCHDOG=1")
            agent.process.send_signal(signal.SIGTERM)
            while (told := listener.recv(100)) == b"WATCHDOG=1":
                pass
            # stop.deadline (10 s) and a minute: systemd must not kill what still delivers.
            self.assertEqual(told, b"STOPPING=1\nEXTEND_TIMEOUT_USEC=70000000")
            agent.process.wait(timeout=lake.DEADLINE)

    def test_generator_sends_the_whole_funnel(self):
        """What the generator says was accepted is what the tables hold."""
        agent = self.start()
        url = f"http://127.0.0.1:{agent.port}"
        result = lake.program("bidlake-gen", "--to", url, "--events-per-second", 0, "--count", 3000,
                              "--connections", 4, "--batch", 50, "--seed", 5, "--json", code=DONE)
        agent.stop()
        self.lake.once()
        made = json.loads(result.out)
        events = sum(table["events"] for table in made["tables"].values())
        self.assertEqual((made["http"]["accepted"], made["http"]["unanswered"]), (events, 0))
        self.assertLessEqual(made["http"]["latency_ms"]["p50"], made["http"]["latency_ms"]["max"])
        for table, counts in made["tables"].items():
            self.assertEqual(len(self.lake.rows(table)), counts["rows"], table)
        self.lake.check()

    def test_address_in_use_is_said_at_start(self):
        agent = self.start()
        result = self.lake.agent("run", "--listen", f"http:127.0.0.1:{agent.port}",
                                 spool=self.lake.path("other"), code=None)
        self.assertNotEqual(result.code, DONE)
        self.assertIn(f"127.0.0.1:{agent.port}", result.err)
        for listen in ("http:localhost:1", "https:127.0.0.1:1", "http:127.0.0.1:70000"):
            result = self.lake.agent("run", "--listen", listen, spool=self.lake.path("other"),
                                     code=USAGE)
        agent.stop()

    def test_killed_under_load(self):
        """Answered is in the table, once; what was not answered may be, once."""
        sent, answered = set(), set()
        stop = threading.Event()
        rng = random.Random(7)

        def send(agent, name):
            with contextlib.closing(agent.connect()) as connection:
                send_over(agent, name, connection)

        def send_over(agent, name, connection):
            n = 0
            while not stop.is_set():
                ids = [f"{name}-{n}-{i}" for i in range(rng.randrange(1, 20))]
                n += 1
                sent.update(ids)
                try:
                    status, answer = agent.post(
                        "clicks", "\n".join(json.dumps({"id": i}) for i in ids), None, connection)
                except (OSError, http.client.HTTPException):
                    return
                if status == 200 and answer["accepted"] == len(ids):
                    answered.update(ids)

        for life in range(5):
            stop.clear()
            agent = self.start()
            senders = [threading.Thread(target=send, args=(agent, f"{life}-{i}")) for i in range(4)]
            before = len(answered)
            for sender in senders:
                sender.start()
            until(lambda: len(answered) > before + rng.randrange(50, 800), "answers")
            end(agent.process, signal.SIGKILL)
            stop.set()
            for sender in senders:
                sender.join()
            self.lake.once()
        self.start().stop()
        self.lake.once()
        found = self.lake.ids("clicks", "click_id")
        self.assertEqual([name for name, count in found.items() if count > 1], [])
        self.assertEqual(answered - found.keys(), set())
        self.assertEqual(found.keys() - sent, set())
        self.lake.check("clicks")


if __name__ == "__main__":
    unittest.main()
