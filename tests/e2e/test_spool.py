# SPDX-License-Identifier: Apache-2.0
"""Spools that are in use, too new, not to be written, full or damaged: a clear message, exit 1,
and nothing that was answered is gone."""
import collections
import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import unittest

from lake import BUILD, DEADLINE, DONE, FAILED, RUN_SECONDS, Lake, damage, end, until
from test_run import Agent


def clicks(first, count, size=10):
    return [f'{{"id":"c{number:06}","landing_page":"{"x" * size}"}}\n'.encode()
            for number in range(first, first + count)]


def each_once(numbers):
    return collections.Counter(f"c{number:06}" for number in numbers)


def content(directory):
    """What lies below, but for the locks, which tell who has it open."""
    found = {}
    for path in sorted(glob.glob(f"{directory}/**", recursive=True)):
        if os.path.isfile(path) and os.path.basename(path) not in ("lock", "lock.mdb"):
            with open(path, "rb") as file:
                found[path] = hashlib.sha256(file.read()).hexdigest()
    return found


def has_open(process, name):
    """Whether a process has a file of that name open by now."""
    assert process.poll() is None, process.returncode
    with contextlib.suppress(FileNotFoundError):
        for fd in os.listdir(f"/proc/{process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(f"/proc/{process.pid}/fd/{fd}").endswith(name):
                    return True
    return False


class WithLake(unittest.TestCase):
    def setUp(self):
        self.lake = Lake()
        self.addCleanup(self.lake.__exit__)
        self.lake.init()

    def fails(self, result, *words):
        self.assertEqual(result.code, FAILED, result.err)
        for word in words:
            self.assertIn(word, result.err)

    def committed(self):
        self.lake.once()
        return self.lake.ids("clicks", "click_id")


class Opening(WithLake):
    def test_in_use_by_another_agent(self):
        """Two agents on one spool would give the same positions twice. The first is stopped: a
        lock that goes by a living heartbeat would be taken over."""
        holder = subprocess.Popen(
            [f"{BUILD}/bidlake-agent", "ingest", *self.lake.agent_flags(), "clicks", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(end, holder)
        until(lambda: has_open(holder, "/data.mdb"), "the spool is open")
        path = self.lake.write("a.ndjson", b"".join(clicks(0, 10)))
        until(lambda: self.lake.ingest("clicks", path, code=None).code == FAILED, "it has the lock")
        holder.send_signal(signal.SIGSTOP)
        before = content(self.lake.spool)
        self.fails(self.lake.ingest("clicks", path, code=None), self.lake.spool, "in use")
        self.assertIn("another agent has it open", self.lake.agent("check", code=DONE).out)
        self.lake.agent("spool", code=DONE)
        self.assertEqual(content(self.lake.spool), before)
        holder.send_signal(signal.SIGCONT)
        holder.communicate(b"".join(clicks(100, 5)), timeout=DEADLINE)
        self.assertEqual(holder.returncode, DONE)
        self.lake.ingest("clicks", path)
        self.assertEqual(self.committed(), each_once([*range(10), *range(100, 105)]))

    def test_of_a_newer_format(self):
        """A downgrade must not write into what it doesn't understand."""
        self.lake.ingest("clicks", "-", stdin=b"".join(clicks(0, 3)))
        path = os.path.join(self.lake.spool, "data.mdb")
        with open(path, "r+b") as file:
            data = file.read()
            places = [match.end() for match in re.finditer(b"format\\x01\\0\\0\\0", data)]
            self.assertTrue(places)
            for at in places:
                file.seek(at - 4)
                file.write(b"\x63")
        before = content(self.lake.spool)
        self.fails(self.lake.ingest("clicks", "-", stdin=clicks(3, 1)[0], code=None),
                   "format 99", "newer")
        self.fails(self.lake.agent("check"), "format 99")
        self.assertEqual(content(self.lake.spool), before)

    def test_of_another_agent(self):
        """A spool on a volume that was mounted elsewhere: its streams are not ours."""
        self.lake.ingest("clicks", "-", stdin=clicks(0, 1)[0])
        before = content(self.lake.spool)
        self.fails(self.lake.ingest("clicks", "-", stdin=b"", agent_id="edge-2", code=None),
                   "edge-1", "edge-2")
        self.assertEqual(content(self.lake.spool), before)

    def test_host_was_renamed(self):
        """Without agent_id the spool keeps the name that it was made under: an agent that does
        not start for it leaves all senders waiting. Made under another name, it is one of a host
        that was called so."""
        self.lake.ingest("clicks", "-", stdin=clicks(0, 1)[0], agent_id="old-name")
        self.assertNotEqual(socket.gethostname(), "old-name")
        result = self.lake.agent("ingest", "clicks", "-", stdin=clicks(1, 1)[0], agent_id="",
                                 code=DONE)
        self.assertIn("agent_id=old-name", result.err)
        self.lake.agent("check", agent_id="", code=DONE)
        streams = json.loads(self.lake.agent("spool", "--json", agent_id="", code=DONE).out)
        self.assertEqual({stream["stream"].split("/")[0] for stream in streams["streams"]},
                         {"old-name"})
        self.assertEqual(self.committed(), each_once(range(2)))
        agent = Agent(self.lake, "--agent-id", "")
        self.addCleanup(end, agent.process)
        _, status = agent.get("/v1/status", agent.operations)
        self.assertEqual(json.loads(status)["agent_id"], "old-name")
        agent.stop()

    def test_no_directory_can_be_made(self):
        file = self.lake.write("file", b"")
        spool = os.path.join(file, "spool")
        self.fails(self.lake.ingest("clicks", "-", stdin=b"", spool=spool, code=None), spool,
                   "not a directory")
        self.fails(self.lake.agent("check", spool=spool), spool)

    def test_no_spool(self):
        self.fails(self.lake.ingest("clicks", "-", stdin=b"", spool=self.lake.write("x", b"no spool"),
                                    code=None), self.lake.path("x"))
        os.makedirs(self.lake.path("y"))
        with open(self.lake.path("y", "data.mdb"), "wb") as file:
            file.write(b"this is no environment of LMDB" * 1000)
        self.fails(self.lake.ingest("clicks", "-", stdin=b"", spool=self.lake.path("y"), code=None),
                   self.lake.path("y"))
        self.fails(self.lake.agent("spool", spool=self.lake.path("none")), self.lake.path("none"))


class SmallDisk(WithLake):
    """On a file system of its own, which only root can make."""

    def setUp(self):
        super().setUp()
        self.disk = self.lake.path("disk")
        os.makedirs(self.disk)

    def mount(self, options):
        if os.geteuid() != 0 or not shutil.which("mount"):
            self.skipTest("NOT TESTED: mounting a small disk needs root")
        ran = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.disk],
                             capture_output=True)
        if ran.returncode != 0 and "remount" not in options:
            self.skipTest(f"NOT TESTED: mount: {ran.stderr.decode().strip()}")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        if "remount" not in options:
            self.addCleanup(subprocess.run, ["umount", self.disk], check=True)

    def test_not_writable(self):
        self.mount("size=32m")
        spool = os.path.join(self.disk, "spool")
        self.lake.ingest("clicks", "-", stdin=clicks(0, 1)[0], spool=spool)
        self.mount("remount,ro")
        before = content(spool)
        self.fails(self.lake.ingest("clicks", "-", stdin=clicks(1, 1)[0], spool=spool, code=None),
                   spool, "Read-only file system")
        self.assertEqual(content(spool), before)

    def test_full_and_room_again(self):
        """A disk that fills refuses; what was taken stays, and all goes on with more room."""
        self.mount("size=16m")
        spool = os.path.join(self.disk, "spool")
        files = [self.lake.write(f"{i}.ndjson", b"".join(clicks(i * 1000, 1000, size=5000)))
                 for i in range(6)]
        # Uploads that take minutes: what is announced would make room.
        result = self.lake.ingest("clicks", "--ingest-deadline", "1s", "--upload-bandwidth", "1KiB",
                                  *files, spool=spool, code=None)
        self.fails(result, "full")
        said = self.lake.agent("spool", "--json", spool=spool, code=DONE).out
        kept = sum(stream["end"] for stream in json.loads(said)["streams"])
        self.assertIn(kept, range(1, 6000))
        taken = self.committed()
        self.assertLessEqual(len(taken), kept)
        self.assertEqual(taken, each_once(range(len(taken))))
        self.mount("remount,size=64m")
        self.lake.ingest("clicks", *files, spool=spool)
        self.assertEqual(self.committed(), each_once(range(6000)))
        self.lake.check("clicks")

    def test_full_store(self):
        """No room in the warehouse: the events stay in the spool until there is."""
        self.mount("size=2m")
        lake = Lake()
        self.addCleanup(lake.__exit__)
        lake.warehouse = self.disk
        lake.init()
        filler = os.path.join(self.disk, "filler")
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        before = content(self.disk)
        path = lake.write("a.ndjson", b"".join(clicks(10, 500)))
        self.fails(lake.ingest("clicks", "--ingest-deadline", "1s", path, code=None),
                   "No space left", "not delivered")
        self.assertEqual(content(self.disk), before)
        os.remove(filler)
        lake.ingest("clicks", path)
        lake.once()
        self.assertEqual(lake.ids("clicks", "click_id"), each_once(range(10, 510)))


class Damaged(WithLake):
    def test_block(self):
        """One bad sector: its events are lost by name and number, all others arrive."""
        files = [self.lake.write(f"{i}.ndjson", b"".join(clicks(i * 100, 100))) for i in range(3)]
        self.lake.ingest("clicks", *files, code=None, fault="kill:roll.before_register")
        damage(self.lake.spool, "c000150")
        check = self.lake.agent("spool", "--check")
        self.assertEqual(check.code, FAILED)
        self.assertRegex(check.err, r"damaged: .*100")
        result = self.lake.agent("ingest", "clicks", *files)
        self.assertIn("lost", result.err)
        self.assertEqual(self.committed(), each_once([*range(100), *range(200, 300)]))
        streams = self.lake.table_json("ledger", "clicks")
        gaps = [gap for stream in streams for gap in stream["lost"]]
        self.assertEqual([(gap["from"], gap["to"], gap["events"]) for gap in gaps], [(100, 200, 100)])
        self.assertTrue(gaps[0]["reason"])
        self.assertIn("[100, 200)", self.lake.table("ledger", "clicks").out)
        self.assertTrue(glob.glob(f"{self.lake.spool}/quarantine/*"))
        self.lake.ingest("clicks", "-", stdin=b"")
        self.lake.agent("spool", "--check", code=DONE)
        self.lake.check("clicks")

    def test_all_blocks(self):
        """Nothing is left to read: the stream goes on behind what is lost."""
        path = self.lake.write("a.ndjson", b"".join(clicks(0, 100)))
        self.lake.ingest("clicks", path, code=None, fault="kill:roll.before_register")
        damage(self.lake.spool, "c000050")
        self.lake.ingest("clicks", path)
        self.assertEqual(self.committed(), {})
        self.assertEqual([stream["lost_events"] for stream in
                          self.lake.table_json("ledger", "clicks")], [100])

    def test_built_file(self):
        """Built files are a cache: one that is damaged or gone is built again."""
        path = self.lake.write("a.ndjson", b"".join(clicks(0, 100)))
        self.lake.ingest("clicks", path, code=None, fault="kill:roll.before_register")
        for name in glob.glob(f"{self.lake.spool}/sealed/*"):
            with open(name, "r+b") as file:
                file.write(b"damaged")
        self.lake.ingest("clicks", path)
        self.assertEqual(self.committed(), each_once(range(100)))

    def test_whole_environment(self):
        """LMDB does not open it: it is kept for repair, said aloud, and new events arrive."""
        path = self.lake.write("a.ndjson", b"".join(clicks(0, 100)))
        self.lake.ingest("clicks", path, code=None, fault="kill:upload.before_announcement")
        with open(f"{self.lake.spool}/data.mdb", "r+b") as file:
            file.write(b"\xa5" * 4096)
            file.seek(0)
            before = file.read()
        self.fails(self.lake.agent("spool", "--check"), self.lake.spool)
        result = self.lake.agent("ingest", "clicks", "-", stdin=b"".join(clicks(500, 10)), code=DONE)
        self.assertIn("ALARM", result.err)
        kept, = glob.glob(f"{self.lake.spool}/set-aside/*/data.mdb")
        self.assertIn(os.path.dirname(kept), result.err)
        with open(kept, "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertEqual(self.committed(), each_once(range(500, 510)))
        self.lake.agent("spool", "--check", code=DONE)
        self.lake.check("clicks")

    def test_spool_shows_what_it_holds(self):
        path = self.lake.write("a.ndjson", b"".join(clicks(0, 100)))
        self.lake.ingest("clicks", path, code=None, fault="kill:upload.before_announcement")
        text = self.lake.agent("spool", code=DONE).out
        self.assertRegex(text, r"stream edge-1/[0-9a-f-]{36}/db\.clicks")
        self.assertRegex(text, r"\[0, 100\)")
        stream, = [stream for stream in json.loads(self.lake.agent("spool", "--json").out)["streams"]
                   if stream["end"]]
        self.assertEqual((stream["end"], stream["announced"], stream["next"]), (100, 0, 0))


class StoreAway(WithLake):
    """The tables' folder is moved away, and a file stands in its place."""

    def setUp(self):
        super().setUp()
        self.folder = os.path.join(self.lake.warehouse, "db")
        os.rename(self.folder, f"{self.folder}.away")
        with open(self.folder, "wb"):
            pass

    def back(self):
        os.remove(self.folder)
        os.rename(f"{self.folder}.away", self.folder)

    def test_drop_oldest(self):
        """The newest events stay; those that went are lost by number, in the ledger."""
        files = [self.lake.write(f"{i}.ndjson", b"".join(clicks(i * 1000, 1000, size=5000)))
                 for i in range(6)]
        drop = ("--spool-when-full", "drop_oldest", "--spool-bytes", "16MiB")
        result = self.lake.ingest("clicks", *drop, "--ingest-deadline", "1s", "--roll-bytes", "4MiB",
                                  *files, code=None)
        self.fails(result, "not delivered", "dropped")
        self.back()
        self.lake.ingest("clicks", *drop, "-", stdin=b"")
        taken = self.committed()
        self.assertGreater(len(taken), 500)
        self.assertLess(len(taken), 5000)
        self.assertEqual(taken, each_once(range(6000 - len(taken), 6000)))
        stream, = [stream for stream in self.lake.table_json("ledger", "clicks") if stream["lost"]]
        self.assertEqual((stream["next"], stream["lost_events"]), (6000, 6000 - len(taken)))
        self.assertEqual({gap["reason"] for gap in stream["lost"]}, {"disk_full"})
        self.lake.check("clicks")
        self.lake.agent("spool", "--check", code=DONE)

    def test_smaller_limits_after_a_restart(self):
        """What was sealed, or is found open, when roll.bytes and memory were more is delivered in
        segments that have room now."""
        files = [self.lake.write(f"{i}.ndjson", b"".join(clicks(i * 1000, 1000, size=2000)))
                 for i in range(4)]
        result = self.lake.ingest("clicks", "--ingest-deadline", "1s", *files, code=None)
        self.fails(result, "not delivered")
        self.back()
        result = self.lake.ingest("clicks", "--roll-bytes", "1MiB", "-", stdin=b"")
        self.assertGreater(result["segments"], 2)
        self.assertEqual(self.committed(), each_once(range(4000)))
        self.lake.check("clicks")
        self.lake.agent("spool", "--check", code=DONE)

    def test_stopped(self):
        """A stop is not held up by a store that is away, whatever ingest.deadline says."""
        running = subprocess.Popen(
            [f"{BUILD}/bidlake-agent", "ingest", *self.lake.agent_flags(), "--ingest-deadline", "1d",
             "clicks", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        self.addCleanup(end, running)
        self.addCleanup(running.stderr.close)
        running.stdin.write(b"".join(clicks(0, 100)))
        running.stdin.close()
        log = b""
        while b"step failed" not in log:
            log += running.stderr.readline()
        running.send_signal(signal.SIGTERM)
        log = running.stderr.read()
        self.assertEqual(running.wait(timeout=RUN_SECONDS), FAILED)
        self.assertIn(b"stay in the spool", log)
        self.back()
        self.lake.ingest("clicks", "-", stdin=b"")
        self.assertEqual(self.committed(), each_once(range(100)))


if __name__ == "__main__":
    unittest.main()
