#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at random moments under load, with every kind of source at work, and what came of it.

usage: source_kills.py [--kills N] [--only NAME,...] [--seed N] [--verbose]

One daemon, one feeder for each source (FEEDERS). It is killed N times, each time only after every
feeder had an answer from this very life, sometimes again in the recovery; the feeders go on through
all its lives. In the end the table is read by foreign readers, and the law is held for each feeder:

  answered      is in the table exactly once
  not answered  at most once; for a feeder that repeats until it is answered there is none such
  in a unit     (a request; with `ordered` a connection or a life) all or none, or a beginning of it

A new source is a new subclass of Feeder and a line in FEEDERS.
"""
import argparse
import collections
import contextlib
import gzip
import http.client
import json
import os
import random
import re
import shutil
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import lake as programs  # noqa: E402
from kill_soak import Program  # noqa: E402
from lake import Lake, end, until  # noqa: E402
from rotating import Rotating, all_taken  # noqa: E402

PAUSE = 0.004  # between two requests of a feeder: two cores are shared with the agent


class Feeder:
    """Sends events of its own names through one source, in a thread, through all lives of the
    agent. `feed` is called again and again until `stopping`; a dead agent is an everyday thing
    there. What it sends and what is answered goes through `unit`, `answer`."""
    name = "feeder"
    repeats = False   # sends again until it is answered: all that it sent must be there
    ordered = False   # of a unit a beginning may be there, else all of it or none
    whole = True      # a unit has no holes
    held = False      # feeds nothing for now
    silent = False    # a source that answers nothing: `progress` is what was handed over

    def __init__(self, lake, seed):
        self.lake = lake
        self.draw = random.Random(f"{seed}-{self.name}")
        self.stopping = threading.Event()
        self.thread = None
        self.units = []        # lists of names, in the order in which they were sent
        self.answered = set()
        self.progress = 0      # answers heard so far
        self.wrong = None
        self.number = 0

    def listen(self):
        """Its part of --listen; None: the HTTP door that is there anyhow."""
        return None

    def agent_started(self, agent_log):
        """A new life of the agent: addresses may be read from its log."""

    def feed(self):
        raise NotImplementedError

    def finish(self):
        """The agent is up and is killed no more: whatever the source still owes is waited for."""

    # -- for subclasses --

    def names(self, count):
        made = [f"{self.name}-{self.number + i}" for i in range(count)]
        self.number += count
        return made

    def unit(self, names):
        """These are sent together; may be called once for a unit that grows, too."""
        self.units.append(names)
        return names

    def answer(self, names):
        self.answered.update(names)
        self.progress += 1

    # -- for the test --

    def start(self):
        self.thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                if not self.held:
                    self.feed()
                self.stopping.wait(PAUSE)
        except Exception as error:
            self.wrong = f"{self.name}: {type(error).__name__}: {error}"

    def stop(self):
        self.stopping.set()
        self.thread.join(timeout=20)
        assert not self.thread.is_alive(), f"{self.name} hears nothing"

    def hold(self, found):
        """The law, over how often each of its names is in the table."""
        sent = {name for unit in self.units for name in unit}
        doubled = [name for name in sent if found[name] > 1]
        assert not doubled, f"{self.name}: {len(doubled)} are doubled, {doubled[:3]}"
        must = sent if self.repeats else self.answered
        gone = [name for name in must if not found[name]]
        assert not gone, f"{self.name}: {len(gone)} answered are gone, {sorted(gone)[:3]}"
        for unit in self.units if self.whole else ():
            there = [found[name] > 0 for name in unit]
            broken = there != sorted(there, reverse=True) if self.ordered else len(set(there)) > 1
            assert not broken, f"{self.name}: {sum(there)} of {len(there)}, from {unit[0]} on"
        return sent


def body_of(names):
    return "\n".join(json.dumps({"id": name, "ts": 1767225600000}) for name in names).encode()


class HttpFeeder(Feeder):
    """Keeps its connection as long as the agent lives."""
    port = None
    connection = None
    refusals = 0

    def agent_started(self, agent_log):
        self.port = int(re.search(r"kind=http address=\S+:(\d+)", agent_log)[1])

    def ask(self, method, path, body=None, headers=None):
        """Status and body, or None: no answer came."""
        if self.connection is None or self.connection.port != self.port:
            self.close()
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            self.connection.request(method, path, body, headers or {})
            answer = self.connection.getresponse()
            self.refusals += answer.status == 503
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return None

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def finish(self):
        self.close()


class Batches(HttpFeeder):
    name = "http-batch"

    def feed(self):
        names = self.unit(self.names(self.draw.randrange(1, 60)))
        body, headers = body_of(names), {}
        if self.draw.random() < 0.3:
            body, headers = gzip.compress(body), {"Content-Encoding": "gzip"}
        heard = self.ask("POST", "/v1/events/clicks", body, headers)
        if heard is None or heard[0] == 503:
            time.sleep(0.02)
            return
        if heard[0] != 200 or json.loads(heard[1])["accepted"] != len(names):
            raise AssertionError(f"HTTP {heard}")
        self.answer(names)


class Keyed(HttpFeeder):
    """One event a request, repeated with its Idempotency-Key until it is answered."""
    name = "http-keyed"
    repeats = True

    def feed(self):
        names = self.unit(self.names(1))
        headers = {"Idempotency-Key": names[0]}
        while (heard := self.ask("POST", "/v1/events/clicks", body_of(names), headers)) is None \
                or heard[0] == 503:
            time.sleep(0.01)  # a sender's own pause before it asks again
        if heard[0] != 200 or json.loads(heard[1]) != {"accepted": 1, "refused": 0}:
            raise AssertionError(f"HTTP {heard}")
        self.answer(names)


class Pixel(HttpFeeder):
    name = "px"

    def feed(self):
        names = self.unit(self.names(1))
        heard = self.ask("GET", f"/px/clicks?id={names[0]}&ts=1767225600000")
        if heard is None or heard[0] == 503:
            time.sleep(0.02)
            return
        if heard[0] != 200:
            raise AssertionError(f"HTTP {heard}")
        self.answer(names)


class UnixFeeder(Feeder):
    kind = socket.SOCK_STREAM
    connection = None
    lines = None      # of this connection: its unit

    def path(self):
        return self.lake.path(f"{self.name}.sock")

    def connect(self):
        """None: nobody is there."""
        if self.connection is None:
            connection = socket.socket(socket.AF_UNIX, self.kind)
            connection.settimeout(30)
            try:
                connection.connect(self.path())
            except OSError:
                connection.close()
                return None
            self.connection, self.lines = connection, self.unit([])
        return self.connection

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def finish(self):
        self.close()


class Stream(UnixFeeder):
    """Lines over a stream; the agent says how many of them are durable. Some lines are cut in
    two writes, and new ones are sent while older ones are on their way."""
    name = "unix-stream"
    ordered = True
    acked, text = 0, b""

    def listen(self):
        return f"unix:{self.path()}?table=clicks&ack=lines"

    def feed(self):
        fresh = self.connection is None
        if self.connect() is None:
            return
        if fresh:
            self.acked, self.text = 0, b""
        names = self.names(self.draw.randrange(1, 80))
        self.lines.extend(names)
        data = body_of(names) + b"\n"
        cut = self.draw.randrange(len(data))
        try:
            self.connection.sendall(data[:cut])
            self.connection.sendall(data[cut:])
            while self.acked < len(self.lines) - 200:
                self.hear(0)
            self.hear(socket.MSG_DONTWAIT)
        except OSError:
            self.close()

    def hear(self, flags):
        with contextlib.suppress(BlockingIOError):
            got = self.connection.recv(4096, flags)
            if not got:
                raise ConnectionResetError
            self.text += got
        *whole, self.text = self.text.split(b"\n")
        if whole:
            self.answer(self.lines[self.acked:int(whole[-1])])
            self.acked = int(whole[-1])

    def finish(self):
        if self.connection is not None:
            while self.acked < len(self.lines):
                self.hear(0)
        self.close()


class Datagrams(UnixFeeder):
    """One event each; nothing is answered, so a kill may cost what is in the socket's queue, but
    nothing in between and nothing from before."""
    name = "unix-datagram"
    kind = socket.SOCK_DGRAM
    ordered = True
    silent = True

    def listen(self):
        return f"unix_datagram:{self.path()}?table=clicks"

    def feed(self):
        if self.connect() is None:
            return
        try:
            for name in self.names(self.draw.randrange(1, 60)):
                self.lines.append(name)
                self.connection.send(body_of([name]))
                self.progress += 1
        except OSError:
            self.lines.pop()
            self.close()


class Tail(Feeder):
    """Files that are rotated while they are written; nothing is answered, and all must be there."""
    name = "tail"
    repeats = True
    whole = False
    operations = None
    heard = 0

    def __init__(self, lake, seed):
        super().__init__(lake, seed)
        self.logs = Rotating(lake.path("logs"), self.draw, self.stopping.wait)

    def listen(self):
        return f"tail:{self.logs.folder}/*?table=clicks"

    def agent_started(self, agent_log):
        self.operations = int(re.search(r"kind=operations address=\S+:(\d+)", agent_log)[1])

    def feed(self):
        for log in self.logs.names:
            self.logs.write(log, self.unit(self.names(self.draw.randrange(1, 30))))
        if self.draw.random() < 0.03:
            self.logs.rotate()
        if self.draw.random() < 0.1:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.hear(sum(file["offset"] for file in self.status()))

    def hear(self, taken):
        """Something was taken since."""
        self.progress += taken != self.heard
        self.heard = taken

    def status(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.operations, timeout=30)
        connection.request("GET", "/v1/status")
        text = connection.getresponse().read()
        connection.close()
        return json.loads(text)["files"]

    def finish(self):
        self.logs.held.close()
        until(lambda: all_taken(self.status(), self.logs.folder), "all files taken", 60)
        for names in self.units:
            self.answer(names)


FEEDERS = (Batches, Keyed, Pixel, Stream, Datagrams, Tail)


class Kills:
    def __init__(self, options):
        self.options = options
        self.draw = random.Random(options.seed)
        self.lake = Lake(tables="openrtb/clicks")
        picked = options.only.split(",") if options.only else None
        self.feeders = [made(self.lake, options.seed) for made in FEEDERS
                        if picked is None or made.name in picked]
        assert self.feeders, f"--only: one of {', '.join(made.name for made in FEEDERS)}"
        listen = ["http:127.0.0.1:0", *filter(None, (at.listen() for at in self.feeders))]
        self.agent = Program(self.lake, "agent", [
            f"{programs.BUILD}/bidlake-agent", "run", *self.lake.agent_flags(), "--listen",
            ",".join(listen), "--operations", "127.0.0.1:0", "--roll-age", "300ms", "--roll-rows",
            "3000", "--stop-deadline", "20s"], 'msg="ready"')
        self.done = collections.Counter()

    def look(self):
        for feeder in self.feeders:
            if feeder.wrong:
                raise AssertionError(feeder.wrong)
        if self.agent.process.poll() is not None:
            raise AssertionError(f"the agent ended by itself, exit {self.agent.process.returncode}"
                                 f"\n{self.agent.log()[-3000:]}")
        return True

    def revive(self):
        self.agent.start()
        self.agent.wait_ready()
        for feeder in self.feeders:
            feeder.agent_started(self.agent.log())

    def life(self):
        """From ready to killed, and ready again: every feeder was heard in between."""
        before = {feeder: feeder.progress for feeder in self.feeders}
        until(lambda: self.look() and all(feeder.progress > before[feeder]
                                          for feeder in self.feeders), "each feeder is heard", 30)
        time.sleep(self.draw.uniform(0, 0.25))  # the random moment
        self.look()
        end(self.agent.process)
        self.done["kills"] += 1
        while self.draw.random() < 0.25:
            self.agent.start()
            time.sleep(self.draw.uniform(0, 0.02))
            end(self.agent.process)
            self.done["kills at start"] += 1
        if self.options.verbose:
            print({feeder.name: feeder.progress for feeder in self.feeders}, flush=True)
        self.revive()

    def run(self):
        self.lake.init()
        self.revive()
        for feeder in self.feeders:
            feeder.start()
        try:
            for _ in range(self.options.kills):
                self.life()
        finally:
            for feeder in self.feeders:
                feeder.stop()
        self.settle()

    def settle(self):
        """Faults are over and the agent is up: all is delivered, taken, and judged."""
        self.look()
        for feeder in self.feeders:
            feeder.finish()
        self.agent.stop()
        self.lake.once()
        self.lake.check("clicks")
        self.lake.agent("spool", "--check", code=0)
        found = self.lake.ids("clicks", "click_id")
        self.hold(found)
        self.control(found)

    def hold(self, found):
        sent = set()
        for feeder in self.feeders:
            own = feeder.hold(found)
            sent |= own
            there = sum(1 for name in own if found[name])
            self.done[f"sent by {feeder.name}"] = len(own)
            self.done[f"of {feeder.name} in the table"] = there
        strange = set(found) - sent
        assert not strange, f"{len(strange)} were never sent, {sorted(strange)[:3]}"

    def control(self, found):
        """The law must be able to fail, for each feeder: one twice, one gone, one in between."""
        for feeder in self.feeders:
            names = max(feeder.units, key=lambda unit: sum(found[name] for name in unit))
            broken = {"doubled": collections.Counter(found, **{names[0]: 2})}
            if not feeder.silent:
                gone = next(iter(feeder.answered))
                broken["gone"] = collections.Counter(found)
                del broken["gone"][gone]
            if feeder.whole and len(names) > 1:
                broken["torn"] = collections.Counter(found)
                del broken["torn"][names[0]]
            for what, table in broken.items():
                try:
                    feeder.hold(table)
                except AssertionError:
                    continue
                raise AssertionError(f"control: {feeder.name}: {what} is not noticed")

    def close(self):
        for feeder in self.feeders:
            feeder.stopping.set()
        if self.agent.process:
            end(self.agent.process)
        self.lake.__exit__()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--only", help="feeders by name: " + ", ".join(at.name for at in FEEDERS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    directory = os.environ.get("BIDLAKE_TEST_DIR") or "/dev/shm"
    folder = tempfile.mkdtemp(prefix="bidlake-source-kills-", dir=directory)
    os.environ["BIDLAKE_TEST_DIR"] = folder
    programs.keep_programs(folder)
    kills = Kills(options)
    failure = None
    try:
        kills.run()
    except Exception as error:
        failure = error
    finally:
        kills.close()
        if not os.environ.get("BIDLAKE_TEST_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
    print(", ".join(f"{count} {what}" for what, count in sorted(kills.done.items())))
    if failure:
        print(f"FAILED source kills, seed {options.seed}: {failure}")
    sources = len(kills.feeders)
    print(f"{kills.done['kills']} kills under {sources} sources passed, "
          f"{int(failure is not None)} failed; seed {options.seed}")
    return 1 if failure or kills.done["kills"] < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
