# SPDX-License-Identifier: Apache-2.0
"""Files that hold what others hold: copies, whose lines were taken, and texts of their own that only
begin alike. A copy that is taken doubles events, a text that is held back loses them."""
import collections
import gzip
import os
import shutil
import signal

import test_tail
from lake import end
from test_tail import line


def text(*names):
    return b"".join(line(name) for name in names)


class Copies(test_tail.Followed):
    def expect(self, agent, *names):
        """All of them in the table, as often as they are named, and nothing else."""
        agent.stop()
        self.assertEqual(self.ids(), collections.Counter(names), agent.log())

    def test_own_lines_behind_a_shared_beginning(self):
        """A header, or the same first event: the file's own lines tell it from the other."""
        self.append("a.log", "head", "a1", "a2")
        self.append("idle.log", "start")
        agent = self.start()
        self.taken(agent, "a.log")
        self.taken(agent, "idle.log")
        self.append("b.log", "head", "b1")  # shorter than a.log
        self.append("c.log", "head", "c1", "c2", "c3")
        self.append("d.log", "start", "d1")  # longer than all that idle.log is
        self.append("e.log", "head")
        for name in ("b.log", "c.log", "d.log"):
            self.taken(agent, name)
        self.state(agent, "e.log", "copy")  # so far
        self.append("e.log", "e1")
        self.taken(agent, "e.log")
        self.append("idle.log", "i1")
        self.taken(agent, "idle.log")
        self.expect(agent, "head", "a1", "a2", "head", "b1", "head", "c1", "c2", "c3", "head", "e1",
                    "start", "d1", "start", "i1")

    def test_successor_of_one_that_is_gone(self):
        """Nobody goes on writing the old one: what begins like it is not to wait for that."""
        self.append("a.log", "head", *(f"a{n}" for n in range(200)))
        self.append("rotated.log", "head", "r1", "r2")
        agent = self.start()
        self.taken(agent, "a.log")
        self.taken(agent, "rotated.log")
        os.rename(self.file("rotated.log"), self.file("rotated.log.1"))
        self.append("rotated.log", "head", "s1")
        self.taken(agent, "rotated.log")
        agent.stop()
        os.remove(self.file("a.log"))
        self.append("b.log", "head", "b1")
        agent = self.start()
        self.taken(agent, "b.log")
        self.append("b.log", "b2")
        self.taken(agent, "b.log")
        self.expect(agent, "head", *(f"a{n}" for n in range(200)), "head", "r1", "r2", "head", "s1",
                    "head", "b1", "b2")

    def test_lines_between_copy_and_truncation(self):
        """Taken from the original; the copy ends before them, and all of it was taken."""
        self.append("a.log", "head", "a1")
        agent = self.start()
        self.taken(agent, "a.log")
        agent.process.send_signal(signal.SIGSTOP)
        self.append("a.log", "a2")
        agent.process.send_signal(signal.SIGCONT)
        self.taken(agent, "a.log")
        shutil.copyfile(self.file("a.log"), self.file("a.log.1"))
        self.append("a.log", "a3")
        self.taken(agent, "a.log")
        os.truncate(self.file("a.log"), 0)
        self.append("a.log", "head", "b1")
        self.taken(agent, "a.log")
        self.state(agent, "a.log.1", "copy")
        end(agent.process, signal.SIGKILL)
        agent = self.start()
        self.append("c.log", "head", "c1")
        self.taken(agent, "c.log")
        self.state(agent, "a.log.1", "copy")
        self.expect(agent, "head", "a1", "a2", "a3", "head", "b1", "head", "c1")

    def test_rest_in_the_copy(self):
        """Of a few lines, too: what was not taken before the truncation, and no more."""
        self.append("a.log", "a1", "a2")
        agent = self.start()
        self.taken(agent, "a.log")
        agent.process.send_signal(signal.SIGSTOP)
        self.append("a.log", "a3")
        shutil.copyfile(self.file("a.log"), self.file("a.log.1"))
        os.truncate(self.file("a.log"), 0)
        self.append("a.log", "b1", "b2", "b3", "b4")
        agent.process.send_signal(signal.SIGCONT)
        self.taken(agent, "a.log")
        self.taken(agent, "a.log.1")
        self.expect(agent, "a1", "a2", "a3", "b1", "b2", "b3", "b4")

    def test_copy_that_is_written_on(self):
        """It is a text of its own from then on."""
        self.append("a.log", "a1", "a2")
        agent = self.start()
        self.taken(agent, "a.log")
        shutil.copyfile(self.file("a.log"), self.file("b.log"))
        self.state(agent, "b.log", "copy")
        self.append("b.log", "b3")
        self.taken(agent, "b.log")
        self.append("a.log", "a3")
        self.taken(agent, "a.log")
        self.expect(agent, "a1", "a2", "a3", "a1", "a2", "b3")

    def test_copy_that_was_found_first(self):
        """What is more than all of it is its original, and goes on behind it; also compressed."""
        names = [f"n{n}" for n in range(400)]
        outside = self.lake.path("outside")
        self.append("a.bak", *names[:200])
        self.append(outside, *names[:300])
        agent = self.start()
        self.taken(agent, "a.bak")
        os.rename(outside, self.file("a.log"))
        self.taken(agent, "a.log")
        self.write("a.log.1.gz", gzip.compress(text(*names)))
        self.state(agent, "a.log.1.gz", "finished")
        self.expect(agent, *names)

    def test_original_comes_before_its_copy(self):
        """Of two that are new, the older one: what is added to it is no text of its own then."""
        names = [f"n{n}" for n in range(6)]
        for letter in "abcdefgh":
            self.append(f"{letter}.log", *(f"{letter}{name}" for name in names[:3]))
            shutil.copyfile(self.file(f"{letter}.log"), self.file(f"{letter}.bak"))
            self.append(f"{letter}.log", f"{letter}{names[3]}")
        agent = self.start()
        for letter in "abcdefgh":
            self.taken(agent, f"{letter}.log")
            self.append(f"{letter}.log", f"{letter}{names[4]}", f"{letter}{names[5]}")
            self.taken(agent, f"{letter}.log")
        self.expect(agent, *(f"{letter}{name}" for letter in "abcdefgh" for name in names))

    def test_compressed_that_begin_alike(self):
        """An hour's file each, with a header: beside the one that grows, and beside each other."""
        self.append("now.log", "head", "n1")
        self.append("idle.log", "start")
        agent = self.start()
        self.taken(agent, "now.log")
        self.taken(agent, "idle.log")
        self.write("1.gz", gzip.compress(text("head", *(f"x{n}" for n in range(500)))))
        self.write("2.gz", gzip.compress(text("head", "y1")))
        self.write("3.gz", gzip.compress(text("start", *(f"z{n}" for n in range(500)))))
        for name in ("1.gz", "2.gz", "3.gz"):
            self.state(agent, name, "finished")
        self.write("same.gz", gzip.compress(text("head", "n1")))
        self.state(agent, "same.gz", "copy")
        os.remove(self.file("now.log"))
        agent.stop()
        agent = self.start()
        self.state(agent, "same.gz", "finished")
        self.expect(agent, "head", "n1", "start", "head", *(f"x{n}" for n in range(500)), "head",
                    "y1", "start", *(f"z{n}" for n in range(500)))

    def test_one_of_two_compressed_is_damaged(self):
        """The other gives the rest, whichever came first."""
        names = [f"n{n}" for n in range(20000)]
        whole = gzip.compress(text(*names), 1)
        self.write("cut.gz", whole[:len(whole) // 2])
        agent = self.start()
        self.until(agent, lambda: self.fault(agent, "damaged") == 1, "damage")
        self.write("whole.gz", whole)
        self.state(agent, "whole.gz", "finished")
        self.write("again.gz", whole)
        self.state(agent, "again.gz", "finished")
        agent.stop()
        agent = self.start()
        for name in ("whole.gz", "again.gz"):
            self.state(agent, name, "finished")
        self.expect(agent, *names)

    def test_half_taken_then_compressed(self):
        """The original is there for a while: both of them give the rest once."""
        names = [f"n{n}" for n in range(2000)]
        self.append("a.log", *names[:1000])
        agent = self.start()
        self.taken(agent, "a.log")
        agent.process.send_signal(signal.SIGSTOP)
        self.append("a.log", *names[1000:])
        self.write("a.log.gz", gzip.compress(text(*names)))
        agent.process.send_signal(signal.SIGCONT)
        self.state(agent, "a.log.gz", "copy")
        os.remove(self.file("a.log"))
        agent.stop()
        agent = self.start()
        self.state(agent, "a.log.gz", "finished")
        self.expect(agent, *names)


if __name__ == "__main__":
    test_tail.main()
