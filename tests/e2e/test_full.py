# SPDX-License-Identifier: Apache-2.0
"""Too much at once, too little room: what is refused, what goes on, numbers that add up."""
import contextlib
import glob
import json
import random
import signal
import socket
import threading
import time
import unittest

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


class Neighbour(Case):
    """What belongs to the bidder."""

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
        told.settimeout(20)
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
        for turn in range(20):
            more = "".join(f"  c{n}: {{type: string, from: x}}\n" for n in range(turn % 4))
            self.lake.write("mine.yaml", MINE + more)
            agent.process.send_signal(signal.SIGHUP)
            until(lambda: told.recv(200) == b"READY=1", "the reload")
            time.sleep(0.05)
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
            door.settimeout(20)
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
