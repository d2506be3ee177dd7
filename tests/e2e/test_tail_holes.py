# SPDX-License-Identifier: Apache-2.0
"""A file that was truncated under a writer who does not append (`bidder > file`): the writer goes
on at its old offset, and what is before that reads as NULs."""
import gzip
import os
import shutil
import signal
import unittest

import test_tail
from lake import end
from test_tail import line


class Holes(test_tail.Followed):
    def setUp(self):
        super().setUp()
        self.writer = open(self.file("a.log"), "wb", buffering=0)
        self.addCleanup(self.writer.close)
        self.sent = []

    def put(self, *names):
        self.writer.write(b"".join(line(name) for name in names))
        self.sent += names

    def rotate(self, to):
        shutil.copyfile(self.file("a.log"), self.file(to))
        os.truncate(self.file("a.log"), 0)

    def some(self, name, count=20):
        return [f"{name}{n}" for n in range(count)]

    def test_each_rotation(self):
        """What follows the hole is taken, once, and so is what follows the next, over kills."""
        self.put(*self.some("a", 300))
        agent = self.start()
        self.taken(agent, "a.log")
        for n, kill in enumerate((False, True, False)):
            self.rotate(f"a.log.{n}")
            self.state(agent, f"a.log.{n}", "reading")  # there is no original any more
            self.put(*self.some(f"b{n}-"))
            self.taken(agent, "a.log")
            if kill:
                end(agent.process, signal.SIGKILL)
                self.put(*self.some("k"))
                agent = self.start()
                self.taken(agent, "a.log")
                for other in range(n + 1):
                    self.taken(agent, f"a.log.{other}")
            half = line(f"half{n}")
            self.writer.write(half[:5])
            self.writer.write(half[5:])
            self.sent.append(f"half{n}")
            self.put(*self.some(f"c{n}-"))
            self.taken(agent, "a.log")
        self.assertEqual(self.fault(agent, "binary"), 0)
        self.assertGreaterEqual(self.fault(agent, "hole"), 1)
        self.assertEqual(agent.log().count("begins with NULs"), 1, agent.log())
        os.rename(self.file("a.log"), self.file("a.log.9"))
        self.until(agent, lambda: self.status(agent).get("a.log.9", {}).get("safe_to_delete"), "safe")
        self.expect(agent, self.sent)

    def test_nobody_looked(self):
        """The copy has it all, also the one with a hole, also compressed."""
        self.put(*self.some("a", 100))
        agent = self.start()
        self.taken(agent, "a.log")
        end(agent.process, signal.SIGKILL)
        self.put(*self.some("b"))
        self.rotate("a.log.1")
        self.put(*self.some("c", 200))
        agent = self.start()
        self.taken(agent, "a.log")
        self.taken(agent, "a.log.1")
        agent.stop()
        self.put(*self.some("d"))
        self.rotate("a.log.2")
        self.put(*self.some("e"))
        self.compress("a.log.2", "a.log.2.gz", gzip.compress)
        agent = self.start()
        self.taken(agent, "a.log")
        self.state(agent, "a.log.2.gz", "finished")
        self.assertEqual(self.fault(agent, "binary"), 0)
        self.expect(agent, self.sent)

    def test_two_that_begin_with_holes(self):
        """NULs are no text: they don't make one file a copy of another."""
        agent = self.start()
        for name, hole in (("b.log", 100000), ("c.log", 100000), ("d.log", 5000)):
            self.append(name, b"\0" * hole, *self.some(name, 3))
            self.sent += self.some(name, 3)
            self.taken(agent, name)
        self.expect(agent, self.sent)

    def test_what_follows_is_judged(self):
        """A hole of a terabyte costs nothing, and what is binary behind one stays that."""
        self.writer.seek(1 << 40)
        self.put(*self.some("a"))
        self.write("binary", b"\0" * 70000 + b"\x7fELF\x01\x02" * 100)
        self.write("empty", b"\0" * 70000)
        agent = self.start()
        self.taken(agent, "a.log")
        self.state(agent, "binary", "binary")
        self.state(agent, "empty", "waiting")
        self.assertFalse(self.status(agent)["empty"]["safe_to_delete"])
        self.append("empty", "b")
        self.taken(agent, "empty")
        self.assertEqual(self.fault(agent, "hole"), 2)
        self.expect(agent, self.sent + ["b"])


if __name__ == "__main__":
    test_tail.main()
