# SPDX-License-Identifier: Apache-2.0
"""Lines that lie somewhere already: standard input, and files that grow and are rotated."""
import concurrent.futures
import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import unittest

import lake
from lake import DONE, USAGE, Lake, end, until
from rotating import Rotating, all_taken
from test_run import Agent


class Case(unittest.TestCase):
    def setUp(self):
        self.lake = Lake()
        self.addCleanup(self.lake.__exit__)
        self.lake.init()

    def ids(self):
        self.lake.once()
        return self.lake.ids("clicks", "click_id")

    def letters(self):
        rows = self.lake.rows("dead_letters", ["source", "position", "reason", "body"])
        return sorted((position, body) for _, position, _, body in rows)


def line(name):
    return json.dumps({"id": name}).encode() + b"\n"


class StandardInput(Case):
    def start(self, *arguments, listen="stdin:?table=clicks"):
        self.log_path = self.lake.path("agent.log")
        command = [os.path.join(lake.BUILD, "bidlake-agent"), "run", *self.lake.agent_flags(),
                   "--listen", listen, "--operations", "", "--roll-age", "300ms", *arguments]
        with open(self.log_path, "wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log)
        self.addCleanup(end, process)
        self.addCleanup(process.stdin.close)
        until(lambda: 'msg="ready"' in self.log() or process.poll() is not None, "ready")
        return process

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def test_pipe_to_its_end(self):
        """`bidder | bidlake-agent run` ends when the bidder does, and nothing is missing."""
        process = self.start()
        process.stdin.write(line("a") + b"\n" + b"bad\n" + line("b") + b"  " + line("c").rstrip())
        process.stdin.flush()
        process.stdin.write(b"\r\n" + b"x" * (2 << 20) + b"\n" + line("d") + line("e").rstrip())
        process.stdin.close()
        self.assertEqual(process.wait(timeout=lake.DEADLINE), DONE, self.log())
        self.assertIn("standard input has ended", self.log())
        self.assertEqual(self.ids(), dict.fromkeys("abcde", 1))
        letters = [(position, len(body)) for position, body in self.letters()]
        self.assertEqual(letters, [(3, 3), (6, 4096)])

    def test_slow_writer(self):
        """Events don't wait for those behind them."""
        process = self.start()
        process.stdin.write(line("a"))
        process.stdin.flush()
        until(lambda: self.ids() == {"a": 1}, "the first event in the table")
        process.stdin.write(line("b")[:4])
        process.stdin.flush()
        process.stdin.write(line("b")[4:])
        process.stdin.flush()
        until(lambda: self.ids() == {"a": 1, "b": 1}, "the second event in the table")
        process.stdin.write(b'{"id":"half')
        process.stdin.flush()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=lake.DEADLINE), DONE, self.log())

    def test_compressed_and_damaged(self):
        """What comes before the damage is kept, and the damage is said."""
        whole = b"".join(line(f"n{n}") for n in range(5000))
        process = self.start()
        process.stdin.write(gzip.compress(whole)[:-20])
        process.stdin.close()
        self.assertEqual(process.wait(timeout=lake.DEADLINE), DONE, self.log())
        self.assertRegex(self.log(), "gzip|cut short")
        self.assertIn("does not read on", self.log())
        self.assertGreater(len(self.ids()), 4000)

    def test_other_doors_stay_open(self):
        process = self.start(listen="http:127.0.0.1:0,stdin:?table=clicks")
        process.stdin.write(line("a"))
        process.stdin.close()
        until(lambda: "standard input has ended" in self.log(), "the end of the pipe")
        until(lambda: self.ids() == {"a": 1}, "the event in the table")
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=lake.DEADLINE), DONE, self.log())

    def test_full_spool_holds_the_pipe_back(self):
        """A writer must be slowed down, not dropped, and go on by itself."""
        table = [json.dumps({"id": f"n{n}", "landing_page": "x" * 20000}).encode() + b"\n"
                 for n in range(1500)]
        process = self.start("--spool-bytes", "16MiB", "--roll-age", "100ms")
        os.rename(self.lake.warehouse, self.lake.warehouse + "-away")
        self.lake.write("warehouse", "no folder: the store is away")
        os.set_blocking(process.stdin.fileno(), False)
        sent = 0
        data = b"".join(table)

        def push():
            nonlocal sent
            try:
                sent += os.write(process.stdin.fileno(), data[sent:sent + (1 << 16)])
            except BlockingIOError:
                pass
            return sent == len(data) or "did not take them" in self.log()

        until(push, "a full spool")
        self.assertLess(sent, len(data))
        os.remove(self.lake.warehouse)
        os.rename(self.lake.warehouse + "-away", self.lake.warehouse)

        def push_on():
            self.lake.once()
            for _ in range(100):
                push()
            return sent == len(data)

        until(push_on, "room again", 60)
        process.stdin.close()
        self.assertEqual(process.wait(timeout=lake.DEADLINE), DONE, self.log())
        self.assertEqual(self.ids(), {f"n{n}": 1 for n in range(1500)})

    def test_configuration(self):
        for listen, words in (("stdin:", "table"), ("stdin:x?table=clicks", "no address"),
                              ("stdin:?table=clicks&mode=0600", "unix"),
                              ("stdin:?table=clicks,stdin:?table=clicks", "twice"),
                              ("stdin:?table=nothing", "nothing")):
            result = self.lake.agent("run", "--listen", listen, code=USAGE)
            self.assertIn(words, result.err)
        config = self.lake.write("agent.yaml", "listen:\n- {stdin: true, table: clicks}\n")
        result = self.lake.agent("run", "--config", config, "--operations", "", stdin=line("a"),
                                 code=DONE)
        self.assertTrue(re.search("kind=stdin", result.err), result.err)
        self.assertEqual(self.ids(), {"a": 1})


