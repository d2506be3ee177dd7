# SPDX-License-Identifier: Apache-2.0
"""Too much at once, too little room: what is refused, what goes on, numbers that add up."""
import base64
import contextlib
import glob
import gzip
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
import unittest

import lake
from lake import until
from test_run import Case


def lines(count, prefix="n", pad=0):
    """NDJSON of so many events for clicks or impressions."""
    fill = "x" * pad
    return "".join(f'{{"id":"{prefix}{n}","site_domain":"{fill}"}}\n'
                   for n in range(count)).encode()


class Bounds(Case):
    def test_request_that_can_never_fit(self):
        """Refused as full it would come again for ever; and of its events none may be kept."""
        agent = self.start("--spool-bytes", "16MiB")
        status, answer = agent.post("clicks", lines(6000, pad=1000))
        self.assertEqual((status, answer["accepted"], answer["error"]), (413, 0, "too_large"))
        self.assertIn("3 MiB of rows", answer["detail"])
        self.assertEqual(agent.post("clicks", lines(2000, pad=1000))[0], 200)
        counts = [agent.metric(f"bidlake_capture_events_{name}_total")
                  for name in ("received", "kept", "refused")]
        self.assertEqual(counts[1], 2000)
        self.assertEqual(counts[0], counts[1] + counts[2])
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {f"n{n}": 1 for n in range(2000)})


