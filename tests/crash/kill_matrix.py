#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills agent and committer at every named point of the sources, lets them start again and
asks whether every event is in its table exactly once.

usage: kill_matrix.py [--random N] [--seed N] [--point NAME] [--verbose]

A point is the name in a fault_point() call. For each, for each command that can come by it, and
for its first passes, the scenarios are tried in order until one in which it does: the steps of
that command run with BIDLAKE_FAULT=kill:NAME:N until one is killed, that one is run again
without, and so are the rest. Then the law is held: the ids of all events, except those of a block that was
damaged on purpose, are each once in the table (read by PyIceberg and pyarrow), the ledger
counts the others as lost, the inbox is empty, `bidlake-table check` and `bidlake-agent spool
--check` find nothing. A point at which nothing is ever killed is a failure too: then the matrix
has a hole.

--random N: besides, N processes are killed at random moments while others run.
"""
import argparse
import collections
import contextlib
import glob
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import lake as programs  # noqa: E402
from lake import ROOT, Lake, damage  # noqa: E402

SOURCES = ["agent", "cloud", "lib", "spool", "uploader"]
PASSES = (1, 2, 3, 7)
# What a folder's code runs in: the layers say so, agent and cloud never meet.
COMMANDS = {"agent": ["ingest"], "spool": ["ingest"], "uploader": ["ingest"],
            "cloud": ["init", "once"], "lib": ["init", "ingest", "once"]}
SCENARIOS_DIRECTORY = "/dev/shm"  # a killed process loses no page cache: no disk is needed


def fault_points():
    """{name: commands}. Each name once: a point that two places share can't be told apart."""
    found, commands = collections.Counter(), {}
    for folder in SOURCES:
        for directory, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith(".c"):
                    with open(os.path.join(directory, name), encoding="utf-8") as file:
                        names_here = re.findall(r'fault_point\("([^"]+)"', file.read())
                    found.update(names_here)
                    commands.update({point: COMMANDS[folder] for point in names_here})
    doubled = [name for name, count in found.items() if count > 1]
    if doubled:
        raise SystemExit(f"used at two places: {doubled}")
    return commands


