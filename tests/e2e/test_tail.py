# SPDX-License-Identifier: Apache-2.0
"""Lines that lie somewhere already: standard input."""
import gzip
import json
import os
import re
import signal
import subprocess
import unittest

import lake
from lake import DONE, USAGE, Lake, end, until


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
        self.assertEqual(process.wait(timeout=20 * lake.PATIENCE), DONE, self.log())
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
        self.assertEqual(process.wait(timeout=20 * lake.PATIENCE), DONE, self.log())

    def test_compressed_and_damaged(self):
        """What comes before the damage is kept, and the damage is said."""
        whole = b"".join(line(f"n{n}") for n in range(5000))
        process = self.start()
        process.stdin.write(gzip.compress(whole)[:-20])
        process.stdin.close()
        self.assertEqual(process.wait(timeout=20 * lake.PATIENCE), DONE, self.log())
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
        self.assertEqual(process.wait(timeout=20 * lake.PATIENCE), DONE, self.log())

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
        self.assertEqual(process.wait(timeout=30 * lake.PATIENCE), DONE, self.log())
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


if __name__ == "__main__":
    unittest.main()
