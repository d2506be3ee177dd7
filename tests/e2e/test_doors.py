# SPDX-License-Identifier: Apache-2.0
"""The doors under attack: what is no request, what two readers would read differently, what never
ends. The daemon lives, says what is wrong, and takes nothing that it did not answer."""
import contextlib
import gzip
import http.client
import json
import os
import random
import re
import resource
import select
import socket
import struct
import threading
import time
import unittest

import lake
from lake import end, until
from test_run import Case

HEAD = b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\n"
EVENT = b'{"id":"a"}'
PLAIN = HEAD + b"Content-Length: 10\r\n\r\n" + EVENT
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"\r\n0\r\n\r\n"
HIDDEN = HEAD + b"Content-Length: 15\r\n\r\n" + b'{"id":"hidden"}'
MUTATIONS = int(os.environ.get("BIDLAKE_MUTATIONS", "400"))
KEPT = "bidlake_capture_events_kept_total"


def with_length(value):
    return HEAD + b"Content-Length:" + value + b"\r\n\r\n" + EVENT


def with_coding(lines, version=b"1.1"):
    return HEAD.replace(b"1.1", version) + lines + b"\r\n\r\na\r\n" + EVENT + END


# Two readers could see different ends of these: what one takes for a body, the other takes for
# the next request.
SPLIT = {
    "both lengths": with_coding(b"Content-Length: 4\r\nTransfer-Encoding: chunked"),
    "both, turned": with_coding(b"Transfer-Encoding: chunked\r\nContent-Length: 4"),
    "two lengths": with_length(b" 10\r\nContent-Length: 11"),
    "one length twice": with_length(b" 10\r\nContent-Length: 10"),
    "a list of lengths": with_length(b" 10, 10"),
    "length +": with_length(b" +10"),
    "length -": with_length(b" -10"),
    "length in hex": with_length(b" 0xa"),
    "length with a tail": with_length(b" 10x"),
    "length in two": with_length(b" 1 0"),
    "no length": with_length(b""),
    "blank before the colon": HEAD + b"Content-Length : 10\r\n\r\n" + EVENT,
    "coding with a blank": with_coding(b"Transfer-Encoding : chunked"),
    "coding identity": with_coding(b"Transfer-Encoding: identity"),
    "coding of two": with_coding(b"Transfer-Encoding: gzip, chunked"),
    "coding behind": with_coding(b"Transfer-Encoding: chunked, gzip"),
    "coding misspelt": with_coding(b"Transfer-Encoding: xchunked"),
    "coding with a tab": with_coding(b"Transfer-Encoding: \x0bchunked"),
    "coding twice": with_coding(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "coding in 1.0": with_coding(b"Transfer-Encoding: chunked", b"1.0"),
    "first header folded": HEAD.replace(b"Host", b" Host") + b"Content-Length: 10\r\n\r\n" + EVENT,
    "no name": HEAD + b": x\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "no colon": HEAD + b"X\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "two hosts": HEAD + b"Host: y\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "no host": PLAIN.replace(b"Host", b"Toast"),
    "folded": HEAD + b"X: a\r\n b\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "folded length": HEAD + b"Content-Length:\r\n 10\r\n\r\n" + EVENT,
    "LF alone": PLAIN.replace(b"\r\n", b"\n"),
    "LF in a header": HEAD + b"X: a\nContent-Length: 10\r\n\r\n" + EVENT,
    "CR in a header": HEAD + b"X: a\rContent-Length: 5\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "NUL in a header": HEAD + b"X: a\0b\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "NUL in the path": PLAIN.replace(b"clicks", b"clicks\0x"),
    "two blanks": PLAIN.replace(b"POST ", b"POST  "),
    "a blank in the path": PLAIN.replace(b"clicks", b"clicks x"),
    "HTTP/0.9": b"GET /px/clicks?id=a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\xc6\x01\x00\x00\xc2\x03\x03",
    "chunk with LF": CHUNKED + b"a\n" + EVENT + b"\n0\n\n",
    "LF in an extension": CHUNKED + b"a;x\n" + EVENT + END,
    "trailer with LF": CHUNKED + b"a\r\n" + EVENT + b"\r\n0\r\nX: y\n\r\n",
    "chunk of many digits": CHUNKED + b"0" * 40 + b"a\r\n" + EVENT + END,
    "extensions without end": CHUNKED + b"a;" + b"x" * 100000 + b"\r\n" + EVENT + END,
    "trailers without end": CHUNKED + b"a\r\n" + EVENT + b"\r\n0\r\n" + b"X: y\r\n" * 10000,
    "chunk in 0x": CHUNKED + b"0xa\r\n" + EVENT + END,
    "chunk -": CHUNKED + b"-a\r\n" + EVENT + END,
    "chunk +": CHUNKED + b"+a\r\n" + EVENT + END,
    "chunk with a blank": CHUNKED + b" a\r\n" + EVENT + END,
    "chunk without size": CHUNKED + b"\r\n" + EVENT + END,
    "chunk too long": CHUNKED + b"9\r\n" + EVENT + END,
    "chunk without line end": CHUNKED + b"a\r\n" + EVENT + b"0\r\n\r\n",
    "chunk beyond 64 bits": CHUNKED + b"1000000000000000a\r\n" + EVENT + END,
}


def drain(connection):
    """All that comes until the other side closes."""
    answer = b""
    try:
        while got := connection.recv(65536):
            answer += got
    except ConnectionResetError:
        pass
    return answer


def answers_of(data):
    """Status, fields and body of each answer in these bytes, which must be nothing else."""
    found = []
    while data:
        head, mark, data = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        if not mark or not re.fullmatch(rb"HTTP/1\.1 [1-5]\d\d [A-Za-z -]+", lines[0]):
            raise AssertionError(f"no answer: {head[:200]}")
        fields = dict(line.split(b": ", 1) for line in lines[1:])
        fields = {name.decode().lower(): value.decode() for name, value in fields.items()}
        length = int(fields.get("content-length", 0))
        if len(data) < length:
            raise AssertionError(f"cut: {head[:200]}")
        status = int(lines[0].split(b" ")[1])
        if status >= 400 and fields.get("cache-control") != "no-store":
            raise AssertionError(f"a cache may keep this refusal: {head[:200]}")
        found.append((status, fields, data[:length]))
        data = data[length:]
    return found


def is_sanitized():
    """Sanitizers have memory of their own."""
    with open(os.path.join(lake.BUILD, "bidlake-agent"), "rb") as program:
        return re.search(b"__[at]san_init", program.read()) is not None


def statuses(data):
    return [status for status, _, _ in answers_of(data)]


class Doors(Case):
    def open(self, agent):
        connection = socket.create_connection(("127.0.0.1", agent.port), timeout=lake.DEADLINE)
        self.addCleanup(connection.close)
        return connection

    def exchange(self, agent, data):
        """All that comes back for these bytes, until the agent closes the connection."""
        with contextlib.closing(self.open(agent)) as connection:
            try:
                connection.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            return drain(connection)

    def refusal(self, answer, status, error):
        """Each refusal says in JSON what is wrong; returns that text."""
        self.assertEqual((answer[0], answer[1]["content-type"]), (status, "application/json"))
        said = json.loads(answer[2])
        self.assertEqual((said["accepted"], said["error"]), (0, error))
        return said["detail"]

    def in_table(self, agent, expected):
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), expected)

    @staticmethod
    def switches(agent, name):
        for task in os.listdir(f"/proc/{agent.process.pid}/task"):
            with open(f"/proc/{agent.process.pid}/task/{task}/status", encoding="ascii") as text:
                found = text.read()
            if re.search(rf"Name:\t{name}\n", found):
                return re.findall(r"ctxt_switches:\t(\d+)", found)
        raise AssertionError(f"there is no thread {name}")

    def rests(self, agent, name="http"):
        """The thread is woken by nothing: a loop that finds no work would show here."""
        seen = []

        def three_alike():
            seen.append(self.switches(agent, name))
            return len(seen) > 10 and seen[-1] == seen[-10]

        until(three_alike, f"{name} rests")


