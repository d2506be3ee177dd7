# SPDX-License-Identifier: Apache-2.0
"""Followed files under a writer and a rotator that do what they like, and an agent that is killed
as it goes: each line is in the table once. What is done is drawn from a seed:

    BIDLAKE_TAIL_SEEDS=100-120 BIDLAKE_TAIL_STEPS=300 run.py test_tail_random.py

A line may be lost by the rotation itself (written between copy and truncate, deleted unread): the
rotator does such things only when the agent says that it has taken it all.
"""
import concurrent.futures
import gzip
import os
import random
import shutil
import signal
import threading
import time
import unittest

import lake
import test_tail
from lake import Lake, end, until
from rotating import Held, all_taken
from test_tail import line


def is_compressed(path):
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


class Log:
    """One text after the other under a name. Its lines are all different but the first ones, which
    all logs share; of those each text has some."""

    def __init__(self, world, name):
        self.world, self.name, self.path = world, name, world.path(name)
        self.held = Held(self.path) if name == "held.log" else None
        self.half = b""  # of a line, that is owed
        self.head()

    def head(self):
        """A new text begins: with a header, or not."""
        count = self.world.rng.choice([0, 1, 1, 2])
        self.world.heads += 1
        self.put(b"".join(line(f"head-{n}") for n in range(count)))

    def put(self, data):
        if self.held:
            self.held.write(data)
            return
        with open(self.path, "ab", buffering=0) as file:
            file.write(data)

    def write(self, count):
        rng = self.world.rng
        self.world.note(f"{self.name} {self.world.number} + {count}, at "
                        f"{os.stat(self.path).st_size if os.path.exists(self.path) else 0}")
        names = [f"{self.name}-{self.world.number + n}" for n in range(count)]
        self.world.number += count
        self.world.sent.update(names)
        data = self.half + b"".join(line(name) for name in names)
        cut = rng.choice([len(data), rng.randrange(len(data) + 1)])
        if len(data) - cut > 200:
            cut = len(data)
        self.put(data[:cut])
        self.half = data[cut:]

    def whole(self):
        self.put(self.half)
        self.half = b""


class World:
    """A folder of logs, and what may happen to it."""

    def __init__(self, folder, rng, pause):
        self.folder, self.rng, self.pause = folder, rng, pause
        self.taken = lambda path: False  # whether all of a file is known to be taken
        self.sent, self.number, self.rotations, self.heads = set(), 0, 0, 0
        self.trace = []
        os.makedirs(folder)
        self.logs = [Log(self, name) for name in ("a.log", "b.log", "held.log")]
        os.symlink("b.log", self.path("current"))

    def close(self):
        for log in self.logs:
            if log.held:
                log.held.close()

    def path(self, name):
        return os.path.join(self.folder, name)

    def step(self):
        log = self.rng.choice(self.logs)
        acts = [(12, self.write), (2, self.rename), (2, self.copy_and_truncate), (2, self.replace),
                (1, self.reset), (2, self.compress), (1, self.backup), (1, self.link),
                (1, self.delete), (1, self.shift)]
        act = self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])[0]
        self.note(f"{act.__name__} {log.name}")
        act(log)

    def note(self, what):
        self.trace.append(f"{time.time() % 60:.3f} {what}")

    def write(self, log):
        log.write(self.rng.choice([1, 1, 2, 3, 10, 50, 1000]))

    def old_name(self, log):
        self.rotations += 1
        return self.path(f"{log.name}.{self.rotations}")

    def rename(self, log):
        log.whole()
        os.rename(log.path, self.old_name(log))
        self.between()
        log.head()

    def copy_and_truncate(self, log):
        log.whole()
        to = self.old_name(log)
        if self.rng.random() < 0.3:
            self.copy(log.path, to + ".gz", lambda path, mode: gzip.open(path, mode, 1))
        else:
            self.copy(log.path, to, open)
        self.between()
        if self.rng.random() < 0.3:
            self.late(log)
        os.truncate(log.path, 0)
        if self.rng.random() < 0.5:
            self.between()
        log.head()

    def late(self, log):
        """Lines that the copy has not, taken before the truncation: not in it, but in the table."""
        if self.taken(log.path):
            self.note(f"late {log.name}")
            log.write(2)
            log.whole()
            self.taken(log.path)

    def replace(self, log):
        """As an editor or rsync does: the same text and more, in another file of that name."""
        if os.stat(log.path).st_nlink > 1:
            return  # the old one stays, and nobody could tell that this one is not another
        log.whole()
        to = os.path.join(os.path.dirname(self.folder), "new")
        shutil.copyfile(log.path, to)
        os.replace(to, log.path)
        log.write(3)

    def reset(self, log):
        """The text is over, and another one begins in the same file."""
        log.whole()
        if self.taken(log.path):
            size = os.stat(log.path).st_size
            os.truncate(log.path, 0)
            if self.rng.random() < 0.5:
                log.head()
            while self.rng.random() < 0.8 or (os.stat(log.path).st_size < size < 2000):
                log.write(2)

    def others(self):
        names = [self.path(name) for name in sorted(os.listdir(self.folder))]
        return [path for path in names if path not in [log.path for log in self.logs]
                and not os.path.islink(path)]

    def compress(self, log):
        plain = [path for path in self.others()
                 if not path.endswith(".hard") and not is_compressed(path)]
        if plain:
            path = self.rng.choice(plain)
            self.copy(path, path + ".gz", lambda path, mode: gzip.open(path, mode, 1))
            if self.rng.random() < 0.3:
                self.between()
            os.remove(path)

    def backup(self, log):
        log.whole()  # half a line in a copy is nobody's
        path = self.rng.choice(self.others() + [log.path])
        self.copy(path, f"{self.old_name(log)}.bak", open)

    def link(self, log):
        path = log.path + ".hard"
        if os.path.exists(path):
            os.remove(path)
        else:
            os.link(log.path, path)

    def delete(self, log):
        old = self.others()
        if old:
            path = self.rng.choice(old)
            if self.taken(path, "safe_to_delete"):
                os.remove(path)

    def shift(self, log):
        """Old ones get other names."""
        old = [path for path in self.others() if not path.endswith(".hard")]
        if old:
            path = self.rng.choice(old)
            self.rotations += 1
            os.rename(path, path.removesuffix(".gz") + f".s{self.rotations}")

    def between(self):
        self.pause(self.rng.choice([0, 0, 0.01, 0.3, 1.2]))

    def copy(self, source, to, how):
        with open(source, "rb") as data, how(to, "wb") as out:
            while piece := data.read(self.rng.choice([20, 500, 50000])):
                out.write(piece)
                out.flush()
                if self.rng.random() < 0.02:
                    self.pause(0.01)