class Full(Case):
    """The store is away until the spool is full; then it is back. Nobody is told anything, all
    go on by themselves, and the numbers add up."""

    COUNT, PAD, BATCH = 2000, 1000, 100

    def setUp(self):
        super().setUp()
        self.back = threading.Event()
        self.failures = []

    def store_returns(self):
        self.lake.store_returns()
        self.back.set()

    def batches(self, prefix):
        events = lines(self.COUNT, prefix, self.PAD).splitlines(keepends=True)
        return [b"".join(events[n:n + self.BATCH]) for n in range(0, self.COUNT, self.BATCH)]

    def post_all(self, agent, table, prefix, note):
        """Each batch until it is taken; 503 names the time to come again."""
        connection = agent.connect()
        for batch in self.batches(prefix):
            while True:
                connection.request("POST", f"/v1/events/{table}", batch)
                answer = connection.getresponse()
                text = answer.read()
                note["status"].append(answer.status)
                if answer.status == 200:
                    break
                if answer.status != 503 or answer.headers["Retry-After"] is None:
                    self.failures.append((answer.status, text))
                    return
                time.sleep(0.02 if self.back.is_set() else 0.2)
        connection.close()

    def stream_all(self, path, prefix, note):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.connect(path)
            sender = threading.Thread(target=lambda: [door.sendall(batch) for batch in
                                                      self.batches(prefix)])
            sender.start()
            acked = b""
            while not acked.endswith(b"%d\n" % self.COUNT):
                acked = (acked + door.recv(4096))[-20:]
                note["acked"] = int(acked.split()[-1])
            sender.join()

    def send_datagrams(self, path, prefix, note):
        """One that is not taken is tried again: the kernel says so, it drops none."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.connect(path)
            door.setblocking(False)
            for event in lines(self.COUNT, prefix, self.PAD).splitlines():
                while True:
                    try:
                        door.send(event)
                        break
                    except BlockingIOError:
                        note["waits"] += 1
                        time.sleep(0.005)

    def test_all_doors(self):
        stream, datagram = self.lake.path("s.sock"), self.lake.path("d.sock")
        tailed = self.lake.path("events.ndjson")
        agent = self.start("--spool-bytes", "16MiB", "--listen",
                           f"http:127.0.0.1:0,unix:{stream}?table=clicks&ack=lines,"
                           f"unix_datagram:{datagram}?table=clicks,tail:{tailed}?table=clicks")
        self.lake.store_goes()
        filled = 0
        while agent.post("clicks", lines(100, f"f{filled}-", self.PAD))[0] == 200:
            filled += 1
        names = {f"f{n}-{i}": 1 for n in range(filled) for i in range(100)}
        names.update({f"{door}{n}": 1 for door in "hsdt" for n in range(self.COUNT)})
        self.lake.write("events.ndjson", lines(self.COUNT, "t", self.PAD))
        notes = {"status": [], "acked": 0, "waits": 0}
        threads = [threading.Thread(target=self.post_all, args=(agent, "clicks", "h", notes)),
                   threading.Thread(target=self.stream_all, args=(stream, "s", notes)),
                   threading.Thread(target=self.send_datagrams, args=(datagram, "d", notes))]
        for thread in threads:
            thread.start()
        kept = "bidlake_capture_events_kept_total"
        # All stand still: refused, not read, not taken from the kernel.
        until(lambda: notes["status"].count(503) > 2 and notes["waits"] > 20, "full doors")
        until(lambda: self.stands_still(agent, notes, kept), "all doors to stand still")
        self.assertLess(agent.metric(kept), len(names))
        # At the door, or where it came to be written.
        self.assertGreater(agent.metric("bidlake_capture_requests_full_total") +
                           agent.metric("bidlake_capture_events_refused_total"), 0)
        self.assertIn(b"FAIL room", agent.get("/readyz", agent.operations)[1])
        self.store_returns()
        for thread in threads:
            thread.join(60 * lake.PATIENCE)
            self.assertFalse(thread.is_alive(), notes)
        self.assertEqual(self.failures, [])
        self.assertGreater(notes["status"].count(503), 0)
        until(lambda: agent.metric(kept) == len(names), "all doors to be through")
        # Refused many times, said once.
        self.assertEqual(agent.log().count("events refused, the spool did not take them"), 1)
        received = agent.metric("bidlake_capture_events_received_total")
        refused = agent.metric("bidlake_capture_events_refused_total")
        waiting = agent.metric("bidlake_capture_events_waiting")
        self.assertEqual(received, len(names) + refused + waiting)
        agent.stop()
        self.start("--spool-bytes", "16MiB").stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), names)

    last = None

    def stands_still(self, agent, notes, kept):
        """The same as a moment ago, though each door has somebody who waits."""
        now = (agent.metric(kept), notes["acked"])
        before, self.last = self.last, now
        time.sleep(0.3)
        return now == before

    def test_bid_requests_before_clicks(self):
        """The end of the budget is for what is paid for."""
        agent = self.start("--spool-bytes", "16MiB")
        self.lake.store_goes()
        body = lines(100, "r", 1000).replace(b'"site_domain"', b'"site":{},"cur"')
        until(lambda: agent.post("bid_requests", body)[0] == 503, "bid requests to be refused")
        self.assertEqual(agent.post("clicks", lines(10))[0], 200)
        self.assertIn("higher priority", agent.post("bid_requests", body)[1]["detail"])
        self.assertEqual(agent.post("clicks", lines(10, "m"))[0], 200)
        self.store_returns()
        until(lambda: agent.post("bid_requests", body)[0] == 200, "bid requests to be taken again")
        agent.stop()


    def test_tables_that_fail_stop_no_other(self):
        """What is built of them and can't be uploaded holds the room for all that is built."""
        stuck = {"bid_requests": 5, "bid_responses": 5, "impressions": 5}
        agent = self.start("--spool-bytes", "16MiB")
        self.lake.store_goes()

        def post(table):
            field = b"cur" if table.startswith("bid_") else b"site_domain"
            body = b"".join(b'{"id":"%s","%s":"%s"}\n' % (
                os.urandom(8).hex().encode(), field, base64.b64encode(os.urandom(9000)))
                            for _ in range(50))
            return agent.post(table, body)[0]

        def fill(table, most):
            taken = 0
            while taken < most and post(table) == 200:
                taken += 1
            return taken * 50
        kept = {table: fill(table, most) for table, most in stuck.items()}
        self.assertEqual(set(kept.values()), {250})
        kept["clicks"] = fill("clicks", 1000)
        for table in stuck:
            self.lake.write(f"warehouse.away/db/{table}/data", b"in the way")
        self.store_returns()

        def count(table):
            return int(self.lake.table("count", table).out)

        def arrived():
            self.lake.once()
            return count("clicks") == kept["clicks"]
        until(arrived, "the other table's events", 60)
        for table in stuck:
            self.assertEqual(count(table), 0)
            os.remove(self.lake.path("warehouse", "db", table, "data"))
        agent.stop()
        self.lake.once()
        self.assertEqual({table: count(table) for table in kept}, kept)

    def test_bid_requests_are_dropped_for_clicks(self):
        """With drop_oldest all are taken; what goes are bid requests, though the clicks are older,
        and the ledger has their number."""
        agent = self.start("--spool-bytes", "16MiB", "--spool-when-full", "drop_oldest")
        self.lake.store_goes()
        self.assertEqual(agent.post("clicks", lines(500, "old", 1000))[0], 200)
        body = lines(1000, "r", 1000).replace(b'"site_domain":', b'"user":{"id":').replace(
            b'"}\n', b'"}}\n')
        for taken in range(1, 31):
            # Not at once while the roller reads what was dropped: its pages are free then.
            until(lambda: agent.post("bid_requests", body)[0] == 200, "bid requests to be taken")
        until(lambda: agent.post("clicks", lines(500, "new", 1000))[0] == 200, "clicks to be taken")
        self.store_returns()
        agent.stop()
        self.start().stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"),
                         {f"{age}{n}": 1 for age in ("old", "new") for n in range(500)})
        kept = self.lake.load("bid_requests").scan().to_arrow().num_rows
        sums = {table: sum(gap["events"] for stream in self.lake.table_json("ledger", table)
                           for gap in stream.get("lost", []))
                for table in ("clicks", "bid_requests")}
        self.assertEqual(sums, {"clicks": 0, "bid_requests": taken * 1000 - kept})
        self.assertGreater(sums["bid_requests"], 0)


