# SPDX-License-Identifier: Apache-2.0
"""Schedules of faults over a real S3 store and a real REST catalog: two agents at work, committers
two at a time, a wire with faults between them and each server, and SIGKILL for each of them. See
Schedules.run."""
import base64
import collections
import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import threading
import time

from peer import PATIENCE, die_with_parent
from random_wire import CatalogWire
from rest_lake import RestLake
from s3_wire import S3Wire

import lake as programs
import pyarrow.parquet as pq
from lake import DEADLINE, DONE, FAILED, end, until

PER_TABLE = 12  # schedules after which a lane begins a new table
BIG_LINES, BIG_BYTES = 200, 67500  # of one request: more than two parts, however packed


class Agent:
    """`run`, started again and again over one spool."""

    def __init__(self, lake, name):
        self.lake, self.name, self.spool = lake, name, lake.path(name)
        self.log_path, self.process = lake.path(f"{name}.log"), None
        self.port, self.operations = None, None

    def start(self):
        arguments = [os.path.join(programs.BUILD, "bidlake-agent"), "run",
                     *self.lake.agent_flags(self.spool, self.name), "--listen",
                     "http:127.0.0.1:0", "--operations", "127.0.0.1:0", "--roll-age", "400ms",
                     "--announce-repeat", "1s", "--spool-bytes", "256MiB",
                     "--http-body-bytes", "32MiB"]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                preexec_fn=die_with_parent, env=dict(os.environ, **self.lake.faulty_environment()))
        until(self.is_ready, f"{self.name} is ready")
        log = self.log()
        self.port = int(re.search(r"kind=http address=\S+:(\d+)", log)[1])
        self.operations = re.search(r"kind=operations address=(\S+)", log)[1]

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name}: exit {self.process.returncode}\n{self.log()}")
        return 'msg="ready"' in self.log()

    def kill(self):
        end(self.process)
        self.start()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=DEADLINE)
            end(self.process)

    def flush(self):
        self.lake.agent("flush", "--operations", self.operations, spool=self.spool,
                        agent_id=self.name, code=DONE)

    def post(self, key, lines):
        """Until it is answered; the key makes one event of however many requests it takes."""
        said = [""]

        def answered():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
            try:
                connection.request("POST", "/v1/events/clicks", b"".join(lines),
                                   {"Idempotency-Key": key})
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                said[0] = repr(error)
                return False
            finally:
                connection.close()
            said[0] = f"{answer.status} {text[:300]}"
            if answer.status != 503 and (answer.status != 200 or
                                         json.loads(text)["accepted"] != len(lines)):
                raise AssertionError(f"{self.name}: HTTP {answer.status}: {text[:300]}")
            return answer.status == 200
        try:
            until(answered, f"{self.name} answers")
        except AssertionError as error:
            raise AssertionError(f"{error}; last: {said[0]}") from error


class FaultLake(RestLake):
    """A lake of which the agents and `faulty_commit_flags` go by the wires, and judges do not."""
    FLAGS = ["--s3-part-bytes", "5MiB", "--s3-concurrency", "2"]

    def __init__(self, servers, namespace, store_wire, catalog_wire):
        store, catalog = servers
        super().__init__(catalog.url, os.path.join(store.folder, "lake", namespace), namespace,
                         warehouse=f"s3://lake/{namespace}", store=store)
        self.store_wire, self.catalog_wire, self.sums = store_wire, catalog_wire, {}
        self.name = f"{namespace}.clicks"

    def agent_flags(self, spool=None, agent_id="edge-1"):
        return [*super().agent_flags(spool, agent_id), *self.FLAGS]

    def commit_flags(self):
        return [*super().commit_flags(), *self.FLAGS]

    def faulty_commit_flags(self):
        return [*self.commit_flags(), "--catalog", f"rest:{self.catalog_wire.url}",
                "--catalog-timeout", "1s"]

    def faulty_environment(self):
        return self.store.environment(AWS_ENDPOINT_URL_S3=self.store_wire.url)

    def ids(self, table="clicks", column="click_id"):
        """From the gateway's folder: a file once read is not read again."""
        found = collections.Counter()
        for row in self.table_json("files", self.name):
            path = row["path"]
            if path not in self.sums:
                local = os.path.join(self.store.folder, path.removeprefix("s3://"))
                read = pq.ParquetFile(local, page_checksum_verification=True).read([column])
                self.sums[path] = collections.Counter(read[column].to_pylist())
            found += self.sums[path]
        return found