class Random(test_tail.Followed):
    def one(self, seed, steps):
        where = Lake()
        self.addCleanup(where.__exit__)
        where.init()
        Run(self, where, seed, steps).run()

    def test_seeds(self):
        first, _, last = os.environ.get("BIDLAKE_TAIL_SEEDS", "2-4").partition("-")
        steps = int(os.environ.get("BIDLAKE_TAIL_STEPS", "12"))
        seeds = range(int(first), int(last or first) + 1)
        with concurrent.futures.ThreadPoolExecutor(4) as workers:
            jobs = {workers.submit(self.one, seed, steps): seed for seed in seeds}
            for job in concurrent.futures.as_completed(jobs):
                with self.subTest(seed=jobs[job]):
                    job.result()


class Run(test_tail.Followed):
    """One seed. A test case for its helpers alone."""

    def __init__(self, case, where, seed, steps):
        super().__init__()
        self.case, self.lake, self.steps = case, where, steps
        self.rng = random.Random(seed)
        self.logs = where.path("logs")
        self.pattern = os.path.join(self.logs, "*")
        self.world = World(self.logs, self.rng, threading.Event().wait)
        self.world.taken = self.is_taken
        self.addCleanup(self.world.close)
        self.agent = None

    def addCleanup(self, *arguments):
        self.case.addCleanup(*arguments)

    def file_of(self, path):
        """What the status says of the file, by whichever of its names."""
        same = [os.path.basename(path)] + [name for name in os.listdir(self.logs)
                                           if os.path.exists(self.file(name))
                                           and os.path.samefile(self.file(name), path)]
        status = self.status(self.agent)
        return next((status[name] for name in same if name in status), None)

    def is_taken(self, path, how="offset"):
        """Waits for it, if anybody is there."""
        if self.agent is None:
            return False
        size = os.stat(path).st_size

        def look():
            file = self.file_of(path)
            return file and (file["offset"] == size or file["state"] == "copy") and file
        if how == "safe_to_delete":
            file = self.file_of(path)
            return file and file[how]
        file = until(look, f"{path} taken: {self.status(self.agent)}\n{self.agent.log()}", 30)
        return file["offset"] == size

    def turn(self):
        """What happens to the agent."""
        chance = self.rng.random()
        if self.agent is None:
            if chance < 0.3:
                self.world.note("start")
                self.agent = self.start()
        elif chance < 0.06:
            self.world.note("end")
            if chance < 0.04:
                end(self.agent.process, signal.SIGKILL)
            else:
                self.agent.stop()
            self.agent = None
        else:
            self.world.pause(self.rng.choice([0, 0.01, 0.1, 0.4]))

    def missing(self):
        return self.world.sent - self.ids().keys()

    def run(self):
        for _ in range(self.steps):
            self.turn()
            self.world.step()
        for log in self.world.logs:
            log.whole()
        if self.agent is not None:  # what it holds open would be waited for
            self.agent.stop()
        for _ in range(2):  # once more: what is known must outlive the agent
            self.agent = self.start()
            try:
                until(lambda: all_taken(self.status(self.agent).values()), "all taken", 30)
                until(lambda: not self.missing(), "all in the table", 30)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.report()}") from error
            self.agent.stop()
            self.judge()

    def judge(self):
        found = self.ids()
        heads = {name: count for name, count in found.items() if name.startswith("head-")}
        wrong = {name: count for name, count in found.items() if name not in heads and count > 1}
        self.assertEqual((wrong, self.missing()), ({}, set()), self.report())
        self.assertLessEqual(max(heads.values(), default=0), self.world.heads)

    def report(self):
        gone = sorted(self.missing())
        where = {name: [at for at in gone[:5] if b'"%s"' % at.encode() in self.content(name)]
                 for name in os.listdir(self.logs)}
        status = self.status(self.agent) if self.agent.process.poll() is None else {}
        return f"missing {len(gone)} {gone[:5]} in {where}\n{self.world.trace}\n{status}\n" \
               f"{self.agent.log()[-6000:]}"

    def content(self, name):
        with open(self.file(name), "rb") as file:
            data = file.read()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


if __name__ == "__main__":
    unittest.main()