class Neighbour(Case):
    """What belongs to the bidder."""

    def threads(self, agent):
        """By name: nice, and the numbers of times it woke up and was put to sleep."""
        found = {}
        for path in glob.glob(f"/proc/{agent.process.pid}/task/*"):
            with open(f"{path}/stat", encoding="utf-8") as text:
                name, rest = re.match(r"\d+ \((.*)\) (.*)", text.read(), re.DOTALL).groups()
            with open(f"{path}/status", encoding="utf-8") as text:
                switches = re.findall(r"voluntary_ctxt_switches:\s+(\d+)", text.read())
            fields = rest.split()
            found[name] = (int(fields[16]), int(switches[0]), int(os.path.basename(path)))
        return found

    def test_background_stands_back(self):
        """Who answers is as quick as ever; who rolls and uploads lets all others go first."""
        agent = self.start("--background-nice", "7", "--background-io", "idle")
        base = os.getpriority(os.PRIO_PROCESS, 0)
        # A thread has its name and its place soon after it begins.
        until(lambda: self.threads(agent).get("deliverer", [base])[0] == min(base + 7, 19),
              "the deliverer stands back")
        until(lambda: "committer" in self.threads(agent), "the committer has its name")
        threads = self.threads(agent)
        self.assertEqual(threads["committer"][0], base)
        ask = ["ionice", "-p", str(threads["deliverer"][2])]
        until(lambda: b"idle" in subprocess.run(ask, check=True, capture_output=True).stdout,
              "its input and output do, too")
        agent.stop()

    def test_memory(self):
        """The ceiling is held by turning senders away, whatever they send at once."""
        with open(os.path.join(lake.BUILD, "bidlake-agent"), "rb") as program:
            if re.search(b"__[at]san_init", program.read()):
                self.skipTest("a sanitizer's memory is not the agent's")
        agent = self.start("--memory-max", "96MiB", "--http-connections", "200",
                           "--http-body-bytes", "2MiB", "--http-expanded-bytes", "8MiB")
        most, stop = [0], threading.Event()

        def watch():
            while not stop.wait(0.005):
                with open(f"/proc/{agent.process.pid}/status", encoding="utf-8") as text:
                    found = re.search(r"RssAnon:\s+(\d+)", text.read())
                most[0] = max(most[0], int(found[1]) if found else 0)

        watcher = threading.Thread(target=watch)
        watcher.start()
        self.addCleanup(stop.set)
        head = b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n"
        halves = []
        for _ in range(45):
            halves.append(socket.create_connection(("127.0.0.1", agent.port), timeout=lake.DEADLINE))
            self.addCleanup(halves[-1].close)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                halves[-1].sendall(head + b" " * 1900000)
        body = gzip.compress(lines(3500, pad=1000), 1)
        packed = {"Content-Encoding": "gzip"}
        answers = [agent.post("clicks", body, packed)[0] for _ in range(6)]
        for half in halves:
            half.close()
        small = lines(1700, pad=1000)
        until(lambda: agent.post("impressions", small)[0] == 200, "room for bodies")
        answers += [agent.post("impressions", small)[0] for _ in range(25)]
        stop.set()
        watcher.join()
        self.assertGreater(answers.count(200), 20)
        self.assertEqual(set(answers) - {200, 503}, set())
        self.assertEqual(agent.post("clicks", gzip.compress(lines(7000, pad=1000)), packed)[0], 413)
        self.assertLess(most[0], 96 << 10)
        agent.stop()

    def test_memory_that_does_not_suffice(self):
        result = self.lake.agent("check", "--memory-max", "64MiB", code=lake.USAGE)
        self.assertRegex(result.err, r"memory.max: 64 MiB are too little for \d+: rolling 52")

    def test_idle(self):
        """Nothing to do costs nothing: a few looks a second, no processor time, no disk."""
        agent = self.start("--roll-age", "60s")
        pid = agent.process.pid

        def used():
            with open(f"/proc/{pid}/stat", encoding="utf-8") as text:
                ticks = sum(map(int, text.read().rsplit(")", 1)[1].split()[11:13]))
            with open(f"/proc/{pid}/io", encoding="utf-8") as text:
                written = int(re.search(r"wchar: (\d+)", text.read())[1])
            return ticks, written, sum(wakes for _, wakes, _ in self.threads(agent).values())

        start, before = time.monotonic(), used()
        time.sleep(1)
        seconds, after = time.monotonic() - start, used()
        self.assertLess((after[2] - before[2]) / seconds, 20)
        self.assertEqual(after[1], before[1])
        self.assertLessEqual(after[0] - before[0], 2)
        with open(f"/proc/{pid}/status", encoding="utf-8") as text:
            anonymous = int(re.search(r"RssAnon:\s+(\d+)", text.read())[1])
        with open(os.path.join(lake.BUILD, "bidlake-agent"), "rb") as program:
            sanitized = re.search(b"__[at]san_init", program.read())
        if not sanitized:
            self.assertLess(anonymous, 16 << 10)
        agent.stop()

    def test_bandwidth(self):
        """A slow upload holds up neither the answers nor the end; the rest goes later."""
        draw = random.Random(1)
        agent = self.start("--upload-bandwidth", "64KiB", "--stop-deadline", "500ms")
        body = "".join(json.dumps({"id": f"n{n}", "campaign_id": draw.randbytes(700).hex()}) + "\n"
                       for n in range(5000)).encode()
        self.assertEqual(agent.post("clicks", body)[0], 200)
        until(lambda: glob.glob(f"{self.lake.spool}/sealed/*.parquet"), "an upload under way")
        self.assertEqual(agent.post("clicks", b'{"id":"later"}')[0], 200)
        agent.stop()
        self.assertIn("stopped before all was delivered", agent.log())
        self.assertEqual(self.lake.inbox("clicks"), [])
        self.start().stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"),
                         {**{f"n{n}": 1 for n in range(5000)}, "later": 1})


