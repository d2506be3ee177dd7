# SPDX-License-Identifier: Apache-2.0
"""All doors at once, while the agent is reloaded, flushed and looked at: what was answered is in
the tables, once. `make sanitize` runs it over builds with ASan, UBSan and TSan, which look for what
only comes when threads meet. BIDLAKE_LOAD_EVENTS: bid requests to make (6000)."""
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import unittest

import lake
from lake import DONE, end, until
from test_run import Agent, Case

EVENTS = int(os.environ.get("BIDLAKE_LOAD_EVENTS", "6000"))


class Load(Case):
    def setUp(self):
        super().setUp()
        self.stop, self.failures = threading.Event(), []
        self.done = {"stream": 0, "datagrams": 0, "keys": 0, "pixels": 0, "reloads": 0, "looks": 0,
                     "flushes": 0, "strangers": 0}

    def work(self, name, once):
        """Again and again until the generator is done; an error is the test's."""
        try:
            while not self.stop.is_set() and not self.failures:
                once(self.done[name])
                self.done[name] += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(f"{name}: {error!r}")

    def stream(self, path):
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(door.close)
        door.settimeout(lake.DEADLINE)
        door.connect(path)

        def once(n):
            door.sendall(b"".join(b'{"id":"s%d-%d"}\n' % (n, i) for i in range(10)))
            while not door.recv(4096).endswith(b"%d\n" % (10 * (n + 1))):
                pass
        return once

    def datagrams(self, path):
        door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(door.close)
        door.settimeout(lake.DEADLINE)
        door.connect(path)
        return lambda n: door.send(b'{"id":"d%d"}' % n)

    def keys(self, agent):
        """Two at once with the same key: one is taken."""
        def once(n):
            answers = []
            senders = [threading.Thread(target=lambda: answers.append(
                agent.post("impressions", '{"id":"k%d"}' % n, {"Idempotency-Key": f"k{n}"})))
                       for _ in range(2)]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            if answers != [(200, {"accepted": 1, "refused": 0})] * 2:
                raise AssertionError(answers)
        return once

    def stranger(self, agent):
        """Cut, reset and malformed requests between the good ones."""
        pieces = [b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
                  b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz",
                  b"GET /px/clicks HTTP/1.1\r\nHost: x\r\n\r\n" * 30, b"\x16\x03\x01", b""]

        def once(n):
            with contextlib.closing(agent.connect()) as connection:
                connection.connect()
                connection.sock.sendall(pieces[n % len(pieces)])
        return once

    def reload(self, agent, config):
        """Limits, token and mappings, good and bad by turns."""
        def once(n):
            body = "1MiB" if n % 2 else "2MiB"
            more = "nonsense: 1\n" if n % 5 == 4 else ""
            self.lake.write("agent.yaml", config + f"http: {{body_bytes: {body}}}\n" + more)
            words = "refused" if more else "were read again"
            before = agent.log().count(words)
            agent.process.send_signal(signal.SIGHUP)
            until(lambda: agent.log().count(words) > before or self.stop.is_set(), words)
        return once

    def look(self, agent):
        def once(n):
            path = ("/metrics", "/v1/status", "/readyz", "/")[n % 4]
            if agent.get(path, agent.operations)[0].status != 200:
                raise AssertionError(path)
        return once

    def flush(self, agent):
        def once(_):
            connection = http.client.HTTPConnection("127.0.0.1", agent.operations, timeout=lake.DEADLINE)
            with contextlib.closing(connection):
                connection.request("POST", "/v1/flush", b"", {"X-Bidlake-Operation": "1"})
                if connection.getresponse().status != 202:
                    raise AssertionError("flush")
            self.lake.once()
        return once

    def test_all_at_once(self):
        config = 'roll: {age: 300ms}\n'
        path = self.lake.write("agent.yaml", config)
        streams, datagrams = self.lake.path("s.sock"), self.lake.path("d.sock")
        agent = Agent(self.lake, "--config", path, "--listen",
                      f"http:127.0.0.1:0,unix:{streams}?table=clicks&ack=lines,"
                      f"unix_datagram:{datagrams}?table=clicks")
        self.addCleanup(end, agent.process)
        kinds = {"stream": self.stream(streams), "datagrams": self.datagrams(datagrams),
                 "keys": self.keys(agent), "reloads": self.reload(agent, config),
                 "pixels": lambda n: agent.get(f"/px/impressions?id=p{n}"),
                 "looks": self.look(agent), "flushes": self.flush(agent),
                 "strangers": self.stranger(agent)}
        threads = [threading.Thread(target=self.work, args=kind) for kind in kinds.items()]
        for thread in threads:
            thread.start()
        command = [os.path.join(lake.BUILD, "bidlake-gen"), "--to", f"http://127.0.0.1:{agent.port}",
                   "--events-per-second", "0", "--count", str(EVENTS), "--connections", "4",
                   "--batch", "20", "--seed", "7", "--json"]
        made = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        try:
            # Each has had its turn, too.
            until(lambda: self.failures or min(self.done.values()) > 4, "all of them at work")
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual((self.failures, made.returncode), ([], DONE), made.stderr + agent.log()[-2000:])
        self.assertIsNone(agent.process.poll(), agent.log()[-4000:])
        agent.stop()
        self.lake.once()
        made = json.loads(made.stdout)
        self.assertEqual(made["http"]["unanswered"], 0)
        for table in ("bid_requests", "bid_responses"):
            self.assertEqual(len(self.lake.rows(table)), made["tables"][table]["rows"], table)
        clicks = self.lake.ids("clicks", "click_id")
        own = {f"s{n}-{i}" for n in range(self.done["stream"]) for i in range(10)}
        own |= {f"d{n}" for n in range(self.done["datagrams"])}
        self.assertEqual({name: clicks[name] for name in own if clicks[name] != 1}, {})
        self.assertEqual(clicks.total(), len(own) + made["tables"]["clicks"]["rows"])
        impressions = self.lake.ids("impressions", "impression_id")
        self.assertEqual({n for n in range(self.done["keys"]) if impressions[f"k{n}"] != 1}, set())
        self.assertEqual({n for n in range(self.done["pixels"]) if impressions[f"p{n}"] != 1}, set())
        self.lake.check()


if __name__ == "__main__":
    unittest.main()