class Schedules:
    """One lane: schedules one after the other, over a table that goes on for PER_TABLE of them.
    `committer` is the program under faults, if not that of the build."""
    TAKE_SECONDS = 30 * PATIENCE

    def __init__(self, servers, lane, decks, committer=None):
        self.committer = committer or os.path.join(programs.BUILD, "bidlake-commit")
        self.servers, self.lane = servers, lane
        store, catalog = servers
        self.store, self.catalog = S3Wire(store.port, decks), CatalogWire(catalog.port, decks)
        self.wires = [self.store, self.catalog]
        self.rates = [[0.02, 0.08, 0.2]] * 2
        self.lake, self.agents, self.expected = None, [], collections.Counter()
        self.done = collections.Counter()

    def open(self, number):
        self.lake = FaultLake(self.servers, f"lane_{self.lane}_{number}", *self.wires)
        self.expected = collections.Counter()
        self.lake.init()
        self.agents = [Agent(self.lake, name) for name in ("edge-1", "edge-2")]
        for agent in self.agents:
            agent.start()

    def close_table(self):
        """All that was late comes, and changes nothing; a foreign reader sees the same."""
        if self.lake is None:
            return
        self.release()
        self.take()
        self.judge()
        scan = self.lake.load().scan(selected_fields=("click_id",)).to_arrow()
        found = collections.Counter(scan["click_id"].to_pylist())
        assert found == self.expected, "PyIceberg sees other events"
        self.drop_table()

    def drop_table(self):
        for agent in self.agents:
            agent.stop()
        if self.lake is not None:
            self.lake.__exit__()
        self.lake, self.agents = None, []

    def close(self):
        self.calm()
        self.drop_table()
        for wire in self.wires:
            wire.close()

    @property
    def seen(self):
        """Requests so far."""
        return sum(wire.seen for wire in self.wires)

    def calm(self):
        for wire in self.wires:
            wire.calm()

    def release(self):
        for wire in self.wires:
            wire.release()

    # -- what happens ------------------------------------------------------------------------

    def send(self, seed, agent, rng):
        """Its requests of this schedule, as (key, lines)."""
        posts = []
        if rng.random() < 0.25:
            self.done["large files"] += 1
            posts.append([f"s{seed}-{agent.name}-big-{i}" for i in range(BIG_LINES)])
        for n in range(rng.randint(1, 3)):
            posts.append([f"s{seed}-{agent.name}-{n}-{i}" for i in range(rng.randint(1, 5))])
        for n, ids in enumerate(posts):
            filler = BIG_BYTES if "-big" in ids[0] else 0
            agent.post(f"s{seed}-{agent.name}-{n}", [self.line(name, filler) for name in ids])
            self.expected.update(ids)

    @staticmethod
    def line(name, filler):
        page = (base64.urlsafe_b64encode(os.urandom(filler)).decode() if filler
                else "https://shop.example/")
        return b'{"id":"%s","ts":1767225600000,"landing_page":"%s"}\n' % (name.encode(),
                                                                         page.encode())

    def strike(self, rng, others):
        """Kills an agent after so many requests, again and again, as long as `others` are at work.
        In the lane's own thread: what a thread started dies with it (die_with_parent)."""
        while any(thread.is_alive() for thread in others):
            at = self.seen + rng.randint(3, 60)
            until(lambda: self.seen >= at or  # noqa: B023
                  not any(thread.is_alive() for thread in others), "requests", 60)
            if self.seen >= at:
                self.done["agents killed"] += 1
                rng.choice(self.agents).kill()

    def commit_by_two(self, rng):
        """Two at once; each may be killed after so many requests."""
        command = [self.committer, "once", *self.lake.faulty_commit_flags(),
                   "--commit-announcements"]
        both = [subprocess.Popen([*command, rng.choice(["1", "1000"])], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, preexec_fn=die_with_parent,
                                 env=dict(os.environ, **self.lake.faulty_environment()))
                for _ in range(2)]
        for process in both:
            if rng.random() < 0.4:
                at = self.seen + rng.randint(0, 30)
                until(lambda: self.seen >= at or process.poll() is not None,  # noqa: B023
                      "requests of a committer")
                self.done["committers killed"] += process.poll() is None
                process.kill()
        for process in both:
            _, err = process.communicate(timeout=60 * PATIENCE)
            if process.returncode not in (DONE, FAILED, -signal.SIGKILL):
                raise AssertionError(f"exit {process.returncode}\n{err.decode()[-3000:]}")

    def commit(self, rng):
        for _ in range(rng.randint(2, 4)):
            self.commit_by_two(rng)

    def wild(self, seed, rng):
        failures = []

        def guarded(work, *arguments):
            try:
                work(*arguments)
            except Exception as error:
                failures.append(error)
        works = [(self.send, seed, agent) for agent in self.agents] + [(self.commit,)]
        threads = [threading.Thread(target=guarded, args=(*work, random.Random(rng.random())))
                   for work in works]
        for thread in threads:
            thread.start()
        guarded(self.strike, rng, threads)
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    # -- what must hold ----------------------------------------------------------------------

    def count(self):
        return int(self.lake.table("count", self.lake.name).out)

    def take(self):
        """Faults are over: all gets to the table."""
        wanted = self.expected.total()
        deadline = time.monotonic() + self.TAKE_SECONDS
        while True:
            for agent in self.agents:
                agent.flush()
            self.lake.once("--commit-announcements", "10000")
            if self.count() >= wanted:
                return
            assert time.monotonic() < deadline, f"{self.count()} events of {wanted} are there"

    def judge(self):
        self.lake.table("check", self.lake.name)
        found = self.lake.ids()
        assert found == self.expected, (
            f"missing {list((self.expected - found).items())[:5]}, "
            f"too much {list((found - self.expected).items())[:5]}")

    def schedule(self, seed):
        rng = random.Random(seed)
        for wire, rates in zip(self.wires, self.rates):
            wire.begin(seed, rng.choice(rates))
        met = [wire.met.total() for wire in self.wires]
        self.wild(seed, rng)
        self.calm()
        self.done["both wires faulty"] += all(wire.met.total() > before
                                              for wire, before in zip(self.wires, met))
        if rng.random() < 0.3:
            rng.choice(self.agents).kill()
        if rng.random() < 0.5:  # else it arrives in a schedule to come
            self.release()
        self.take()
        self.judge()
        self.done["schedules"] += 1

    def run(self, seeds):
        """Of each: events to both agents, which are killed now and then, two to four pairs of
        committers, faults between all of them and both servers. Then the faults end, all that was
        answered is taken, and it is in the table, once; ledger, manifests and files agree."""
        for number, seed in enumerate(seeds):
            try:
                if number % PER_TABLE == 0:
                    self.close_table()
                    self.open(number // PER_TABLE)
                self.schedule(seed)
            except Exception as error:
                self.calm()
                logs = "\n".join(f"{agent.name}: {agent.log()[-3000:]}" for agent in self.agents)
                said = "\n".join(line for wire in self.wires for line in wire.said)
                raise AssertionError(f"seed {seed} (INTEROP_SEED={seed} INTEROP_SCHEDULES=1): "
                                     f"{error}\n{said}\n{logs}") from error
        self.close_table()
