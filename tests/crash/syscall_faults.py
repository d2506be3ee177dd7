#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the Nth system call of a kind fail under agent and committer, for every N that they
come to, and asks whether every event is in its table exactly once.

usage: syscall_faults.py [--all] [--only COMMAND[:CALL:FAULT:N]] [--verbose]

Each case starts from the same lake: one file committed, one cut off by a kill before its
announcement ("start": nothing yet). Then one of `init`, `ingest`, `once`, `run` runs under `strace -e inject=`, with the call
failing once (N) or from then on (N+), or the process killed in it. It must end by itself, with 0
or with 1 and an error that says something. If it said 0, its work is done: that is looked at
first. Then it runs again without the fault, and the law is held: each id once in the table,
`bidlake-table check` and `bidlake-agent spool --check` find nothing, the inbox is empty. N counts
the calls of each thread by itself. The daemon of `run` takes the events over HTTP from a sender that
repeats, with an Idempotency-Key, what is not answered; after one failed call it goes on, or it
ends with 1 and is started anew, as after a sync whose outcome is not known.

Without --all a sample of some dozens, by a seed that is printed; `make faults` runs all.
"""
import argparse
import collections
import concurrent.futures
import http.client
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import lake as programs  # noqa: E402
from lake import Lake, until  # noqa: E402

ROLL = ("--roll-rows", "60", "--roll-partition-bytes", "0", "--spool-bytes", "16MiB",
        "--ingest-deadline", "1s")
WRITES = ["pwrite64", "fdatasync", "fsync", "renameat2", "renameat", "write", "writev",
          "ftruncate", "fallocate", "mkdirat", "unlinkat", "unlink"]
READS = ["pread64", "read", "openat", "getdents64", "newfstatat", "lseek", "flock", "fcntl"]
# With --all N is followed to the end for each of these; the sample draws from the first two.
FAULTS = {**{call: ["error=EIO", "error=ENOSPC", "signal=KILL", "error=EIO+", "error=ENOSPC+"]
             for call in WRITES}, **{call: ["error=EIO", "signal=KILL"] for call in READS}}
COMMANDS = ["init", "ingest", "once", "run"]
# What the loader of programs says when its own calls fail.
LOADER = re.compile(r"error while loading shared libraries|cannot open shared object")
SAMPLE = 60
programs.RUN_SECONDS = 200
BATCH = 20
ANSWER_SECONDS = 20
Case = collections.namedtuple("Case", "command call fault nth")


def events(number, count=100):
    lines = [f'{{"id":"event-{number}-{i:05}","ts":{1767225600000 + i % 2 * 86400000},'
             f'"device_geo_country":"{("USA", "DEU")[i // 2 % 2]}"}}\n' for i in range(count)]
    return "".join(lines)


def inputs_in(folder):
    """Three files of events."""
    paths = []
    for number in range(3):
        paths.append(os.path.join(folder, f"{number}.ndjson"))
        with open(paths[-1], "w", encoding="utf-8") as file:
            file.write(events(number))
    return paths


def trace_of(path):
    """What strace wrote, once all threads are said to have ended; else None."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    threads = {line.split()[0] for line in text.splitlines()}
    ended = {line.split()[0] for line in text.splitlines() if " +++ " in line}
    return text if threads == ended and ended else None