class Scenario:
    """Steps over a lake of its own, and the ids that must come of them."""
    ROLL = ("--roll-rows", "150", "--roll-partition-bytes", "0")
    may_exit = (0,)
    drops = False  # which events are lost is the spool's choice

    def __init__(self, fault=None, command=None):
        self.fault, self.command = fault, command
        self.lake = Lake(tables="openrtb")
        self.hit = None  # the command that was killed
        self.expected = collections.Counter()
        self.lost = 0
        self.files = 0

    def close(self):
        self.lake.__exit__()

    def step(self, run, *arguments, **how):
        """One program's run, armed until one was killed, and again until it is done."""
        fault = self.fault if run.__name__ == self.command and not self.hit else None
        result = run(*arguments, code=None, fault=fault, **how)
        if result.code == -signal.SIGKILL and fault:
            self.hit = True
            if sum(self.fault.encode()) % 2 == 0:  # half of the time the others go on first
                self.lake.once(code=None)
            result = run(*arguments, code=None, **how)
        if result.code not in ((0, 3) if run == self.lake.once else self.may_exit):
            raise AssertionError(f"{arguments}: exit {result.code}\n{result.out}\n{result.err}")

    def events(self, count, size=0, counted=True):
        """A file of clicks with ids of their own, in two countries on two days."""
        lines, self.files = [], self.files + 1
        for i in range(count):
            event = {"id": f"event-{self.files}-{i:05}", "ts": 1767225600000 + i % 2 * 86400000,
                     "device_geo_country": ("USA", "DEU")[i // 2 % 2], "landing_page": "x" * size}
            lines.append(json.dumps(event))
            if counted:
                self.expected[event["id"]] += 1
        return self.lake.write(f"{self.files}.ndjson", "\n".join(lines) + "\n")

    def ingest(self, *files, flags=()):
        self.step(self.lake.ingest, "clicks", *self.ROLL, *flags, *files)

    def once(self, *flags):
        self.step(self.lake.once, *flags)

    def run(self):
        self.step(self.lake.init)
        self.steps()

    def verify(self):
        lake = self.lake
        lake.ingest("clicks", "-", stdin=b"")  # what is left is delivered, receipts are read
        quiet(lake)
        lake.ingest("clicks", "-", stdin=b"")
        found = lake.ids("clicks", "click_id")
        if self.drops and not found - self.expected and not [n for n in found.values() if n > 1]:
            self.lost = len(self.expected) - len(found)
        elif found != self.expected:
            raise AssertionError(
                f"missing {list((self.expected - found).items())[:5]} "
                f"too many {list((found - self.expected).items())[:5]}")
        lost = sum(gap["events"] for stream in lake.table_json("ledger", "clicks")
                   for gap in stream["lost"])
        if lost != self.lost:
            raise AssertionError(f"{lost} events lost by the ledger, {self.lost} in truth")
        lake.check("clicks")
        lake.agent("spool", "--check", code=0)
        held = [stream for stream in json.loads(lake.agent("spool", "--json", code=0).out)["streams"]
                if stream["next"] < stream["end"]]
        if held:
            raise AssertionError(f"the spool still holds {held}")


class Daily(Scenario):
    """Several files, several segments, partitions and turns."""

    def steps(self):
        self.ingest(*[self.events(100) for _ in range(4)])
        self.once()
        self.ingest(self.events(120), self.events(10))
        self.once()
        self.ingest(self.events(5), flags=("--roll-partition-bytes", "1GiB"))
        self.once()


class Pressure(Scenario):
    """More than the spool's budget: announced records are let go before they are committed."""

    def steps(self):
        flags = ("--spool-bytes", "16MiB")
        self.ingest(*[self.events(400, size=9000) for _ in range(5)], flags=flags)
        self.once()
        self.ingest(self.events(10), flags=flags)
        self.once()


class Drop(Scenario):
    """More than the budget, and the store away: the oldest events are announced as lost."""
    drops = True

    def steps(self):
        flags = ("--spool-bytes", "16MiB", "--spool-when-full", "drop_oldest")
        folder = f"{self.lake.warehouse}/db"
        os.rename(folder, f"{folder}.away")
        self.lake.write(folder, b"")  # no folder: no file can be put
        self.may_exit = (1,)
        self.ingest(*[self.events(400, size=9000) for _ in range(6)],
                    flags=(*flags, "--ingest-deadline", "1s"))
        self.may_exit = (0,)
        os.remove(folder)
        os.rename(f"{folder}.away", folder)
        self.ingest(self.events(10), flags=flags)
        self.once()


class Damage(Scenario):
    """Two blocks that don't read back: their ranges are lost, announced and counted."""

    def steps(self):
        files = [self.events(100, counted=number not in (1, 3)) for number in range(5)]
        self.lake.ingest("clicks", *files, code=None, fault="kill:upload.before_announcement")
        damage(self.lake.spool, "event-2-00050")
        damage(self.lake.spool, "event-4-00001")
        self.lost = 200
        self.ingest(*files)
        self.once()


class Weekend(Scenario):
    """The committer was away for two days: files are old, and junk lies in the inbox. It asks for
    several things at a time."""

    def steps(self):
        self.ingest(self.events(100), self.events(100))
        ago = time.time() - 2 * 86400
        for path in glob.glob(f"{self.lake.warehouse}/db/clicks/data/**/*.parquet", recursive=True):
            os.utime(path, (ago, ago))
        for number in range(12):
            self.lake.write(f"warehouse/_bidlake/inbox/db.clicks/{number:032x}/{0:020}.json", "junk")
        self.once("--store-parallel", "8")


class Tidy(Scenario):
    """Manifests are merged and snapshots dropped; what they leave behind is removed."""

    def steps(self):
        with contextlib.closing(self.lake.catalog()) as catalog:
            with catalog.load_table("db.clicks").transaction() as change:
                change.set_properties({"commit.manifest.min-count-to-merge": "2"})
        flags = ("--snapshots-keep", "2", "--commit-prune-every", "1")
        for _ in range(7):
            self.ingest(self.events(10))
            self.once(*flags)
            ago = time.time() - 2 * 86400
            for path in glob.glob(f"{self.lake.warehouse}/_bidlake/dropped/*/*.json"):
                os.utime(path, (ago, ago))


SCENARIOS = [Daily, Pressure, Drop, Damage, Weekend, Tidy]


def quiet(lake):
    """Turns until nothing is left to do."""
    for _ in range(10):
        lake.once()
        if not lake.inbox():
            return
    raise AssertionError(f"the inbox does not empty: {lake.inbox()}")


def run_one(kind, name, nth, command, verbose):
    """Whether the point was hit in this scenario; raises when the law does not hold."""
    scenario = kind(f"kill:{name}:{nth}", command)
    start = time.monotonic()
    try:
        scenario.run()
        if scenario.hit:
            scenario.verify()
            if verbose:
                print(f"{name}:{nth} in {command}, {kind.__name__}, "
                      f"{time.monotonic() - start:.2f} s", flush=True)
        return scenario.hit
    finally:
        scenario.close()


def kill_at_point(name, command, verbose):
    """Kills survived, and failures."""
    hit, kills = None, 0
    for nth in PASSES:
        for kind in [hit] if hit else SCENARIOS:
            try:
                if run_one(kind, name, nth, command, verbose):
                    hit = kind
                    kills += 1
                    break
            except Exception as error:  # told, and the others still run
                return kills, [f"{name}:{nth} in {command}, {kind.__name__}: {error}"]
        if not hit:
            break
    return kills, []


def matrix(points, verbose):
    kills, failures = 0, []
    for name, commands in sorted(points.items()):
        before = kills
        for command in commands:
            more, wrong = kill_at_point(name, command, verbose)
            kills, failures = kills + more, failures + wrong
        if kills == before:
            failures.append(f"{name}: nothing was killed there")
    return kills, failures


def control():
    """The law must be able to fail: an event taken twice, one that never came."""
    for spoil in (lambda s: s.ingest(*s.taken, flags=("--again",)),
                  lambda s: s.expected.update({"never sent": 1})):
        scenario = Scenario()
        try:
            scenario.lake.init()
            scenario.taken = [scenario.events(10)]
            scenario.ingest(*scenario.taken)
            spoil(scenario)
            scenario.verify()
        except AssertionError:
            continue
        finally:
            scenario.close()
        return ["control: a doubled or a missing event is not noticed"]
    return []


def spawn(program, *arguments):
    return subprocess.Popen([os.path.join(programs.BUILD, program), *arguments], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_at_random(count, seed, verbose):
    """Agent and two committers run side by side; each round one of them is killed at a random
    moment of its life. The agent's file is the same until it was taken whole."""
    draw = random.Random(seed)
    scenario = Scenario()
    lake = scenario.lake
    kills = 0
    try:
        lake.init()
        files, lives = [scenario.events(6000, size=300)], {"agent": 0.03, "commit": 0.02}
        for _ in range(50 * count):
            if kills == count:
                break
            victim = draw.choice(["agent", "agent", "commit"])
            started = {
                "agent": spawn("bidlake-agent", "ingest", *lake.agent_flags(), "clicks",
                               *scenario.ROLL, "--roll-rows", "700", *files),
                "commit": spawn("bidlake-commit", "once", *lake.commit_flags()),
                "other": spawn("bidlake-commit", "once", *lake.commit_flags())}
            begin = time.monotonic()
            moment = draw.uniform(0, lives[victim] * 1.2)
            try:
                started[victim].wait(timeout=moment)
                lives[victim] = max(time.monotonic() - begin, 0.002)  # it lived shorter
            except subprocess.TimeoutExpired:
                started[victim].kill()
            for name, process in started.items():
                code = process.wait(timeout=60)
                if code == -signal.SIGKILL:
                    kills += 1
                    lives[name] *= 1.1
                elif code != 0:
                    raise AssertionError(f"{name}: exit {code}")
                elif name == "agent":
                    files.append(scenario.events(6000, size=300))
        if kills < count:
            raise AssertionError(f"only {kills} processes were killed alive")
        lake.ingest("clicks", *scenario.ROLL, *files)
        scenario.verify()
        if verbose:
            print(f"random: {kills} kills, {scenario.expected.total()} events", flush=True)
        return kills, []
    except Exception as error:
        return kills, [f"random, seed {seed}: {error}"]
    finally:
        scenario.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--point")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    start = time.monotonic()
    points = fault_points()
    if options.point:
        points = {options.point: points[options.point]}
    directory = os.environ.get("BIDLAKE_TEST_DIR")
    if directory is None and os.access(SCENARIOS_DIRECTORY, os.W_OK):
        directory = SCENARIOS_DIRECTORY
    with tempfile.TemporaryDirectory(prefix="bidlake-kill-", dir=directory) as folder:
        os.environ["BIDLAKE_TEST_DIR"] = folder
        programs.keep_programs(folder)
        kills, failures = matrix(points, options.verbose)
        failures += control()
        if options.random:
            more, wrong = kill_at_random(options.random, options.seed, options.verbose)
            kills, failures = kills + more, failures + wrong
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{len(points)} points, {kills} kills survived, {time.monotonic() - start:.0f} s")
    print(f"{kills} kills passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