class Requests(Doors):
    def test_requests_of_which_the_end_is_in_doubt(self):
        """Behind a proxy a stranger could hide a request in another one's body."""
        agent = self.start()
        for name, data in SPLIT.items():
            with self.subTest(name):
                answer = self.exchange(agent, data + HIDDEN)
                self.assertRegex(answer, rb"^HTTP/1\.1 4(00|13) ")
                self.assertNotIn(b" 200 OK", answer)
        self.assertEqual(agent.metric(KEPT), 0)
        # The same way, but with its end where everybody sees it: both are taken.
        fine = with_coding(b"Transfer-Encoding: chunked")
        answer = self.exchange(agent, fine + HIDDEN.replace(b"Host", b"Connection: close\r\nHost"))
        self.assertEqual((answer.count(b" 200 OK"), agent.metric(KEPT)), (2, 2))
        agent.stop()

    def test_what_is_fine_if_odd(self):
        """Senders are of all ages; what is valid is answered as such."""
        agent = self.start()
        close = b"Connection: close\r\n"
        plain = PLAIN.replace(b"Host", close + b"Host")
        get = b"GET /px/clicks?id=p HTTP/1.1\r\nHost: x\r\n" + close + b"\r\n"
        cases = {
            "HTTP/1.0": (PLAIN.replace(b"1.1", b"1.0").replace(b"Host: x\r\n", b""), [200]),
            "HTTP/1.2": (plain.replace(b"1.1", b"1.2"), [200]),
            "HTTP/2.0": (PLAIN.replace(b"1.1", b"2.0"), [505]),
            "an absolute URI": (plain.replace(b" /", b" http://x:80/", 1), [200]),
            "an encoded name": (plain.replace(b"clicks", b"%63lick%73"), [200]),
            "an encoded NUL": (plain.replace(b"clicks", b"clicks%00"), [404]),
            "dots": (plain.replace(b"events/", b"events/../events/"), [404]),
            "encoded dots": (plain.replace(b"events/", b"events/%2e%2e/events/"), [404]),
            "two slashes": (plain.replace(b"/events", b"//events"), [404]),
            "a slash behind": (plain.replace(b"clicks", b"clicks/"), [404]),
            "empty lines before": (b"\r\n\r\n" + plain, [200]),
            "zeros before a length": (plain.replace(b": 10", b": 0010"), [200]),
            "blanks about a value": (plain.replace(b": 10", b": \t10 \t"), [200]),
            "other letters": (plain.replace(b"Content-Length", b"cONTENT-lENGTH"), [200]),
            "extensions, trailers": (CHUNKED.replace(b"Host", close + b"Host") + b'a;x="y"\r\n' +
                                     EVENT + b"\r\n0;z\r\nX: y\r\n\r\n", [200]),
            "HEAD": (plain.replace(b"POST", b"HEAD"), [405]),
            "OPTIONS": (plain.replace(b"POST", b"OPTIONS"), [405]),
            "PUT": (plain.replace(b"POST", b"PUT"), [405]),
            "OPTIONS *": (get.replace(b"GET /px/clicks?id=p", b"OPTIONS *"), [404]),
            "POST of a pixel": (get.replace(b"GET", b"POST"), [405]),
            "body in a GET": (get.replace(b"Host", b"Content-Length: 10\r\nHost") + EVENT, [200]),
            "256 parameters": (get.replace(b"id=p", b"id=p" + b"&x=y" * 255), [200]),
            "257 parameters": (get.replace(b"id=p", b"id=p" + b"&x=y" * 256), [400]),
            "another expectation": (PLAIN.replace(b"Host", b"Expect: x\r\nHost"), [417]),
            "in advance, in vain": (PLAIN.replace(b"Host", b"Expect: 100-continue\r\nHost")
                                    .replace(b"clicks", b"nothing")[:-10], [404]),
            "three at once": (PLAIN + PLAIN.replace(EVENT, b'{"id":"b"}') + plain, [200] * 3),
            "good, bad, good": (PLAIN + PLAIN.replace(EVENT, b"nonsense!!") +
                                PLAIN.replace(b"clicks", b"nothing") + plain, [200, 400, 404, 200]),
            "behind the last": (plain + HIDDEN, [200]),
        }
        for name, (data, expected) in cases.items():
            with self.subTest(name):
                answer = self.exchange(agent, data)
                if b" HEAD" in b" " + data[:5]:
                    self.assertTrue(answer.endswith(b"\r\n\r\n"))
                    answer = re.sub(rb"Content-Length: \d+", b"Content-Length: 0", answer)
                self.assertEqual(statuses(answer), expected)
        with self.subTest("100-continue"):
            connection = self.open(agent)
            connection.sendall(PLAIN.replace(b"Host", b"Expect: 100-continue\r\nHost")[:-10])
            self.assertEqual(connection.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.sendall(EVENT)
            self.assertEqual(statuses(connection.recv(4096)), [200])
        with self.subTest("HTTP/1.0 that stays"):
            connection = self.open(agent)
            for _ in range(2):
                connection.sendall(PLAIN.replace(b"1.1", b"1.0\r\nConnection: Keep-Alive"))
                answer = answers_of(connection.recv(4096))[0]
                self.assertEqual((answer[0], answer[1]["connection"]), (200, "keep-alive"))
        with self.subTest("byte by byte"):
            connection = self.open(agent)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for data in (PLAIN, CHUNKED + b"a\r\n" + EVENT + END):
                for at in range(len(data)):
                    connection.sendall(data[at:at + 1])
                self.assertEqual(statuses(connection.recv(4096)), [200])
        self.rests(agent)
        agent.stop()

    def test_bad_input_is_named(self):
        """Whoever is refused must learn what of it, where, and by which limit."""
        token = self.lake.write("token", "s3cret\n")
        agent = self.start("--http-token-file", token, "--http-body-bytes", "4KiB",
                           "--http-expanded-bytes", "8KiB", "--limits-event-bytes", "1KiB")
        head = HEAD.replace(b"Host", b"Authorization: Bearer s3cret\r\nConnection: close\r\nHost")

        def post(body, more=b"", start=head):
            data = start + more + b"Content-Length: %d\r\n\r\n" % len(body) + body
            return answers_of(self.exchange(agent, data))[0]

        def events(answer, status, counts, places):
            said = json.loads(answer[2])
            self.assertEqual((answer[0], said["accepted"], said["refused"]), (status, *counts))
            self.assertEqual([(error["line"], error["column"], error["reason"])
                              for error in said["errors"]], places)

        gzipped, long = b"Content-Encoding: gzip\r\n", b'{"id":"%s"}' % (b"x" * 1100)
        events(post(b'{"id":}'), 400, (0, 1), [(1, 7, "syntax")])
        events(post(EVENT + b"\n\n  [1]\n"), 207, (1, 1), [(3, 3, "no_object")])
        events(post(b'[{"id":"b"},\n {"ix":1}]'), 207, (1, 1), [(2, 2, "required")])
        events(post(EVENT + b"\n" + long), 207, (1, 1), [(2, 1, "size")])
        said = self.refusal(post(EVENT, start=head.replace(b"clicks", b"nothing")), 404,
                            "no_such_table")
        self.assertIn("configuration", said)
        # The agent's own: a stranger's row there would pass for what the agent found.
        self.refusal(post(EVENT, start=head.replace(b"clicks", b"dead_letters")), 404,
                     "no_such_table")
        self.assertIn("4096", self.refusal(post(b" " * 4097), 413, "too_large"))
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n1001\r\n" + b" " * 4097 + END
        self.assertIn("4096", self.refusal(answers_of(self.exchange(agent, chunked))[0], 413,
                                           "too_large"))
        large = gzip.compress(b" " * 9000)
        self.assertIn("8192", self.refusal(post(large, gzipped), 413, "too_large"))
        self.refusal(post(EVENT, b"X: " + b"y" * 17000 + b"\r\n"), 431, "too_large")
        self.refusal(post(EVENT, b"X: y\r\n" * 99), 431, "too_large")
        self.refusal(post(EVENT, start=head.replace(b"clicks", b"x" * 17000)), 414, "too_large")
        self.refusal(post(EVENT, b"Content-Encoding: br\r\n"), 415, "unsupported_encoding")
        self.refusal(post(EVENT, gzipped * 2), 415, "unsupported_encoding")
        self.refusal(post(EVENT, gzipped), 400, "bad_encoding")
        for words in (b"s3creT", b"s3cre", b"s3crett", b"", b"S3CRET"):
            answer = post(EVENT, start=head.replace(b"s3cret", words))
            self.refusal(answer, 401, "unauthorized")
            self.assertEqual(answer[1]["www-authenticate"], "Bearer")
        self.refusal(post(EVENT, start=head.replace(b"Bearer", b"Basic")), 401, "unauthorized")
        self.assertEqual(post(EVENT, start=head.replace(b"Bearer", b"bearer"))[0], 200)
        self.refusal(post(EVENT, b"Idempotency-Key: " + b"k" * 65 + b"\r\n"), 400, "bad_key")
        law = [agent.metric(f"bidlake_capture_events_{name}_total")
               for name in ("received", "kept", "refused")]
        self.assertEqual(law, [8, 4, 4])
        self.in_table(agent, {"a": 3, "b": 1})

    def test_a_refusal_is_heard(self):
        """Who is refused while he sends must hear it: a reset must not overtake the answer."""
        agent = self.start("--http-body-bytes", "1KiB")
        body = b" " * (8 << 20)
        for start in (HEAD + b"Content-Length: %d\r\n\r\n" % len(body),
                      CHUNKED + b"%x\r\n" % len(body), HEAD + b"X\r\n\r\n"):
            for _ in range(5):
                with contextlib.closing(self.open(agent)) as connection:
                    connection.sendall(start + body)
                    answer = b""
                    while got := connection.recv(65536):
                        answer += got
                self.assertIn(statuses(answer), ([413], [400]))
        agent.stop()

    def test_a_body_nobody_wants(self):
        """A body that is of no use, of a pixel or of a stranger without the token, takes no memory
        from those that are."""
        token = self.lake.write("token", "s3cret\n")
        agent = self.start("--http-body-bytes", "48MiB", "--http-token-file", token)
        body = b" " * (40 << 20)
        length = b" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        for start, status in ((b"GET /px/clicks?id=a", 200), (b"POST /v1/events/clicks", 401)):
            first, second = self.open(agent), self.open(agent)
            for connection in (first, second):
                connection.sendall(start + length + body[1:])
            for connection in (second, first):
                connection.sendall(body[:1])
                self.assertEqual(statuses(connection.recv(4096)), [status])
        self.in_table(agent, {"a": 2})

    def test_token_file(self):
        """An empty file must not mean that nobody is asked; a new one holds after a reload."""
        for content in ("", "\n", "x" * 300):
            token = self.lake.write("token", content)
            result = self.lake.agent("run", "--listen", "http:127.0.0.1:0", "--http-token-file", token)
            self.assertNotEqual(result.code, lake.DONE)
            self.assertIn("token", result.err)

    def test_full_is_told(self):
        agent = self.start("--spool-bytes", "16MiB", "--roll-age", "1h")
        os.rename(self.lake.warehouse, self.lake.path("away"))
        self.lake.write("warehouse", "")
        lines = b"".join(b'{"id":"%d","landing_page":"%s"}\n' % (n, b"x" * 900) for n in range(1000))
        data = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(lines) + lines
        answer = until(lambda: (got := answers_of(self.exchange(agent, data))[0])[0] != 200 and got,
                       "full")
        self.refusal(answer, 503, "full")
        self.assertGreater(int(answer[1]["retry-after"]), 0)
        os.remove(self.lake.warehouse)
        os.rename(self.lake.path("away"), self.lake.warehouse)

    def test_threads(self):
        """One address, several loops: what all of them do is one door's."""
        agent = self.start("--listen", "http:127.0.0.1:0?threads=3")
        with open("/proc/net/tcp", encoding="utf-8") as table:
            listening = [line for line in table if f":{agent.port:04X} 00000000:0000 0A" in line]
        self.assertEqual(len(listening), 3)
        held = [agent.connect() for _ in range(40)]
        for n, connection in enumerate(held):
            self.addCleanup(connection.close)
            self.assertEqual(agent.post("clicks", b'{"id":"n%d"}' % (n % 20),
                                        {"Idempotency-Key": f"k{n % 20}"}, connection)[0], 200)
        text = agent.get("/metrics", agent.operations)[1].decode()
        self.assertEqual(re.findall(r'^bidlake_source_connections\{source="http".* (\d+)$', text, re.M),
                         ["40"])
        status = json.loads(agent.get("/v1/status", agent.operations)[1])
        self.assertEqual([one["requests"] for one in status["sources"]], [40])
        for threads in ("", "?threads=2"):
            result = self.lake.agent("run", "--listen", f"http:127.0.0.1:{agent.port}{threads}",
                                     spool=self.lake.path("other"), code=lake.FAILED)
            self.assertIn("in use", result.err)
        self.in_table(agent, {f"n{n}": 1 for n in range(20)})

    def test_several_listeners(self):
        """A sender that tries again may come to another one: its key holds there, too."""
        agent = self.start("--listen", "http:127.0.0.1:0,http:127.0.0.1:0")
        first, second = map(int, re.findall(r"kind=http address=\S+:(\d+)", agent.log()))
        key = {"Idempotency-Key": "k"}
        agent.port = first
        self.assertEqual(agent.post("clicks", b'{"id":"a"}\nx\n', key)[0], 207)
        agent.port = second
        self.assertEqual(agent.post("clicks", b'{"id":"other"}', key)[0], 207)
        self.assertEqual(agent.post("clicks", b'{"id":"b"}')[0], 200)
        # Both at once: the one waits for the other's answer.
        answers = []

        def send(port, name):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
                for n in range(100):
                    answers.append(agent.post("clicks", json.dumps({"id": f"n{n}-{name}"}),
                                              {"Idempotency-Key": f"n{n}"}, connection)[0])

        senders = [threading.Thread(target=send, args=(port, port)) for port in (first, second)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        self.assertEqual(answers, [200] * 200)
        self.assertEqual(agent.metric(KEPT), 102)
        self.assertEqual(agent.metric("bidlake_source_keys"), 101)
        agent.stop()


class Compressed(Doors):
    def send(self, agent, body, encoding):
        data = (HEAD + b"Connection: close\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n"
                % (encoding, len(body)) + body)
        return answers_of(self.exchange(agent, data))[0]

    @staticmethod
    def frame(*blocks, window_log=20):
        """A zstd frame of (kind, size, bytes), without a checksum."""
        out = b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3])
        for at, (kind, size, data) in enumerate(blocks):
            out += struct.pack("<I", size << 3 | kind << 1 | (at == len(blocks) - 1))[:3] + data
        return out

    def test_bombs(self):
        """A few KiB that become gigabytes must take neither memory nor the others' time."""
        agent = self.start("--http-expanded-bytes", "1MiB")
        raw, rle = 0, 1
        event = (raw, len(EVENT), EVENT)
        spaces = [(rle, 128 << 10, b" ")] * 8192
        skipped = b"\x50\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello"
        inner = gzip.compress(gzip.compress(EVENT))
        gigabyte = gzip.compress(b" " * (1 << 24)) * 64
        cases = {
            "gzip, 1000 to 1": (gzip.compress(b" " * (64 << 20)), b"gzip", 413),
            "gzip, many members": (gigabyte, b"gzip", 413),
            "zstd, a GiB": (self.frame(*spaces), b"zstd", 413),
            "zstd, a window of 128 MiB": (self.frame(event, window_log=27), b"zstd", 400),
            "zstd, a window of 8 MiB": (self.frame(event, window_log=23), b"zstd", 200),
            "zstd, frames": (self.frame(event) + skipped + self.frame(event), b"zstd", 400),
            "zstd, frames and a line end": (self.frame(event, (raw, 1, b"\n")) + skipped +
                                            self.frame(event), b"zstd", 200),
            "gzip in gzip": (inner, b"gzip", 400),
            "gzip, garbage behind": (gzip.compress(EVENT) + b"garbage", b"gzip", 400),
            "gzip, empty": (gzip.compress(b""), b"gzip", 400),
            "nothing": (b"", b"gzip", 400),
            "zstd, nothing": (b"", b"zstd", 400),
            "gzip as zstd": (gzip.compress(EVENT), b"zstd", 400),
            "X-GZIP": (gzip.compress(EVENT), b"X-GZIP", 200),
        }
        for name, (body, encoding, status) in cases.items():
            with self.subTest(name):
                self.assertEqual(self.send(agent, body, encoding)[0], status)
        with open(f"/proc/{agent.process.pid}/status", encoding="utf-8") as text:
            anonymous = int(re.search(r"RssAnon:\s+(\d+)", text.read())[1])
        if not is_sanitized():
            self.assertLess(anonymous, 40 << 10)
        self.in_table(agent, {"a": 4})

    def test_others_are_served_first(self):
        """A body that is dear to take must keep waiting who sent it, and nobody else."""
        agent = self.start()
        body = gzip.compress(b"\n" * (31 << 20))
        dear = (HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        cheap = HEAD + b"Content-Length: 1\r\n\r\nx"
        first, other = self.open(agent), self.open(agent)
        sooner = 0
        for _ in range(10):
            first.sendall(dear[:-1])
            other.sendall(cheap)
            self.assertEqual(statuses(other.recv(4096)), [400])
            first.sendall(dear[-1:])
            other.sendall(cheap)
            self.assertEqual(statuses(other.recv(4096)), [400])
            sooner += not select.select([first], [], [], 0)[0]
            self.assertEqual(statuses(first.recv(4096)), [400])
        self.assertGreater(sooner, 5)
        agent.stop()

    def test_the_usual_batch_needs_no_other_thread(self):
        """A hundred events of a kB are taken sooner than another thread is woken up."""
        agent = self.start()
        self.rests(agent, "http-large")
        before = self.switches(agent, "http-large")
        for at in range(10):
            lines = b"".join(b'{"id":"%d-%d","seat":"%s"}\n' % (at, n, b"s" * 1000) for n in range(100))
            self.assertEqual(agent.post("clicks", lines), (200, {"accepted": 100, "refused": 0}))
        if not is_sanitized():
            self.assertEqual(self.switches(agent, "http-large"), before)
        self.assertEqual(agent.post("clicks", lines * 6), (200, {"accepted": 600, "refused": 0}))
        self.assertNotEqual(self.switches(agent, "http-large"), before)
        agent.stop()

    def test_a_large_request_s_key(self):
        """A large request goes another way than a small one; its key holds there, too."""
        agent = self.start()
        lines = b"".join(b'{"id":"n%d"}\n' % n for n in range(50000))
        for body, more in ((lines, {}), (gzip.compress(lines), {"Content-Encoding": "gzip"}),
                           (lines[:10], {})):
            headers = {"Idempotency-Key": "k", **more}
            self.assertEqual(agent.post("clicks", body, headers),
                             (200, {"accepted": 50000, "refused": 0}))
        self.in_table(agent, {f"n{n}": 1 for n in range(50000)})

    def test_large_requests_of_one_key(self):
        """Those that came while the first was under way hear its answer, on whatever thread."""
        agent = self.start()
        lines = b"".join(b'{"id":"n%d"}\n' % n for n in range(50000))
        others = [self.open(agent) for _ in range(8)]
        for n, other in enumerate([self.open(agent), *others]):
            key = b"Idempotency-Key: %s\r\n" % (b"k" if n > 0 else b"before")
            body = lines if n > 0 else lines.replace(b"n", b"m")
            other.sendall(HEAD + key + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        for other in others:
            self.assertEqual(json.loads(answers_of(other.recv(4096))[0][2]),
                             {"accepted": 50000, "refused": 0})
        self.in_table(agent, {f"{at}{n}": 1 for n in range(50000) for at in "nm"})

    def test_a_connection_s_turn_ends(self):
        """Many requests that came together are taken some at a time, others in between."""
        agent = self.start()
        body = gzip.compress(b"x\n" * 30000)
        dear = (HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        count = (20 << 10) // len(dear)
        cheap = HEAD + b"Content-Length: 1\r\n\r\nx"
        first, other = self.open(agent), self.open(agent)

        def answered_before():
            other.sendall(cheap)  # so that it is there, and the thread awake
            self.assertEqual(statuses(other.recv(4096)), [400])
            first.sendall(dear * count)
            other.sendall(cheap)
            self.assertEqual(statuses(other.recv(4096)), [400])
            first.setblocking(False)
            data = b""
            with contextlib.suppress(BlockingIOError):
                data = first.recv(1 << 20)
            before = data.count(b"HTTP/1.1 400")
            first.setblocking(True)
            while data.count(b"]}\n") < count:
                data += first.recv(1 << 20)
            self.assertEqual(statuses(data), [400] * count)
            return before

        self.assertLess(max(answered_before() for _ in range(3)), count // 2)
        self.rests(agent)
        agent.stop()

    def test_nonsense_has_an_end(self):
        """A request of a million bad lines is given up, and nothing of it is taken."""
        agent = self.start()
        lines = EVENT + b"\n" + b"x\n" * 500000 + EVENT + b"\n"
        answer = self.send(agent, gzip.compress(lines), b"gzip")
        said = json.loads(answer[2])
        self.assertEqual((answer[0], said["accepted"], said["refused"]), (207, 2, 500000))
        answer = self.send(agent, gzip.compress(lines.replace(b"x\n", b"x\nx\n")), b"gzip")
        self.assertIn("500000", self.refusal(answer, 413, "too_large"))
        law = [agent.metric(f"bidlake_capture_events_{name}_total")
               for name in ("received", "kept", "refused")]
        self.assertEqual(law, [1000004, 2, 1000002])
        self.in_table(agent, {"a": 2})

    def test_room_is_given_back(self):
        """One large request must not leave the agent large for the rest of its life."""
        agent = self.start()

        def anonymous():
            with open(f"/proc/{agent.process.pid}/status", encoding="utf-8") as text:
                return int(re.search(r"RssAnon:\s+(\d+)", text.read())[1])

        before = anonymous()
        spaces = gzip.compress(b" " * (30 << 20) + EVENT)
        self.assertEqual(self.send(agent, spaces, b"gzip")[0], 200)
        self.assertEqual(self.send(agent, gzip.compress(b" " * (40 << 20)), b"gzip")[0], 413)
        self.assertEqual(agent.post("clicks", EVENT)[0], 200)
        if not is_sanitized():
            self.assertLess(anonymous() - before, 16 << 10)
        agent.stop()

    def test_cut_and_damaged(self):
        """What was cut on the way is no event, wherever it was cut; a flipped bit makes no other."""
        agent = self.start()
        frame = self.frame((0, len(EVENT), EVENT))
        taken = 0
        for encoding, body in ((b"gzip", gzip.compress(EVENT)), (b"zstd", frame)):
            for at in range(len(body)):
                self.assertEqual(self.send(agent, body[:at], encoding)[0], 400, (encoding, at))
        body = gzip.compress(EVENT)
        for bit in range(len(body) * 8):
            wrong = bytearray(body)
            wrong[bit // 8] ^= 1 << bit % 8
            status = self.send(agent, wrong, b"gzip")[0]
            self.assertIn(status, (200, 400))
            taken += status == 200
        self.assertLess(taken, 70)  # of the header, which no checksum covers
        self.in_table(agent, {"a": taken})


class Slow(Doors):
    TIMEOUTS = "bidlake_source_timeouts_total"

    def dribble(self, connections, data, answered):
        """One byte of `data` after the other, the last one again and again."""
        at = 0
        while True:
            gone = 0
            for connection in connections:
                try:
                    connection.send(data[min(at, len(data) - 1):][:1])
                except OSError:
                    gone += 1
            at += 1
            if gone == len(connections) or answered.wait(0.02):
                return

    def test_dribblers_are_ended(self):
        """A byte now and then must not hold a connection for ever, nor hold up the others."""
        agent = self.start("--http-head-time", "700ms", "--http-body-time", "700ms")
        heads = [self.open(agent) for _ in range(20)]
        bodies = [self.open(agent) for _ in range(20)]
        chunks = [self.open(agent) for _ in range(20)]
        for connection in bodies:
            connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
        for connection in chunks:
            connection.sendall(CHUNKED)
        done = threading.Event()
        senders = [threading.Thread(target=self.dribble, args=how) for how in
                   ((heads, HEAD + b"X: y", done), (bodies, b"{", done), (chunks, b"1\r\n{\r\n1;x", done))]
        for sender in senders:
            sender.start()
        try:
            with contextlib.closing(agent.connect()) as connection:
                while agent.metric(self.TIMEOUTS) < 60:
                    self.assertEqual(agent.post("clicks", EVENT, None, connection)[0], 200)
                for one in heads + bodies + chunks:
                    status, _, body = answers_of(drain(one))[0]
                    self.assertEqual((status, json.loads(body)["error"]), (408, "timeout"))
        finally:
            done.set()
            for sender in senders:
                sender.join()
        until(lambda: agent.metric("bidlake_source_connections") == 0, "all are closed")
        self.rests(agent)
        agent.stop()

    def test_slow_but_whole(self):
        """The negative control: who is done in time is served, as slowly as he likes."""
        agent = self.start()
        connection = self.open(agent)
        for at in range(0, len(PLAIN), 7):
            connection.sendall(PLAIN[at:at + 7])
            agent.metric(KEPT)
        self.assertEqual(statuses(connection.recv(4096)), [200])
        agent.stop()

    def test_half_open(self):
        """Peers that vanish, hang up half or reset: their connections go, their events do not."""
        agent = self.start("--http-idle", "1s")
        silent = [self.open(agent) for _ in range(5)]
        half = self.open(agent)
        half.sendall(PLAIN)
        half.shutdown(socket.SHUT_WR)
        self.assertEqual(statuses(drain(half)), [200])
        cut = self.open(agent)
        cut.sendall(HEAD + b"Content-Length: 100\r\n\r\n" + EVENT)
        cut.shutdown(socket.SHUT_WR)
        self.assertEqual(drain(cut), b"")
        for n in range(20):
            reset = self.open(agent)
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reset.sendall(PLAIN if n % 2 else PLAIN[:-1])
            reset.close()
        for connection in silent:
            self.assertEqual(drain(connection), b"")  # after http.idle, without a word
        until(lambda: agent.metric("bidlake_source_connections") == 0, "all are closed")
        kept = agent.metric(KEPT)
        self.assertGreaterEqual(kept, 1)
        self.rests(agent)
        self.in_table(agent, {"a": int(kept)})

    def test_answers_nobody_reads(self):
        """Who asks and does not listen fills his own window, not the agent's memory."""
        agent = self.start("--http-idle", "1s")
        connection = self.open(agent)
        body = b"x\n" * 20
        request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        connection.settimeout(0.2)
        try:
            for _ in range(20000):
                connection.sendall(request * 20)
        except (TimeoutError, OSError):
            pass
        self.assertEqual(agent.post("clicks", EVENT)[0], 200)
        until(lambda: agent.metric(self.TIMEOUTS) == 1, "it is given up")
        agent.stop()


class Many(Doors):
    def test_more_than_the_limit(self):
        """Beyond the limit one is told so; who goes makes room; those that are there are served."""
        agent = self.start("--http-connections", "20")
        held = [self.open(agent) for _ in range(20)]
        until(lambda: agent.metric("bidlake_source_connections") == 20, "20 connections")
        for _ in range(5):
            with contextlib.closing(self.open(agent)) as connection:
                answer = answers_of(drain(connection))[0]
            self.assertIn("connections", self.refusal(answer, 503, "full"))
            self.assertEqual(answer[1]["retry-after"], "1")
        self.assertEqual(agent.metric("bidlake_source_connections_refused_total"), 5)
        held[0].sendall(PLAIN)
        self.assertEqual(statuses(held[0].recv(4096)), [200])
        held.pop().close()
        until(lambda: agent.metric("bidlake_source_connections") < 20, "room")
        self.assertEqual(agent.post("clicks", EVENT)[0], 200)
        agent.stop()

    def test_heads_that_never_end(self):
        """Heads that are not whole, and requests behind others, share a bounded room: who fills it
        is told so, whole requests are served all the same, and nobody is cut without a word."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        agent = self.start("--http-connections", "1000")
        agent.metric(KEPT)

        def anonymous():
            with open(f"/proc/{agent.process.pid}/status", encoding="utf-8") as text:
                return int(re.search(r"RssAnon:\s+(\d+)", text.read())[1])

        before, held = anonymous(), []
        self.addCleanup(lambda: [one.close() for one in held])
        # 15 KiB each, then less and less, until there is no room for a few bytes.
        for size, count in ((15000, 600), (4000, 60), (900, 60), (100, 120)):
            some = [self.open(agent) for _ in range(count)]
            for one in some:
                one.sendall(HEAD + b"X: " + b"y" * size)
            told = select.select(some, [], [], lake.DEADLINE)[0]
            self.assertEqual((statuses(told[0].recv(4096)), bool(told)), ([503], True))
            held += some
        if not is_sanitized():
            self.assertLess(anonymous() - before, 6 << 10)
        # At once, or with a body of its own, a request needs no room.
        self.assertEqual(self.exchange(agent, PLAIN.replace(b"Host", b"Connection: close\r\nHost"))
                         .count(b" 200 OK"), 1)
        # Behind one that waits for the disk there is none for the others: they were not taken.
        answers = answers_of(self.exchange(agent, PLAIN * 500))
        self.assertEqual({status for status, _, _ in answers}, {200})
        self.assertEqual(answers[-1][1]["connection"], "close")
        self.assertLess(len(answers), 500)
        # A head whose body is still to come.
        self.assertEqual(statuses(self.exchange(agent, PLAIN[:-1])), [503])
        for one in held:
            one.close()
        until(lambda: agent.metric("bidlake_source_connections") == 0, "all are closed")
        connection = self.open(agent)
        for piece in (PLAIN[:20], PLAIN[20:-1], PLAIN[-1:]):
            connection.sendall(piece)
            agent.metric(KEPT)
        self.assertEqual(statuses(connection.recv(4096)), [200])
        connection.sendall(PLAIN * 500)
        data = b""
        while data.count(b"HTTP/1.1 200") < 500 or not data.endswith(b"}\n"):
            data += connection.recv(65536)
        self.rests(agent)
        self.in_table(agent, {"a": 502 + len(answers)})

    def test_few_descriptors(self):
        """Connections must not take the descriptors that the spool and the uploads need."""
        agent = self.start(prefix=("sh", "-c", 'ulimit -n 300 && exec "$@"', "sh"))
        self.assertRegex(agent.log(), "too low for http.connections.* limit=300 .*connections=")
        limit = int(re.search(r" connections=(\d+)", agent.log())[1])
        self.assertIn(limit, range(10, 30))
        with contextlib.closing(agent.connect()) as connection:
            self.assertEqual(agent.post("clicks", EVENT, None, connection)[0], 200)
            held = [self.open(agent) for _ in range(400)]
            turned_away = "bidlake_source_connections_refused_total"
            until(lambda: agent.metric(turned_away) == 401 - limit, "all have come")
            before = len(self.lake.inbox("clicks"))
            self.assertEqual(agent.post("clicks", b'{"id":"b"}', None, connection)[0], 200)
            until(lambda: len(self.lake.inbox("clicks")) > before, "it goes on its way")
            self.rests(agent)
            self.assertNotIn("Too many open files", agent.log())
        for one in held:
            one.close()
        self.in_table(agent, {"a": 1, "b": 1})

    def test_bodies_that_never_end(self):
        """What http.connections adds to memory.max must hold for requests under way, too."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        agent = self.start()

        def anonymous():
            with open(f"/proc/{agent.process.pid}/status", encoding="utf-8") as text:
                return int(re.search(r"RssAnon:\s+(\d+)", text.read())[1])

        self.assertEqual(agent.post("clicks", EVENT)[0], 200)
        before = anonymous()
        held = [self.open(agent) for _ in range(4000)]
        for one in held:
            one.sendall(PLAIN[:-9])
        for one in held[:100]:  # so that all that came before was read
            one.sendall(PLAIN[-9:])
            self.assertEqual(statuses(one.recv(4096)), [200])
        requests = "bidlake_source_received_bytes_total"
        self.assertEqual(agent.metric(requests), 1010)
        each = (anonymous() - before) * 1024 / len(held)
        print(f"{each:.0f} bytes for each request under way", flush=True)
        if not is_sanitized():
            self.assertLess(each, 1300)
        for one in held:
            one.close()
        self.in_table(agent, {"a": 101})

    COUNT = 10000

    def test_ten_thousand_connections(self):
        """Each holds its connection and gets a durable answer; a connection costs little."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.assertGreater(hard, self.COUNT + 1000, "ulimit -Hn: too few descriptors for this test")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        agent = self.start()

        def anonymous():
            with open(f"/proc/{agent.process.pid}/status", encoding="utf-8") as text:
                return int(re.search(r"RssAnon:\s+(\d+)", text.read())[1])

        before = anonymous()
        held = {}
        self.addCleanup(lambda: [one.close() for one in held.values()])
        for _ in range(self.COUNT):
            one = socket.create_connection(("127.0.0.1", agent.port), timeout=lake.DEADLINE)
            held[one.fileno()] = one
        until(lambda: agent.metric("bidlake_source_connections") == self.COUNT, "all are open")
        idle = anonymous()
        waiting = select.epoll()
        self.addCleanup(waiting.close)
        for n, one in enumerate(held.values()):
            body = b'{"id":"n%d"}' % n
            one.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            waiting.register(one.fileno(), select.EPOLLIN)
        left = set(held)
        while left:
            ready = waiting.poll(lake.DEADLINE)
            self.assertTrue(ready, f"{len(left)} answers are missing")
            for fd, _ in ready:
                self.assertEqual(statuses(held[fd].recv(4096)), [200])
                waiting.unregister(fd)
                left.discard(fd)
        self.assertEqual(agent.metric("bidlake_source_connections"), self.COUNT)
        each = (idle - before) * 1024 / self.COUNT
        print(f"{self.COUNT} connections: {each:.0f} bytes each, {anonymous()} KiB anonymous",
              flush=True)
        if not is_sanitized():
            self.assertLess(each, 1024)
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {f"n{n}": 1 for n in range(self.COUNT)})


class Mutated(Doors):
    """Streams of requests that are valid but for a few places, in pieces as the network likes."""
    LINES = [b"Content-Length: 10", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Host: y",
             b"Content-Encoding: gzip", b"Connection: close", b"Expect: 100-continue", b" folded",
             b"Connection: keep-alive", b"X: " + b"y" * 500]
    PIECES = [b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b";", b"0", b"a", b"-", b"\x80", b"%00",
              b"\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.1", b"ffffffffffffffff"]

    def request(self, rng, name):
        event = b'{"id":"%s"}' % name
        body = rng.choice([event, event + b"\n" + event, b"[%s,\n%s]" % (event, event),
                           event + b"\nbad\n"])
        kind = rng.randrange(6)
        if kind == 0:
            return b"GET /px/clicks?id=%s&x=%%20 HTTP/1.1\r\nHost: x\r\n\r\n" % name
        head = HEAD
        if kind == 1:
            body, head = gzip.compress(body), head + b"Content-Encoding: gzip\r\n"
        elif kind == 2:
            body = Compressed.frame((0, len(body), body))
            head += b"Content-Encoding: zstd\r\n"
        if kind < 4:
            return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        at = rng.randrange(1, len(body))
        chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(part), rng.choice([b"", b";x=y"]), part)
                          for part in (body[:at], body[at:]))
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"

    def mutate(self, rng, data):
        data = bytearray(data)
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(data))
            how = rng.randrange(6)
            if how == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif how == 1:
                data[at:at] = rng.choice(self.PIECES)
            elif how == 2:
                del data[at:at + rng.randrange(1, 20)]
            elif how == 3:
                data[at:at + 1] = rng.choice(self.PIECES)
            elif how == 4:
                line = data.find(b"\r\n", at)
                if line >= 0:
                    data[line:line] = b"\r\n" + rng.choice(self.LINES)
            else:
                data[at:at] = data[at:at + rng.randrange(1, 60)]
            if not data:
                return b"\r\n"
        return bytes(data)

    def play(self, agent, rng, data):
        """What comes back for the bytes, sent in pieces, until both sides are done."""
        with contextlib.closing(self.open(agent)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while data:
                    size = rng.choice([1, 7, 100, 4096])
                    connection.sendall(data[:size])
                    data = data[size:]
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            return drain(connection)

    def test_mutated_streams(self):
        """Whatever comes: the agent lives, each answer is one, and what it says was taken is there."""
        agent = self.start()
        rng = random.Random(20261121)
        accepted, seen = 0, set()
        for n in range(MUTATIONS):
            stream = b"".join(self.request(rng, b"n%d-%d" % (n, i)) for i in range(rng.randrange(1, 4)))
            stream = self.mutate(rng, stream)
            answers = answers_of(self.play(agent, rng, stream))
            for status, fields, body in answers:
                seen.add(status)
                if fields.get("content-type") == "image/gif":
                    accepted += 1
                elif status != 100:
                    accepted += json.loads(body)["accepted"]
            self.assertIsNone(agent.process.poll(), agent.log()[-3000:])
        self.assertEqual(agent.metric(KEPT), accepted)
        law = [agent.metric(f"bidlake_capture_events_{name}") for name in
               ("received_total", "kept_total", "refused_total", "waiting")]
        self.assertEqual(law[0], law[1] + law[2] + law[3])
        self.assertLessEqual({200, 207, 400}, seen)
        until(lambda: agent.metric("bidlake_source_connections") == 0, "all are closed")
        self.rests(agent)
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id").total(), accepted)


class Unix(Doors):
    def listen(self, kind="unix", more="", *arguments):
        self.path = self.lake.path("clicks.sock")
        return self.start("--listen", f"http:127.0.0.1:0,{kind}:{self.path}?table=clicks{more}",
                          *arguments)

    def connect(self, kind=socket.SOCK_STREAM):
        connection = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(connection.close)
        connection.settimeout(lake.DEADLINE)
        connection.connect(self.path)
        return connection

    def anonymous(self, agent):
        with open(f"/proc/{agent.process.pid}/status", encoding="utf-8") as text:
            return int(re.search(r"RssAnon:\s+(\d+)", text.read())[1])

    def test_acks_nobody_reads(self):
        """Who does not read his acks must not stop himself nor others; the last has the sum."""
        agent = self.listen("unix", "&ack=lines")
        deaf, other = self.connect(), self.connect()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        lines = 0
        until(lambda: agent.metric("bidlake_source_connections") == 2, "two connections")
        for n in range(3000):
            deaf.sendall(b"%d\n" % n)  # no events: settled at once, an ack for each that is read alone
            lines += 1
        other.sendall(b'{"id":"a"}\n')
        self.assertEqual(other.recv(100), b"1\n")
        text = b""
        while not text.endswith(b"\n%d\n" % lines):
            text += deaf.recv(4096)
        self.rests(agent, "unix")
        agent.stop()

    def test_a_line_that_dribbles_is_handed_in_once(self):
        """What reads found is no request: a rate of them would say nothing."""
        agent = self.listen("unix", "&ack=lines")

        def door():
            sources = json.loads(agent.get("/v1/status", agent.operations)[1])["sources"]
            return next(source for source in sources if source["kind"] == "unix")

        connection, line = self.connect(), b'{"id":"a"}'
        for n in range(len(line)):
            connection.sendall(line[n:n + 1])
            until(lambda sent=n + 1: door()["bytes"] == sent, "it is read")
        self.assertEqual(door()["requests"], 0)
        connection.sendall(b"\n")
        self.assertEqual(connection.recv(100), b"1\n")
        self.assertEqual(door()["requests"], 1)
        agent.stop()

    def test_a_line_without_end(self):
        """128 MiB in one line are one dead letter, not 128 MiB of memory; what follows counts."""
        agent = self.listen("unix", "&ack=lines", "--limits-event-bytes", "1KiB")
        connection = self.connect()
        block = b"x" * (1 << 20)
        for _ in range(128):
            connection.sendall(block)
        if not is_sanitized():
            self.assertLess(self.anonymous(agent), 40 << 10)
        connection.sendall(b'\n{"id":"a"}\n')
        text = b""
        while not text.endswith(b"2\n"):
            text += connection.recv(4096)
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {"a": 1})
        self.assertEqual(len(self.lake.rows("dead_letters", ["position"])), 1)

    def test_the_last_line_has_no_end(self):
        """Half a close ends it, and it is acked like any other, however long it was."""
        agent = self.listen("unix", "&ack=lines", "--limits-event-bytes", "1KiB")
        for data, acks in ((b'{"id":"a"}', b"1\n"), (b"x" * 5000, b"1\n"),
                           (b'{"id":"b"}\n' + b"x" * (1 << 20), b"2\n"), (b"x" * 5000 + b"\n", b"1\n")):
            connection = self.connect()
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            found = b""
            while more := connection.recv(100):
                found += more
            self.assertTrue(("\n" + found.decode()).endswith("\n" + acks.decode()), (data[:20], found))
        self.in_table(agent, {"a": 1, "b": 1})
        self.assertEqual(len(self.lake.rows("dead_letters", ["position"])), 3)

    def test_many_connections(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        agent = self.listen("unix", "&ack=lines")
        held = [self.connect() for _ in range(3000)]
        for n, connection in enumerate(held):
            connection.sendall(b'{"id":"n%d"}\n' % n)
        for connection in held:
            self.assertEqual(connection.recv(100), b"1\n")
        self.in_table(agent, {f"n{n}": 1 for n in range(3000)})

    def begin_lines(self, count, size):
        """That many connections, each with as much of a line as is read; what is left of each."""
        left = {}
        for n in range(count):
            connection = self.connect()
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 10)
            left[connection] = b'{"id":"n%d"%s' % (n, b" " * size)
        return left

    def push(self, left, seconds=1.0):
        """Until nobody takes a byte for that time, or all is sent."""
        last = time.monotonic()
        while any(left.values()) and time.monotonic() < last + seconds:
            for connection, data in left.items():
                with contextlib.suppress(BlockingIOError):
                    if data:
                        left[connection] = data[connection.send(data[:1 << 16]):]
                        last = time.monotonic()

    def test_lines_that_do_not_end_are_bounded(self):
        """Whatever is begun at once: memory has a bound, each line can be finished all the same."""
        agent = self.listen("unix", "&ack=lines", "--memory-max", "152MiB")
        before = self.anonymous(agent)
        left = self.begin_lines(80, 900000)
        self.push(left)
        if not is_sanitized():
            self.assertLess(self.anonymous(agent) - before, 12 << 10)
        self.assertGreater(sum(map(bool, left.values())), 40)
        left = {connection: data + b"}\n" for connection, data in left.items()}
        self.push(left, lake.DEADLINE)
        for connection in left:
            connection.settimeout(lake.DEADLINE)
            self.assertEqual(connection.recv(100), b"1\n")
        self.assertEqual(agent.metric("bidlake_source_timeouts_total"), 0)
        self.in_table(agent, {f"n{n}": 1 for n in range(80)})

    def test_who_holds_the_room_is_sent_away(self):
        """When others want it: a line that does not end must not stop them for ever."""
        agent = self.listen("unix", "&ack=lines", "--memory-max", "152MiB", "--http-body-time", "1s")
        left = self.begin_lines(40, 900000)
        self.push(left, 0.1)
        other = self.connect()
        other.sendall(b'{"id":"other"}\n')
        self.assertEqual(other.recv(100), b"1\n")
        self.assertGreater(agent.metric("bidlake_source_timeouts_total"), 0)
        self.in_table(agent, {"other": 1})

    def test_more_than_the_limit_wait(self):
        """Beyond the limit of connections one waits to be taken, and is when another goes."""
        agent = self.listen("unix", "&ack=lines", "--http-connections", "3")
        held = [self.connect() for _ in range(5)]
        for n, connection in enumerate(held):
            connection.sendall(b'{"id":"n%d"}\n' % n)
        for connection in held:
            self.assertEqual(connection.recv(100), b"1\n")
            connection.close()
        self.in_table(agent, {f"n{n}": 1 for n in range(5)})

    def test_large_datagrams(self):
        agent = self.listen("unix_datagram", "", "--limits-event-bytes", "1KiB")
        sender = self.connect(socket.SOCK_DGRAM)
        for size in (100000, 0, 5119, 5120, 5121):
            sender.send(b"x" * size)
        sender.send(EVENT)
        until(lambda: agent.metric(KEPT) == 5, "four dead letters and an event")
        self.rests(agent, "unix")
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {"a": 1})
        self.assertEqual(len(self.lake.rows("dead_letters", ["position"])), 4)

    def test_a_busy_socket_is_in_use(self):
        """Somebody who listens and does not accept must not stop the start for ever."""
        path = self.lake.path("busy.sock")
        for kind, name in ((socket.SOCK_STREAM, "unix"), (socket.SOCK_DGRAM, "unix_datagram")):
            with socket.socket(socket.AF_UNIX, kind) as busy:
                busy.bind(path)
                waiting = []
                if kind == socket.SOCK_STREAM:
                    busy.listen(0)
                    with contextlib.suppress(BlockingIOError):
                        for _ in range(10):
                            waiting.append(socket.socket(socket.AF_UNIX, kind))
                            waiting[-1].setblocking(False)
                            waiting[-1].connect(path)
                for listen in ("unix", "unix_datagram"):
                    result = self.lake.agent("run", "--listen", f"{listen}:{path}?table=clicks",
                                             code=lake.FAILED)
                    self.assertIn("listens there already", result.err, (name, listen))
                for one in waiting:
                    one.close()
            os.unlink(path)
        self.lake.agent("run", "--listen", f"unix:{path}?table=clicks&group=no-such-group",
                        code=lake.USAGE)


class Operations(Doors):
    def test_it_never_stalls_events(self):
        """Whatever is done to the port of those who look, events are taken."""
        agent = self.start()
        held = []
        self.addCleanup(lambda: [one.close() for one in held])
        get = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        for n in range(200):
            held.append(socket.socket())
            held[-1].setblocking(False)
            held[-1].connect_ex(("127.0.0.1", agent.operations))
            with contextlib.suppress(OSError):  # beyond its limit one waits for the connection
                if n % 4 == 0:
                    held[-1].send(get * 100)  # and nobody reads the answers
                elif n % 4 == 1:
                    held[-1].send(b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n"
                                  b"\r\n" + b" " * 100000)
                elif n % 4 == 2:
                    held[-1].send(b"GET /" + b"x" * 100000)
        with contextlib.closing(agent.connect()) as connection:
            for _ in range(200):
                self.assertEqual(agent.post("clicks", EVENT, None, connection)[0], 200)
        for one in held:
            one.close()

        def answers():
            try:
                return agent.get("/healthz", agent.operations)[0].status == 200
            except (OSError, http.client.HTTPException):
                return False

        until(answers, "the port has room again")
        self.assertIsNone(agent.process.poll())
        self.in_table(agent, {"a": 200})


if __name__ == "__main__":
    unittest.main()