class Bench:
    """A lake at one place, and how it was before the command."""

    def __init__(self, folder, inputs):
        self.folder, self.inputs = folder, inputs
        self.expected = collections.Counter(f"event-{number}-{i:05}" for number in range(3)
                                            for i in range(100))
        self.outcomes = collections.Counter()
        self.answered, self.patience = set(), ANSWER_SECONDS
        self.lines = [line + "\n" for number in range(3) for line in events(number).splitlines()]
        os.makedirs(folder, exist_ok=True)
        self.lake = Lake(self.path("lake"), tables="openrtb/clicks")
        self.keep("init")
        self.lake.init()
        self.keep("start")
        self.keep("run")
        self.lake.ingest("clicks", *ROLL, inputs[0])
        self.lake.once()
        self.lake.ingest("clicks", *ROLL, inputs[1], code=None,
                         fault="kill:upload.before_announcement")
        self.keep("ingest")
        self.lake.ingest("clicks", *ROLL, *inputs)
        self.keep("once")

    def path(self, name):
        return os.path.join(self.folder, name)

    def keep(self, name):
        shutil.copytree(self.path("lake"), self.path(name))

    def reset(self, name):
        shutil.rmtree(self.path("lake"))
        shutil.copytree(self.path(name), self.path("lake"))

    def post(self, port, number, lines):
        """Whether a batch was answered with success."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        try:
            connection.request("POST", "/v1/events/clicks", "".join(lines),
                               {"Idempotency-Key": f"batch-{number}"})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        assert answer.status in (200, 500, 503), f"HTTP {answer.status} {text[:300]}"
        return answer.status == 200

    def daemon(self, prefix=()):
        """All batches are sent, each until it is answered, then SIGTERM. `unanswered` are those
        that the daemon did not live to answer."""
        log = self.path("log")
        with open(log, "wb") as err:
            process = subprocess.Popen(
                [*prefix, f"{programs.BUILD}/bidlake-agent", "run", *self.lake.agent_flags(),
                 "--listen", "http:127.0.0.1:0", "--operations", "", "--spool-bytes", "16MiB",
                 "--roll-age", "300ms", "--roll-partition-bytes", "0", "--stop-deadline", "2s"],
                stderr=err, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

        def said():
            with open(log, encoding="utf-8", errors="replace") as file:
                return file.read()

        try:
            until(lambda: 'msg="ready"' in said() or process.poll() is not None, "ready")
            port = re.search(r"kind=http address=\S+:(\d+)", said())
            for number in range(0, len(self.lines), BATCH) if port else ():
                last = time.monotonic() + self.patience
                while number not in self.answered and process.poll() is None \
                        and time.monotonic() < last:
                    if self.post(int(port[1]), number, self.lines[number:number + BATCH]):
                        self.answered.add(number)
            if process.poll() is None:
                process.terminate()
            return programs.Result(process.wait(timeout=60), "", said())
        finally:
            programs.end(process)

    def command(self, name, **how):
        if name == "run":
            return self.daemon(**how)
        if name in ("start", "ingest"):
            return self.lake.ingest("clicks", *ROLL, *self.inputs, code=None, **how)
        return getattr(self.lake, name)("--catalog-busy-timeout", "1s", code=None, **how)

    def faulted(self, case):
        """Runs the command with the fault; whether it came to it."""
        self.answered = set()
        # A disk that stays bad is not waited for.
        self.patience = 0.2 if case.fault.endswith("+") else ANSWER_SECONDS
        fault, often = case.fault.rstrip("+"), "+" if case.fault.endswith("+") else ""
        trace = self.path("trace")
        self.reset(case.command)
        # The tracer as a grandchild, so that the program hears our signals; its log ends
        # some time after the program.
        result = self.command(case.command, prefix=(
            "strace", "-D", "-f", "-q", "-o", trace, "-e", f"trace={case.call}",
            "-e", f"inject={case.call}:{fault}:when={case.nth}{often}"))
        text = until(lambda: trace_of(trace), "the end of the trace")
        self.patience = ANSWER_SECONDS
        hit = "(INJECTED)" in text or "killed by SIGKILL" in text
        return hit, result

    def judge(self, case, result):
        lake = self.lake
        if "KILL" in case.fault:
            assert result.code == -signal.SIGKILL, f"exit {result.code}\n{result.err}"
        else:
            assert result.code in (0, 1) or (result.code == 127 and LOADER.search(result.err)), \
                f"exit {result.code}\n{result.err}"
            # Nobody can say anything where no write goes out.
            if result.code == 1 and not (case.call == "write" and case.fault.endswith("+")):
                assert re.search(r"\w{3,}.*: \w+", result.err), f"no error said: {result.err!r}"
        all_answered = len(self.answered) * BATCH == len(self.lines)
        if case.command == "run":
            # One that ends with 0 has answered everything.
            assert all_answered or result.code != 0 or case.fault.endswith("+"), \
                f"only {len(self.answered)} batches were answered\n{result.err[-3000:]}"
        elif result.code == 0 and case.command != "init":
            if case.command != "once":
                lake.once()
            self.hold("before it ran again")
        again = self.command(case.command)
        assert again.code == 0, f"again: exit {again.code}\n{again.err}"
        if case.command == "init":
            self.command("ingest")
        for _ in range(5):
            lake.once()
            if not lake.inbox():
                break
        self.hold("at the end")
        lake.check("clicks")
        lake.agent("spool", "--check", code=0)
        assert not lake.inbox(), "the inbox does not empty"

    def hold(self, when):
        found = self.lake.ids("clicks", "click_id")
        assert found == self.expected, (
            f"{when}: missing {list((self.expected - found).items())[:3]}, "
            f"too many {list((found - self.expected).items())[:3]}")

    def run(self, case):
        """(hit, None or what was wrong)"""
        try:
            hit, result = self.faulted(case)
            if case.command == "run":
                self.outcomes[f"{case.fault}: {len(self.answered)} answered, {result.code}"] += hit
            if hit:
                self.judge(case, result)
            return hit, None
        except Exception as error:  # told, and the others still run
            return True, f"{':'.join(map(str, case))}: {error}"

    def count(self, command, call):
        """How often the thread that calls it most does so, without a fault."""
        trace = self.path("trace")
        self.reset(command)
        result = self.command(command, prefix=("strace", "-f", "-qq", "-o", trace, "-e",
                                               f"trace={call}"))
        assert result.code == 0, result.err
        with open(trace, encoding="utf-8", errors="replace") as file:
            threads = collections.Counter(line.split()[0] for line in file
                                          if f" {call}(" in line)
        return max(threads.values(), default=0)


def sample(bench, draw):
    """Some of the calls that write, and less of those that read, in ingest and once."""
    cases = []
    for calls, share in ((WRITES, SAMPLE * 3 // 4), (READS, SAMPLE // 4)):
        found = [Case(command, call, FAULTS[call][nth % 2], nth) for command in ("ingest", "once")
                 for call in calls for nth in range(1, bench.count(command, call) + 1)]
        cases += draw.sample(found, min(share, len(found)))
    return cases + [Case("run", draw.choice(["pwrite64", "fdatasync"]), fault, draw.randrange(1, 12))
                    for fault in ("error=EIO", "error=ENOSPC", "signal=KILL", "error=EIO+")]


def follow(bench, command, call, fault, verbose):
    """Every N until the command does not come to it."""
    hits, wrong, nth = 0, [], 1
    if command == "run" and call in ("write", "writev"):
        return 0, []  # its log, which this test reads, and wake-ups in memory
    # A committer takes a failed sync for an unknown outcome and tries for half a minute.
    last = 1 if fault.endswith("+") and command != "ingest" else sys.maxsize
    while nth <= last:
        hit, failure = bench.run(Case(command, call, fault, nth))
        if not hit:
            break
        hits, nth = hits + 1, nth + 1
        if failure:
            wrong.append(failure)
    if verbose:
        print(f"{command} {call} {fault}: {hits}, {len(wrong)} failed", flush=True)
    return hits, wrong


def control(bench):
    """The law must be able to fail: a file that counts as taken, but whose events are gone."""
    bench.reset("once")
    for path in bench.lake.inbox()[:1]:
        os.remove(path)
    bench.lake.once(code=None)
    try:
        bench.hold("control")
    except AssertionError:
        return []
    return ["control: an announcement that is gone is not noticed"]


def work(options, folder, inputs):
    """All cases, on two lakes side by side."""
    with concurrent.futures.ThreadPoolExecutor(2) as workers:
        benches = list(workers.map(lambda i: Bench(f"{folder}/{i}", inputs), range(2)))
        if options.only and ":" in options.only:
            command, call, fault, nth = options.only.split(":")
            cases = [Case(command, call, fault, int(nth))]
        elif not options.all:
            cases = sample(benches[0], random.Random(options.seed))
        else:
            cases = [(command, call, fault) for command in COMMANDS
                     if options.only in (None, command) for call in FAULTS
                     for fault in FAULTS[call]]

        def share(index):
            hits, wrong = 0, []
            for case in cases[index::2]:
                if isinstance(case, Case):
                    hit, failure = benches[index].run(case)
                    hits, wrong = hits + hit, wrong + ([failure] if failure else [])
                else:
                    more, failures = follow(benches[index], *case, options.verbose)
                    hits, wrong = hits + more, wrong + failures
            return hits, wrong

        results = list(workers.map(share, range(2)))
        if options.verbose:
            print(*sorted((benches[0].outcomes + benches[1].outcomes).items()), sep="\n")
        return (sum(hits for hits, _ in results),
                [failure for _, wrong in results for failure in wrong] + control(benches[0]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    start = time.monotonic()
    directory = os.environ.get("BIDLAKE_TEST_DIR") or "/dev/shm"
    with tempfile.TemporaryDirectory(prefix="bidlake-faults-", dir=directory) as folder:
        programs.keep_programs(folder)
        hits, failures = work(options, folder, inputs_in(folder))
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{hits} failed system calls survived, {time.monotonic() - start:.0f} s")
    print(f"{hits} syscall faults passed, {len(failures)} failed; seed {options.seed}")
    return 1 if failures or hits < (1 if options.only else 20) else 0


if __name__ == "__main__":
    sys.exit(main())