class Followed(Case):
    """Files under logs/, followed by one agent."""

    def setUp(self):
        super().setUp()
        self.logs = self.lake.path("logs")
        os.makedirs(self.logs)
        self.pattern = os.path.join(self.logs, "*")

    def start(self, *arguments):
        agent = Agent(self.lake, "--listen", f"tail:{self.pattern}?table=clicks,http:127.0.0.1:0",
                      *arguments)
        self.addCleanup(end, agent.process)
        return agent

    def file(self, name):
        return os.path.join(self.logs, name)

    def append(self, name, *pieces):
        with open(self.file(name), "ab") as file:
            file.write(b"".join(line(piece) if isinstance(piece, str) else piece
                                for piece in pieces))

    def status(self, agent):
        text = agent.get("/v1/status", agent.operations)[1]
        return {os.path.basename(file["path"]): file for file in json.loads(text)["files"]}

    def until(self, agent, condition, what, seconds=20):
        try:
            until(condition, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status(agent)}\n{agent.log()}") from error

    def taken(self, agent, name, offset=None):
        """Waits until all of the file, or so many bytes, are durable."""
        def look():
            size = os.stat(self.file(name)).st_size if offset is None else offset
            file = self.status(agent).get(name)
            return file and file["offset"] == size
        self.until(agent, look, f"{name} taken")

    def state(self, agent, name, state):
        self.until(agent, lambda: self.status(agent).get(name, {}).get("state") == state,
                   f"{name} {state}")

    def expect(self, agent, names):
        """All of them in the table, once, and nothing else."""
        wanted = dict.fromkeys(names, 1)
        agent.stop()
        self.assertEqual(self.ids(), wanted, agent.log())

    def fault(self, agent, fault):
        text = agent.get("/metrics", agent.operations)[1].decode()
        return int(re.search(rf'bidlake_tail_faults_total{{.*fault="{fault}"}} (\d+)', text)[1])

    def compress(self, name, to, how):
        with open(self.file(name), "rb") as file:
            self.write(to, how(file.read()))
        os.remove(self.file(name))

    def write(self, name, data):
        """As it stands, and not since a moment ago."""
        with open(self.file(name), "wb") as file:
            file.write(data)
        past = os.stat(self.file(name)).st_mtime - 10
        os.utime(self.file(name), (past, past))


