#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A disk whose syncs fail now and then, under a daemon that is fed from every kind of source.

usage: sick_disk.py [--failures N] [--seed N] [--verbose]

The feeders and their law are those of source_kills.py; the daemon runs under `strace -e inject=`.
First each of SICK fails again and again, N times: the daemon must mend its spool in the process
(close, open anew, verify, a new epoch) and go on; no HTTP connection may end without an answer.
Then N appends, two at least, are durable and reported as failed: what asks the spool before it
hands in again (files that are followed, standard input) has each event once all the same.
Then a sync fails and never works again: the daemon stays, refuses with 503 and says so at /readyz;
SIGTERM ends it, and a start without the fault has all that was ever answered.
"""
import argparse
import contextlib
import http.client
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading

import source_kills
from source_kills import Batches, Datagrams, Feeder, Keyed, Kills, Pixel, Stream, Tail, body_of
from lake import until
import lake as programs

# LMDB's data by fdatasync, its commit point by a pwrite to a second, O_DSYNC descriptor.
SICK = ("fdatasync", "pwrite64")
PERIOD = 400  # calls of a thread; mending takes as long as some hundred do
MENDED = 'msg="the spool is open again"'


class Http:
    """For HTTP feeders: while the daemon lives each request has an answer."""
    unanswered = 0

    def ask(self, *request):
        heard = super().ask(*request)
        if heard is None:
            self.unanswered += 1
        return heard


class SickBatches(Http, Batches):
    pass


class SickKeyed(Http, Keyed):
    pass


class SickPixel(Http, Pixel):
    pass


class SickDatagrams(Datagrams):
    """A batch of which nobody knows whether it is durable is not handed in again."""
    whole = False


class Stdin(Feeder):
    """The pipe that each life of the agent begins with. What was written before it ended was
    read by an agent that lives on, so all of it must be there."""
    name = "stdin"
    ordered = True
    silent = True

    def __init__(self, lake, seed):
        super().__init__(lake, seed)
        self.lock = threading.Lock()
        self.pipe, self.lines, self.rest = None, [], b""

    def listen(self):
        return "stdin:?table=clicks"

    def plug(self, pipe):
        with self.lock:
            os.set_blocking(pipe.fileno(), False)
            self.pipe, self.lines, self.rest = pipe, self.unit([]), b""

    def unplug(self):
        """The agent is about to end: what it did not read is lost."""
        with self.lock, contextlib.suppress(BrokenPipeError):
            self.pipe.close()
            self.pipe = None

    def write(self):
        with contextlib.suppress(BlockingIOError):
            self.rest = self.rest[os.write(self.pipe.fileno(), self.rest):]

    def feed(self):
        with self.lock:
            if self.pipe is None:
                return
            if not self.rest:
                names = self.names(self.draw.randrange(1, 60))
                self.lines.extend(names)
                self.rest = body_of(names) + b"\n"
            self.write()
            self.progress += not self.rest

    def end(self, ended):
        """Of an agent that is well; `ended` says that it saw the end."""
        with self.lock:
            until(lambda: self.write() or not self.rest, "the pipe takes all", 30)
        self.unplug()
        until(ended, "standard input has ended", 30)
        self.answer(self.lines)

    def hold(self, found):
        gone = [name for name in self.answered if not found[name]]
        assert not gone, f"{self.name}: {len(gone)} are gone, {sorted(gone)[:3]}"
        return super().hold(found)


FEEDERS = (SickBatches, SickKeyed, SickPixel, Stream, SickDatagrams, Tail, Stdin)
UNKNOWN = "spool.append.committed"
ASKS_WITHIN = 5  # seconds; who waits longest tries again each second
ASKED = 'msg="a write that failed was kept, going on behind it"'


class Sick(Kills):
    def __init__(self, options):
        super().__init__(options)
        self.healthy = self.agent.arguments
        self.agent.stdin = subprocess.PIPE
        self.stdin = next(feeder for feeder in self.feeders if isinstance(feeder, Stdin))

    def revive(self):
        super().revive()
        self.stdin.plug(self.agent.process.stdin)

    def hold_others(self, alone):
        for feeder in self.feeders:
            feeder.held = alone not in (None, feeder)

    def stop(self, well=True):
        if well:
            # Whose writes fail every moment leaves little time to who tries again seldom.
            self.hold_others(self.stdin)
            self.stdin.end(lambda: 'msg="standard input has ended"' in self.agent.log())
            self.hold_others(None)
        else:
            self.stdin.unplug()
        self.agent.stop()

    def injected(self, call, when):
        return ["strace", "-D", "-f", "-q", "--seccomp-bpf", "-o", self.lake.path("trace"), "-e",
                f"trace={call}", "-e", f"inject={call}:error=EIO:when={when}", *self.healthy]

    def ready(self):
        port = re.search(r"kind=operations address=\S+:(\d+)", self.agent.log())[1]
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def mends(self):
        return self.agent.log().count(MENDED)

    def each_goes_on(self):
        before = {feeder: feeder.progress for feeder in self.feeders}
        until(lambda: self.look() and all(feeder.progress > before[feeder]
                                          for feeder in self.feeders), "each goes on", 60)

    def fails_and_works(self, call):
        """One process, however often the call fails; all feeders go on behind each time."""
        self.agent.arguments = self.injected(call, f"{self.draw.randrange(40, 60)}+{PERIOD}")
        self.revive()
        self.each_goes_on()
        for feeder in self.feeders:
            feeder.unanswered = 0
        for number in range(1, self.options.failures + 1):
            until(lambda: self.look() and self.mends() >= number, f"failure {number} of {call}", 60)
            self.each_goes_on()
        until(lambda: self.look() and self.ready()[0] == 200, "ready", 30)
        self.done[f"failures of {call} mended"] = self.mends()
        for feeder in self.feeders:
            assert not getattr(feeder, "unanswered", 0), \
                f"{feeder.name}: {feeder.unanswered} requests without an answer"

    def asks(self, alone):
        """One write of `alone` is kept and fails. False: it was another's, a place in a file
        that is looked through at the start."""
        nth = self.draw.randrange(4, 12)
        self.agent.arguments = ["env", f"BIDLAKE_FAULT=fail:{UNKNOWN}:{nth}", *self.healthy]
        self.revive()
        until(lambda: self.look() and self.mends() > 0, f"write {nth} of {alone.name} fails", 60)
        try:
            until(lambda: self.look() and ASKED in self.agent.log(), "it asks", ASKS_WITHIN)
        except AssertionError:
            return False
        return True

    def is_kept_and_fails(self):
        """A write that is durable, of which the agent hears that it failed."""
        asking = [feeder for feeder in self.feeders if isinstance(feeder, (Tail, Stdin))]
        for number in range(max(len(asking), self.options.failures)):
            alone = asking[number % 2]
            for last in (False, False, False, False, True):
                self.hold_others(alone)
                if self.asks(alone):
                    break
                assert not last, f"{alone.name} never asks what became of a write"
                self.stop()
            self.hold_others(None)
            self.each_goes_on()
            self.stop()
            self.done[f"writes of {alone.name} kept and reported as failed"] += 1

    def fails_for_ever(self):
        self.agent.arguments = self.injected("fdatasync", f"{self.draw.randrange(20, 40)}+")
        self.revive()
        until(lambda: self.look() and "FAIL spool" in self.ready()[1], "it is not ready", 60)
        asked = [feeder for feeder in self.feeders if isinstance(feeder, (Http, Stream))]
        before = [feeder.progress for feeder in asked]
        connection = http.client.HTTPConnection("127.0.0.1", self.feeders[0].port, timeout=30)
        connection.request("POST", "/v1/events/clicks", '{"id":"refused"}')
        answer = connection.getresponse()
        assert answer.status == 503 and answer.headers["Retry-After"], answer.status
        connection.close()
        assert before == [feeder.progress for feeder in asked], \
            "something was answered without a disk"
        self.done["lines of the log then"] = self.agent.log().count("\n")
        self.stop(well=False)

    def run(self):
        self.lake.init()
        self.agent.arguments = self.healthy
        self.revive()
        for feeder in self.feeders:
            feeder.start()
        try:
            self.stop()
            self.is_kept_and_fails()
            for call in SICK:
                self.fails_and_works(call)
                self.stop()
            self.fails_for_ever()
            self.agent.arguments = self.healthy
            self.revive()
        finally:
            for feeder in self.feeders:
                feeder.stop()
        self.stdin.unplug()
        self.settle()
        # Nothing of it was so bad that it had to be given up.
        assert not os.path.exists(f"{self.lake.spool}/set-aside"), "a spool was set aside"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--failures", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    options.only = None
    source_kills.FEEDERS = FEEDERS
    directory = os.environ.get("BIDLAKE_TEST_DIR") or "/dev/shm"
    folder = tempfile.mkdtemp(prefix="bidlake-sick-", dir=directory)
    os.environ["BIDLAKE_TEST_DIR"] = folder
    programs.keep_programs(folder)
    sick = Sick(options)
    failure = None
    try:
        sick.run()
    except Exception as error:
        failure = error
    finally:
        sick.close()
        if not os.environ.get("BIDLAKE_TEST_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    if options.verbose or failure:
        print(", ".join(f"{count} {what}" for what, count in sorted(sick.done.items())))
    if failure:
        print(f"FAILED sick disk, seed {options.seed}: {failure}")
    mended = sum(count for what, count in sick.done.items() if what.endswith("mended"))
    print(f"{mended} failed writes mended in the process, {int(failure is not None)} failed; "
          f"seed {options.seed}")
    return 1 if failure or mended < 2 * options.failures else 0


if __name__ == "__main__":
    sys.exit(main())