MINE = """
table: mine
columns:
  id: {type: string, from: id, required: true}
  received_at: {type: timestamptz, from: $received_at}
"""


class Reload(Case):
    """SIGHUP while events come."""

    def configure(self, event_bytes="1MiB", more=""):
        self.lake.write("agent.yaml", f"tables: [openrtb, {self.mapping}]\n"
                                      f"limits: {{event_bytes: {event_bytes}}}\n{more}")

    def start_configured(self, *arguments, **how):
        self.mapping = self.lake.write("mine.yaml", MINE)
        self.configure()
        self.lake.tables = None
        return self.start("--config", self.lake.path("agent.yaml"), *arguments, **how)

    def reload(self, agent, words="were read again"):
        before = agent.log().count(words)
        agent.process.send_signal(signal.SIGHUP)
        until(lambda: agent.log().count(words) > before, words)

    def test_every_50_ms(self):
        """Each batch is answered, by the mapping of its time, and each event is there once."""
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(told.close)
        told.bind(self.lake.path("notify"))
        told.settimeout(lake.DEADLINE)
        agent = self.start_configured(env={"NOTIFY_SOCKET": self.lake.path("notify")})
        until(lambda: told.recv(200) == b"READY=1", "the start")
        stop, answers = threading.Event(), []

        def send(prefix):
            with contextlib.closing(agent.connect()) as connection:
                while not stop.is_set():
                    body = lines(50, f"{prefix}{len(answers)}-")
                    answers.append((agent.post("mine", body, connection=connection), body))

        senders = [threading.Thread(target=send, args=(name,)) for name in "abc"]
        for sender in senders:
            sender.start()
        try:
            for turn in range(14):
                more = "".join(f"  c{n}: {{type: string, from: x}}\n" for n in range(turn % 4))
                self.lake.write("mine.yaml", MINE + more)
                agent.process.send_signal(signal.SIGHUP)
                until(lambda: told.recv(200) == b"STATUS=\nREADY=1", "the reload")
                time.sleep(0.05)
        finally:
            stop.set()
            for sender in senders:
                sender.join()
        self.assertEqual({str(answer) for answer, _ in answers},
                         {str((200, {"accepted": 50, "refused": 0}))})
        self.assertEqual(agent.metric("bidlake_capture_events_kept_total"), 50 * len(answers))
        agent.stop()
        self.lake.tables = self.lake.write("last.yaml", MINE + "".join(
            f"  c{n}: {{type: string, from: x}}\n" for n in range(3)))
        self.lake.init()
        self.lake.once()
        sent = [json.loads(line)["id"] for _, body in answers for line in body.splitlines()]
        self.assertEqual(self.lake.ids("mine", "id"), {name: 1 for name in sent})

    def test_limits(self):
        """At all doors, from the next request on."""
        path = self.lake.path("mine.sock")
        agent = self.start_configured("--listen", f"http:127.0.0.1:0,unix:{path}?table=mine&ack=lines")
        large = lines(1, pad=3000)
        self.assertEqual(agent.post("mine", large)[0], 200)
        self.configure("2KiB")
        self.reload(agent)
        self.assertEqual(agent.post("mine", large)[0], 400)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(lake.DEADLINE)
            door.connect(path)
            door.sendall(large)
            self.assertEqual(door.recv(10), b"1\n")
            self.configure("1MiB")
            self.reload(agent)
            door.sendall(large)
            self.assertEqual(door.recv(10), b"2\n")
        self.assertEqual(agent.metric("bidlake_capture_events_refused_total"), 2)
        # Two, and the letter of what was refused.
        self.assertEqual(agent.metric("bidlake_capture_events_kept_total"), 3)
        agent.stop()

    def test_smaller_segments(self):
        """roll.bytes, from the next segment on: what is open is then sealed, or never."""
        self.mapping = self.lake.write("mine.yaml", MINE)
        roll = "roll: {{age: 1h, bytes: {}}}\n"
        self.configure(more=roll.format("1GiB"))
        self.lake.tables = None
        agent = self.start("--config", self.lake.path("agent.yaml"))
        for _ in range(5):
            self.assertEqual(agent.post("clicks", lines(50, pad=1000))[0], 200)
        self.configure(more=roll.format("64KiB"))
        self.reload(agent)
        self.assertEqual(agent.metric("bidlake_roll_limit_bytes"), 64 << 10)
        self.assertEqual(json.loads(agent.get("/v1/status", agent.operations)[1])
                         ["delivery"]["roll_bytes"], 64 << 10)
        until(lambda: agent.metric("bidlake_upload_announcements_total") >= 4, "segments")
        agent.stop()

    def test_memory_after_a_reload(self):
        """A body that is allowed by now finds room, or the configuration is refused with the sum."""
        self.mapping = self.lake.write("mine.yaml", MINE)
        self.configure(more="http: {body_bytes: 1MiB}\n")
        self.lake.tables = None
        agent = self.start("--config", self.lake.path("agent.yaml"), "--memory-max", "200MiB")
        self.configure(more="http: {body_bytes: 12MiB}\n")
        self.reload(agent)
        self.assertEqual(agent.post("mine", b'{"id":"a"}' + b" " * (11 << 20))[0], 200)
        self.assertEqual(agent.post("mine", b" " * (13 << 20))[0], 413)
        self.configure(more="http: {body_bytes: 24MiB}\n")
        self.reload(agent, "the configuration is refused")
        self.assertRegex(agent.log(), r"memory\.max: 200 MiB are too little for \d+")
        agent.stop()

    def test_all_or_nothing(self):
        """What is wrong is named by file and line, and nothing of the file holds."""
        agent = self.start_configured()
        self.configure("2KiB", "http: {token_file: /nowhere}\n")
        self.reload(agent, "the configuration is refused")
        self.assertIn("/nowhere", agent.log())
        self.configure("2KiB", "limits.event_bites: 1KiB\n")
        self.reload(agent, "the configuration is refused")
        self.assertRegex(agent.log(), r"agent\.yaml:3: unknown key")
        self.lake.write("mine.yaml", MINE.replace("string", "strinng"))
        self.configure("2KiB")
        self.reload(agent, "the configuration is refused")
        self.assertRegex(agent.log(), r"mine\.yaml:4: .*strinng")
        self.assertEqual(agent.post("mine", lines(1, pad=3000))[0], 200)
        agent.stop()


if __name__ == "__main__":
    unittest.main()