class Tail(Followed):
    # -- growth ------------------------------------------------------------------------------

    def test_growing_files(self):
        """Old, new and late files; blank, bad and over-long lines; halves of lines."""
        self.append("old.ndjson", "a", b"\n  \n", "b", b"bad\n", b'{"id":')
        agent = self.start("--limits-event-bytes", "8KiB")
        self.taken(agent, "old.ndjson", os.stat(self.file("old.ndjson")).st_size - 6)
        self.append("old.ndjson", b'"c"}\r\n', "d")
        self.append("late.ndjson", "e", b"x" * (3 << 20), b"\n", "f")
        self.taken(agent, "old.ndjson")
        self.taken(agent, "late.ndjson")
        self.append("late.ndjson", b"y" * 20000)
        self.taken(agent, "late.ndjson")  # its beginning says enough
        self.append("late.ndjson", b"y" * 20000 + b"\n", "g")
        self.taken(agent, "late.ndjson")
        self.append("empty.ndjson")
        self.state(agent, "empty.ndjson", "waiting")
        self.expect(agent, "abcdefg")
        letters = [(position, len(body)) for position, body in self.letters()]
        self.assertEqual(letters, [(2, 4096), (4, 4096), (5, 3)])

    def test_restart_goes_on(self):
        """A restart neither repeats nor forgets; what was half a line then is one now."""
        self.append("a.ndjson", "a", b"x" * 6000)
        agent = self.start("--limits-event-bytes", "1KiB")
        self.taken(agent, "a.ndjson", 12 + 6000)
        agent.stop()
        self.append("a.ndjson", b"x" * 10 + b"\n", "b", b'{"id":"')
        agent = self.start("--limits-event-bytes", "1KiB")
        self.taken(agent, "a.ndjson", os.stat(self.file("a.ndjson")).st_size - 7)
        end(agent.process, signal.SIGKILL)
        self.append("a.ndjson", b'c"}\n')
        agent = self.start("--limits-event-bytes", "1KiB")
        self.taken(agent, "a.ndjson")
        self.expect(agent, "abc")
        self.assertEqual([position for position, _ in self.letters()], [2])

    # -- rotation ----------------------------------------------------------------------------

    def test_rename(self):
        """The old file to its end, also what is written to it after its new name came."""
        self.append("a.log", "a", "b")
        agent = self.start()
        self.taken(agent, "a.log")
        with open(self.file("a.log"), "ab") as old:
            os.rename(self.file("a.log"), self.file("a.log.1"))
            self.append("a.log", "c")
            self.taken(agent, "a.log")
            old.write(line("d") + line("e").rstrip())
        self.taken(agent, "a.log")
        self.taken(agent, "a.log.1")  # with its last line, which nobody will end any more
        self.assertTrue(self.status(agent)["a.log.1"]["safe_to_delete"])
        self.assertFalse(self.status(agent)["a.log"]["safe_to_delete"])
        # Out of the pattern, and written to once more.
        with open(self.file("a.log"), "ab") as old:
            os.rename(self.file("a.log"), self.lake.path("gone.log"))
            old.write(line("f"))
        until(lambda: agent.metric("bidlake_capture_events_kept_total") == 6, "the last line")
        self.expect(agent, "abcdef")

    def test_copy_and_truncate(self):
        """The copy holds what was taken already, and what was not."""
        names = [f"n{n}" for n in range(300)]
        self.append("a.log", *names[:100])
        agent = self.start()
        self.taken(agent, "a.log")
        shutil.copyfile(self.file("a.log"), self.file("a.log.1"))
        self.state(agent, "a.log.1", "copy")
        os.truncate(self.file("a.log"), 0)
        self.append("a.log", *names[100:150])
        self.taken(agent, "a.log")
        self.taken(agent, "a.log.1")
        self.assertEqual(self.fault(agent, "truncated"), 1)
        # Truncated and longer than before by the next look.
        agent.process.send_signal(signal.SIGSTOP)
        os.truncate(self.file("a.log"), 0)
        self.append("a.log", *names[150:250])
        agent.process.send_signal(signal.SIGCONT)
        self.taken(agent, "a.log")
        self.assertEqual(self.fault(agent, "replaced"), 1)
        agent.stop()
        # The rest of the old text is in the copy alone.
        self.append("a.log", *names[250:])
        os.rename(self.file("a.log.1"), self.file("a.log.2"))
        shutil.copyfile(self.file("a.log"), self.file("a.log.1"))
        os.truncate(self.file("a.log"), 0)
        self.append("a.log", "last")
        agent = self.start()
        for name in ("a.log", "a.log.1", "a.log.2"):
            self.taken(agent, name)
        self.expect(agent, names + ["last"])

    def test_copy_in_the_making(self):
        """Seen half, it must not be taken for a new file."""
        names = [f"n{n}" for n in range(300)]
        self.append("a.log", *names[:200])
        agent = self.start()
        self.taken(agent, "a.log")
        self.append("a.log.1", *names[:100])
        self.state(agent, "a.log.1", "copy")
        self.append("a.log.1", *names[100:200], *names[200:250])
        os.truncate(self.file("a.log"), 0)
        self.append("a.log", *names[250:])
        self.taken(agent, "a.log")
        self.taken(agent, "a.log.1")
        self.expect(agent, names)

    def test_the_same_twice_at_first(self):
        """Nothing is known yet of either: one is read, the other waits for that."""
        names = [f"n{n}" for n in range(3000)]
        for name in ("a.log", "b.log", "c.log"):
            self.append(name, *names)
        agent = self.start()
        self.until(agent, lambda: sorted(file["state"] for file in self.status(agent).values()) ==
                   ["copy", "copy", "reading"], "two copies")
        self.expect(agent, names)

    def test_compressed(self):
        """Whole, and only what was not taken of them before they were compressed."""
        names = [f"n{n}" for n in range(500)]
        for name in ("old.log", "run.log"):
            self.append(name, *(f"{name}-{n}" for n in names[:200]))
        agent = self.start()
        self.taken(agent, "run.log")
        self.taken(agent, "old.log")
        os.rename(self.file("run.log"), self.file("run.log.1"))
        self.compress("run.log.1", "run.log.1.gz", gzip.compress)
        self.state(agent, "run.log.1.gz", "finished")
        agent.stop()
        self.append("old.log", *(f"old.log-{n}" for n in names[200:]))
        os.rename(self.file("old.log"), self.file("old.log.1"))
        self.compress("old.log.1", "old.log.1.zst", self.zstd)
        text = b"".join(line(f"new-{n}") for n in names)
        self.write("new.gz", gzip.compress(text[:1000]) + gzip.compress(text[1000:-1]))
        agent = self.start()
        for name in ("old.log.1.zst", "new.gz", "run.log.1.gz"):
            self.state(agent, name, "finished")
            self.assertTrue(self.status(agent)[name]["safe_to_delete"])
        # Once more, under another name.
        os.rename(self.file("new.gz"), self.file("newer.gz"))
        shutil.copyfile(self.file("newer.gz"), self.file("copy.gz"))
        self.state(agent, "copy.gz", "finished")
        self.expect(agent, [f"{name}-{n}" for name in ("old.log", "run.log", "new") for n in names
                            if name != "run.log" or n in names[:200]])

    def zstd(self, data):
        return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE,
                              check=True).stdout

    def test_same_inode_other_content(self):
        """An inode that is given again is a new file, while the agent runs and while not."""
        self.append("a.log", *(f"a{n}" for n in range(100)))
        agent = self.start()
        self.taken(agent, "a.log")
        inode = os.stat(self.file("a.log")).st_ino
        with open(self.file("a.log"), "r+b") as file:
            file.write(b"".join(line(f"b{n}") for n in range(200)))
        self.taken(agent, "a.log")
        agent.stop()
        with open(self.file("a.log"), "r+b") as file:
            file.write(b"".join(line(f"c{n}") for n in range(300)))
        self.assertEqual(os.stat(self.file("a.log")).st_ino, inode)
        agent = self.start()
        self.taken(agent, "a.log")
        self.expect(agent, [f"a{n}" for n in range(100)] + [f"b{n}" for n in range(200)] +
                    [f"c{n}" for n in range(300)])

    # -- faults ------------------------------------------------------------------------------

    def test_what_does_not_read(self):
        """Each is counted and named once, and the others go on."""
        os.symlink("/proc/self/mem", self.file("unreadable"))
        self.write("binary", b"\x7fELF\x00\x01\x02" * 100)
        whole = b"".join(line(f"d{n}") for n in range(3000))
        damaged = gzip.compress(whole)
        self.write("damaged.gz", damaged[:len(damaged) // 2])
        os.mkfifo(self.file("pipe"))
        os.mkdir(self.file("folder"))
        agent = self.start()
        self.append("fine", "a")
        self.taken(agent, "fine")
        for fault in ("unreadable", "binary", "damaged"):
            until(lambda fault=fault: self.fault(agent, fault) == 1, f"{fault}\n{agent.log()}")
        self.append("fine", "b")
        self.append("binary", b"\x00")
        self.taken(agent, "fine")
        for fault in ("unreadable", "binary", "damaged"):
            self.assertEqual(agent.log().count(f"fault={fault} "), 1, agent.log())
        # What was cut was only being written.
        self.write("damaged.gz", damaged)
        self.state(agent, "damaged.gz", "finished")
        agent.stop()
        agent = self.start()
        self.state(agent, "damaged.gz", "finished")
        self.expect(agent, ["a", "b"] + [f"d{n}" for n in range(3000)])

    def test_deleted_while_open(self):
        self.append("a.log", "a")
        agent = self.start()
        self.taken(agent, "a.log")
        agent.process.send_signal(signal.SIGSTOP)
        with open(self.file("a.log"), "ab") as file:
            file.write(line("b"))
            os.remove(self.file("a.log"))
            self.append("a.log", "c")
            agent.process.send_signal(signal.SIGCONT)
            self.taken(agent, "a.log")
            file.write(line("d"))
        self.until(agent, lambda: agent.metric("bidlake_capture_events_kept_total") == 4, "all events")
        self.expect(agent, "abcd")

    def test_lines_that_make_many_rows(self):
        """A window whose rows are more than a transaction holds is taken in parts."""
        event = {"site": {"domain": "d" * 4000, "id": "s" * 4000}, "imp": [{"id": "i"}] * 50}
        data = b"".join(json.dumps({"id": f"n{n}", **event}).encode() + b"\n" for n in range(60))
        half = data.index(b"\n", len(data) // 2) + 1
        self.append("plain", data[:half])
        self.write("packed.gz", gzip.compress(data[half:]))
        agent = Agent(self.lake, "--listen",
                      f"tail:{self.pattern}?table=bid_requests,http:127.0.0.1:0",
                      "--spool-bytes", "16MiB", "--roll-age", "100ms")
        self.addCleanup(end, agent.process)

        def taken():
            self.lake.once()
            return agent.metric("bidlake_capture_events_kept_total") >= 60

        self.until(agent, taken, "all events")
        agent.stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("bid_requests", "request_id"),
                         {f"n{n}": 50 for n in range(60)})

    def test_full_spool_pauses_the_tail(self):
        away = self.lake.warehouse + "-away"
        agent = self.start("--spool-bytes", "16MiB", "--roll-age", "100ms")
        os.rename(self.lake.warehouse, away)
        self.lake.write("warehouse", "no folder: the store is away")
        with open(self.file("a.log"), "wb") as file:
            for n in range(1500):
                file.write(json.dumps({"id": f"n{n}", "landing_page": "x" * 20000}).encode() + b"\n")
        self.until(agent, lambda: agent.metric("bidlake_capture_requests_full_total") > 1 or
                   "did not take them" in agent.log(), "a full spool")
        self.assertGreater(agent.metric("bidlake_source_unread_bytes"), 0)
        os.remove(self.lake.warehouse)
        os.rename(away, self.lake.warehouse)

        def drained():
            self.lake.once()
            return self.status(agent)["a.log"]["offset"] == os.stat(self.file("a.log")).st_size

        until(drained, "room again", 60)
        self.expect(agent, [f"n{n}" for n in range(1500)])

    def test_many_files(self):
        """Thousands that match: neither descriptors nor time go by their number."""
        for n in range(2000):
            self.append(f"{n:04}.log", f"n{n}")
        agent = self.start()
        self.until(agent, lambda: agent.metric("bidlake_capture_events_kept_total") == 2000, "all events")
        self.append("0007.log", "late")
        self.until(agent, lambda: agent.metric("bidlake_capture_events_kept_total") == 2001, "all events")
        descriptors = len(os.listdir(f"/proc/{agent.process.pid}/fd"))
        self.assertLess(descriptors, 300)
        self.expect(agent, [f"n{n}" for n in range(2000)] + ["late"])

    def test_odd_names(self):
        """Whoever may name a file must not forge a log line or break the status."""
        names = [b'quote".log', b"line\nlevel=error.log", b"no utf-8 \xff.log", b"?*[.log"]
        for n, name in enumerate(names):
            with open(os.path.join(self.logs.encode(), name), "wb") as file:
                file.write(line(f"n{n}") + b"bad\n\x01")
        agent = self.start()
        self.until(agent, lambda: self.fault(agent, "binary") == 4, "four faults")
        for name in names:
            with open(os.path.join(self.logs.encode(), name), "r+b") as file:
                file.truncate(file.seek(-1, os.SEEK_END))
        self.until(agent, lambda: all_taken(self.status(agent).values()) and
                   agent.metric("bidlake_capture_events_kept_total") == 8, "all files taken")
        self.assertNotIn("\nlevel=error", agent.log())
        self.expect(agent, [f"n{n}" for n in range(4)])
        self.assertEqual(self.letters(), [(2, "bad")] * 4)

    def test_a_file_of_two_tables(self):
        """Each line goes to both, which is told: the patterns' texts do not show it."""
        self.append("a.log", "a")
        self.append("b.log", "b")
        other = os.path.join(self.logs, "a*")
        agent = self.start("--listen", "http:127.0.0.1:0,"
                           f"tail:{self.pattern}?table=clicks,tail:{other}?table=impressions")
        self.until(agent, lambda: agent.metric("bidlake_tail_files_shared") == 1, "a shared file")
        self.assertRegex(agent.log(), "files=1 file=\"[^\"]*/a.log\" tables=clicks,impressions")
        self.expect(agent, ["a", "b"])
        self.assertEqual(self.lake.ids("impressions", "impression_id"), {"a": 1})

    def test_patterns(self):
        """What can't be followed is said before the start."""
        for listen, words in (("tail:logs/*?table=clicks", "absolute path"),
                              ("tail:/logs/*", "table"), ("tail:/logs/*?table=none", "none"),
                              ("tail:/a/*?table=clicks&mode=0600", "unix"),
                              ("tail:/a/*?table=clicks,tail:/b/*?table=clicks", "{a,b}")):
            result = self.lake.agent("run", "--listen", listen, code=USAGE)
            self.assertIn(words, result.err)
        self.pattern = os.path.join(self.logs, "{a,b}?.log")
        for name in ("a1.log", "b2.log", "c3.log", "a.log"):
            self.append(name, name)
        agent = self.start()
        self.taken(agent, "a1.log")
        self.taken(agent, "b2.log")
        self.expect(agent, ["a1.log", "b2.log"])

    # -- kills -------------------------------------------------------------------------------

    def test_killed_while_files_rotate(self):
        """BIDLAKE_TAIL_KILLS=50 in the long form."""
        kills = int(os.environ.get("BIDLAKE_TAIL_KILLS", "5"))
        rng = random.Random(int(os.environ.get("BIDLAKE_TAIL_SEED", "1")))
        writer = Writer(self.logs, rng)
        writer.start()
        self.addCleanup(writer.stop)
        for _ in range(kills):
            agent = self.start()
            before = agent.metric("bidlake_capture_events_kept_total")
            wanted = rng.randrange(1, 3000)
            until(lambda: agent.metric("bidlake_capture_events_kept_total") > before + wanted,
                  f"events: {writer.wrong}\n{agent.log()}")
            end(agent.process, signal.SIGKILL)
            self.lake.once()
        writer.stop()
        agent = self.start()
        self.until(agent, lambda: all_taken(self.status(agent).values(), self.logs), "all taken",
                   40)
        agent.stop()
        found = self.ids()
        self.assertEqual(writer.wrong, [])
        self.assertEqual([name for name, count in found.items() if count > 1][:10], [])
        self.assertEqual(sorted(writer.sent - found.keys())[:10], [], f"of {len(writer.sent)}")
        self.assertEqual(sorted(found.keys() - writer.sent)[:10], [])


class Writer(threading.Thread):
    def __init__(self, folder, rng):
        super().__init__()
        self.sent, self.wrong, self.stopping = set(), [], threading.Event()
        self.rng, self.logs = rng, Rotating(folder, rng, self.stopping.wait)

    def run(self):
        try:
            while not self.stopping.is_set():
                for name in self.logs.names:
                    ids = [f"{len(self.sent) + n}" for n in range(self.rng.randrange(1, 40))]
                    self.logs.write(name, ids)
                    self.sent.update(ids)
                if self.rng.random() < 0.05:
                    self.logs.rotate()
                self.stopping.wait(0.002)
        except OSError as error:
            self.wrong.append(str(error))
        finally:
            self.logs.held.close()

    def stop(self):
        self.stopping.set()
        if self.is_alive():
            self.join()


def tests_in(suite):
    for test in suite:
        yield from tests_in(test) if isinstance(test, unittest.TestSuite) else [test]


def main():
    """Each test waits most of its time for what happens once a second: several at a time."""
    program = unittest.TestProgram(exit=False, testRunner=Parallel())
    sys.exit(not program.result.wasSuccessful())


class Parallel:
    def run(self, suite):
        results, lock = unittest.TestResult(), threading.Lock()

        def one(test):
            result = unittest.TestResult()
            test.run(result)
            with lock:
                results.testsRun += result.testsRun
                results.errors += result.errors
                results.failures += result.failures
                results.skipped += result.skipped

        with concurrent.futures.ThreadPoolExecutor(8) as workers:
            list(workers.map(one, tests_in(suite)))
        for kind, found in (("ERROR", results.errors), ("FAIL", results.failures)):
            for test, text in found:
                print(f"{kind}: {test}\n{text}", file=sys.stderr)
        for test, why in results.skipped:
            print(f"{test} ... skipped {why!r}", file=sys.stderr)
        print(f"Ran {results.testsRun} tests", file=sys.stderr)
        return results


if __name__ == "__main__":
    main()
