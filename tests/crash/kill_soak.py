#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A lake at work, whose processes are ended and stopped at random, for as long as is wanted.

usage: kill_soak.py [--seconds N] [--seed N] [--verbose]

One daemon takes events over HTTP from four senders, two `bidlake-commit serve` take what it
announces. Again and again one of them hears SIGKILL, SIGTERM, or SIGSTOP and a while later
SIGCONT (so a committer sleeps in the middle of a commit while the other goes on), or is killed
within its first milliseconds, in the recovery from the kill before. Two of the senders repeat a
request with its Idempotency-Key until it is answered, through all lives of the daemon; the others
never repeat. In the end: each event of the first is in the table once; each answered one of the
others is once, each unanswered one at most once; nothing else is there.
"""
import argparse
import collections
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import lake as programs  # noqa: E402
from lake import Lake, end, until  # noqa: E402

BATCH = 40
SENDERS = ("keyed-0", "keyed-1", "plain-0", "plain-1")
RATE = 20  # batches a second of each sender, so that ten minutes stay readable at the end


class Program:
    """One that is started again and again."""
    stdin = subprocess.DEVNULL

    def __init__(self, lake, name, arguments, ready):
        self.lake, self.name, self.arguments, self.ready = lake, name, arguments, ready
        self.process, self.lives, self.log_path = None, 0, None

    def start(self):
        self.lives += 1
        self.log_path = self.lake.path(f"{self.name}-{self.lives % 10}.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(self.arguments, stdin=self.stdin,
                                            stdout=subprocess.DEVNULL, stderr=log)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_ready(self):
        until(lambda: self.ready in self.log() or self.process.poll() is not None,
              f"{self.name} is ready", 60)
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name}: exit {self.process.returncode}\n{self.log()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        if code != 0:
            raise AssertionError(f"{self.name}: exit {code} at SIGTERM\n{self.log()[-3000:]}")


class Soak:
    def __init__(self, seconds, seed, verbose):
        self.seconds, self.seed, self.verbose = seconds, seed, verbose
        self.draw = random.Random(seed)
        self.lake = Lake(tables="openrtb/clicks")
        build = programs.BUILD
        self.agent = Program(self.lake, "agent", [
            f"{build}/bidlake-agent", "run", *self.lake.agent_flags(), "--listen",
            "http:127.0.0.1:0", "--operations", "127.0.0.1:0", "--roll-age", "1s", "--roll-rows",
            "2000", "--spool-bytes", "64MiB", "--stop-deadline", "10s"], 'msg="ready"')
        self.committers = [Program(self.lake, f"serve-{i}", [
            f"{build}/bidlake-commit", "serve", *self.lake.commit_flags(), "--interval", "1s"],
            'msg="turn"') for i in range(2)]
        self.port = None
        self.stopping = threading.Event()
        self.sent = {name: set() for name in SENDERS}
        self.answered = {name: set() for name in SENDERS}
        self.wrong = []
        self.done = collections.Counter()

    # -- senders -----------------------------------------------------------------------------

    def post(self, body, headers):
        """True: answered with success; None: no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/v1/events/clicks", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        if answer.status == 503:
            return None
        if answer.status != 200 or json.loads(text)["accepted"] != BATCH:
            self.wrong.append(f"HTTP {answer.status}: {text[:300]}")
        return True

    def send(self, name):
        number = 0
        while not self.stopping.is_set():
            ids = [f"{name}-{number}-{i}" for i in range(BATCH)]
            body = "\n".join(json.dumps({"id": i, "ts": 1767225600000}) for i in ids)
            self.sent[name].update(ids)
            headers = {"Idempotency-Key": f"{name}-{number}"} if name.startswith("keyed") else {}
            answered = self.post(body, headers)
            while not answered and headers:
                time.sleep(0.02)  # a sender's own pause before it asks again
                answered = self.post(body, headers)
            if answered:
                self.answered[name].update(ids)
            number += 1
            self.stopping.wait(1 / RATE)

    # -- what happens to the programs --------------------------------------------------------

    def revive(self, program, kill_early):
        """Starts it, `kill_early` times only to kill it in its first milliseconds."""
        for _ in range(kill_early):
            program.start()
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.process.wait(timeout=self.draw.uniform(0, 0.015))
            end(program.process)
            self.done["kill at start"] += 1
        program.start()
        if program is self.agent:
            program.wait_ready()
            self.port = int(re.search(r"kind=http address=\S+:(\d+)", program.log())[1])

    def strike(self):
        program = self.draw.choice([self.agent, self.agent, *self.committers])
        how = self.draw.choice(["kill", "kill", "stop", "end"])
        self.done[f"{how} {program.name.split('-')[0]}"] += 1
        if program.process.poll() is not None:
            raise AssertionError(f"{program.name} ended by itself, exit "
                                 f"{program.process.returncode}\n{program.log()[-3000:]}")
        if how == "stop":
            program.process.send_signal(signal.SIGSTOP)
            self.pause(self.draw.uniform(0.05, 2))
            program.process.send_signal(signal.SIGCONT)
            return
        if how == "kill":
            end(program.process)
        else:
            # One that was started just now may not know yet what the signal means.
            program.wait_ready()
            program.stop()
        self.revive(program, self.draw.choice([0, 0, 1, 3]) if how == "kill" else 0)

    def pause(self, seconds):
        time.sleep(seconds)
        if self.wrong:
            raise AssertionError(self.wrong[0])

    def run(self):
        self.lake.init()
        for program in (self.agent, *self.committers):
            self.revive(program, 0)
        senders = [threading.Thread(target=self.send, args=(name,)) for name in SENDERS]
        for sender in senders:
            sender.start()
        last = time.monotonic() + self.seconds
        try:
            while time.monotonic() < last:
                self.pause(self.draw.uniform(0, 0.4))
                self.strike()
        finally:
            self.stopping.set()
        for sender in senders:
            sender.join(timeout=60)
            assert not sender.is_alive(), "a sender hears nothing"
        self.settle()

    def settle(self):
        """Faults are over: all is delivered and taken."""
        self.agent.stop()
        until(lambda: not self.lake.inbox(), "the inbox is empty", 120)
        for program in self.committers:
            program.wait_ready()
            program.stop()
        self.lake.ingest("clicks", "-", stdin=b"")  # receipts are read, nothing is left
        self.hold()
        self.lake.check("clicks")
        self.lake.agent("spool", "--check", code=0)

    def hold(self):
        """The law."""
        found = self.lake.ids("clicks", "click_id")
        doubled = [name for name, count in found.items() if count > 1]
        assert not doubled, f"{len(doubled)} are doubled, {doubled[:3]}"
        for name in SENDERS:
            sent, answered = self.sent[name], self.answered[name]
            gone = answered - found.keys()
            assert not gone, f"{len(gone)} answered of {name} are gone, {list(gone)[:3]}"
            if name.startswith("keyed"):
                assert sent == answered, f"{len(sent - answered)} of {name} were not answered"
        strange = found.keys() - set().union(*self.sent.values())
        assert not strange, f"{len(strange)} were never sent, {list(strange)[:3]}"
        self.done["answered"] = sum(map(len, self.answered.values()))
        self.done["in the table"] = len(found)

    def control(self):
        """The law must be able to fail: one event twice."""
        twice = {"id": f"{SENDERS[0]}-0-0", "ts": 1767225600000}
        self.lake.ingest("clicks", "-", stdin=json.dumps(twice).encode())
        self.lake.once()
        try:
            self.hold()
        except AssertionError:
            return
        raise AssertionError("control: a doubled event is not noticed")

    def close(self):
        self.stopping.set()
        for program in (self.agent, *self.committers):
            if program.process:
                end(program.process)
        self.lake.__exit__()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    directory = os.environ.get("BIDLAKE_TEST_DIR") or "/dev/shm"
    folder = tempfile.mkdtemp(prefix="bidlake-soak-", dir=directory)
    os.environ["BIDLAKE_TEST_DIR"] = folder
    programs.keep_programs(folder)
    soak = Soak(options.seconds, options.seed, options.verbose)
    failure = None
    try:
        soak.run()
        soak.control()
    except Exception as error:
        failure = error
    finally:
        soak.close()
        if not os.environ.get("BIDLAKE_TEST_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    print(", ".join(f"{count} {what}" for what, count in sorted(soak.done.items())))
    if failure:
        print(f"FAILED soak, seed {options.seed}: {failure}")
    strikes = sum(count for what, count in soak.done.items()
                  if what.split()[0] in ("kill", "stop", "end"))
    print(f"{strikes} strikes passed, {int(failure is not None)} failed; seed {options.seed}")
    return 1 if failure or strikes < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
