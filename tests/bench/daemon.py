#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench-run`: the daemon under load, beside the sender on the same cores, while segments
are rolled, uploaded and committed.

  batches   BENCH_RATE (50,000) events/s of the whole funnel in batches of 100 over 8
            connections for BENCH_SECONDS (20): what a durable answer takes, nothing refused,
            generated = in table
  singles   one impression a request over 64 connections, by wrk, as fast as it goes; beside
            it what 64 senders could have at the disk's pace: 0.8 x 64 / the time of a commit
  idle      four tables and no events: memory, CPU, bytes written
  peer      where a Fluent Bit is in the PATH or $FLUENT_BIT: the same bodies to both, as fast
            as they go

The spool lies in the folder given by --spool (a disk), the warehouse below it.
usage: daemon.py [--build DIR] [--spool DIR] [--json FILE]
Exit: 0 done, 1 an event is missing, doubled or was refused.
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import peer
from measure import Failed, anonymous_bytes

RATE = int(os.environ.get("BENCH_RATE", "50000"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "20"))
UNDER_WAY = 8 * 100
EVENTS_A_REQUEST = 1.69  # of the funnel: the generator's rate counts bid requests
IDLE_SECONDS = 10
EVENT = {"id": "0192d0c5-7c3e-7000-8000-000000000001", "request_id": "r-1", "imp_id": "1",
         "bid_id": "b-1", "seat": "s-1", "campaign_id": "c-1", "creative_id": "k-1",
         "site_domain": "news.example.com", "publisher_id": "p-1", "device_type": 4,
         "device_geo_country": "DEU", "user_id": "u-1", "price": 1.25, "currency": "USD"}


class Daemon:
    """An agent and a commit service over a lake of their own."""

    def __init__(self, build, folder):
        self.build = build
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(os.path.join(folder, "warehouse"))
        warehouse = ["--warehouse", "file://" + os.path.join(folder, "warehouse")]
        self.at = [*warehouse, "--catalog", "sqlite:" + os.path.join(folder, "catalog.db")]
        self.log = os.path.join(folder, "agent.log")
        subprocess.run([self.program("commit"), "init", *self.at], check=True, stderr=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
        with open(self.log, "wb") as log:
            self.agent = subprocess.Popen(
                [self.program("agent"), "run", *warehouse, "--spool", os.path.join(folder, "spool"),
                 "--listen", "http:127.0.0.1:0", "--operations", "127.0.0.1:0", "--roll-age", "5s"],
                stderr=log)
        with open(os.path.join(folder, "commit.log"), "wb") as log:
            self.service = subprocess.Popen(
                [self.program("commit"), "serve", "--interval", "5s", *self.at], stderr=log,
                stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while 'msg="ready"' not in self.text():
            if time.monotonic() > deadline or self.agent.poll() is not None:
                raise Failed(self.text())
            time.sleep(0.02)
        self.url = "http://" + re.search(r"kind=http address=(\S+)", self.text())[1]
        self.operations = "http://" + re.search(r"kind=operations address=(\S+)", self.text())[1]

    def program(self, name):
        return os.path.join(self.build, f"bidlake-{name}")

    def text(self):
        with open(self.log, encoding="utf-8") as log:
            return log.read()

    def metric(self, name):
        with urllib.request.urlopen(self.operations + "/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if re.match(rf"{name}[{{ ]", line))

    def cpu_seconds(self):
        return peer.cpu_seconds(self.agent.pid)

    def running_seconds(self):
        """Of the threads that live, to the nanosecond; the other counts ticks of 10 ms."""
        tasks = f"/proc/{self.agent.pid}/task"
        total = 0
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/schedstat", encoding="utf-8") as text:
                total += int(text.read().split()[0])
        return total / 1e9

    def written_bytes(self):
        with open(f"/proc/{self.agent.pid}/io") as text:
            return int(re.search(r"write_bytes: (\d+)", text.read())[1])

    def anonymous(self):
        return anonymous_bytes(self.agent.pid)

    def stop(self):
        for process in (self.agent, self.service):
            process.send_signal(signal.SIGTERM)
            if process.wait(timeout=60) != 0:
                raise Failed(f"exit {process.returncode}\n{self.text()}")
        subprocess.run([self.program("commit"), "once", *self.at], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def some_requests(self, count):
        """An array of generated bid requests, one row each."""
        lines = subprocess.run([self.program("gen"), "--table", "bid_requests", "--count", str(count),
                                "--seed", "2", "--events-per-second", "0"], check=True,
                               capture_output=True, text=True).stdout.splitlines()
        requests = [json.loads(line) for line in lines]
        for request in requests:
            del request["imp"][1:]
        return json.dumps(requests)

    def rows(self):
        out = subprocess.run([self.program("table"), "ls", "--json", *self.at], check=True,
                             capture_output=True, text=True).stdout
        tables = json.loads(out)
        return {table["table"].split(".")[1]: table["rows"]
                for table in (tables if isinstance(tables, list) else tables["tables"])}


def measure_batches(daemon):
    requests_a_second = RATE / EVENTS_A_REQUEST
    before, peak = daemon.cpu_seconds(), 0
    sender = subprocess.Popen(
        [daemon.program("gen"), "--to", daemon.url, "--events-per-second", str(requests_a_second),
         "--count", str(int(requests_a_second * SECONDS)), "--seed", "1", "--json"],
        stdout=subprocess.PIPE, text=True)
    while sender.poll() is None:
        peak = max(peak, daemon.anonymous())
        time.sleep(0.05)
    made = json.loads(sender.stdout.read())
    sent = made["http"]
    events = sum(table["events"] for table in made["tables"].values())
    if sent["accepted"] != events or sent["refused"] + sent["unanswered"] > 0:
        raise Failed(f"{events} generated, answers: {sent}")
    return made, {"events": events, "seconds": made["seconds"],
                  "events_per_second": events / made["seconds"], "latency_ms": sent["latency_ms"],
                  "turned_away": sent["retried"], "peak_anonymous_bytes": peak,
                  "agent_cpu_seconds": daemon.cpu_seconds() - before}


def measure_singles(daemon, folder):
    commits, cpu = daemon.metric("bidlake_spool_commits_total"), daemon.cpu_seconds()
    sent = peer.wrk(daemon.url + "/v1/events/impressions", json.dumps(EVENT), 64, max(5, SECONDS // 2),
                    folder)
    commits = daemon.metric("bidlake_spool_commits_total") - commits
    answers, seconds = sent["answers"], sent["seconds"]
    return answers, {"answers_per_second": answers / seconds, "commits_per_second": commits / seconds,
                     "p99_ms": sent["p99_ms"],
                     "agent_cpu_us_per_answer": (daemon.cpu_seconds() - cpu) * 1e6 / answers,
                     "bound_answers_per_second": 0.8 * 64 * commits / seconds}


def measure_idle(daemon):
    cpu, written = daemon.running_seconds(), daemon.written_bytes()
    time.sleep(IDLE_SECONDS)  # what is measured is that nothing happens
    return {"anonymous_bytes": daemon.anonymous(),
            "cpu_percent_of_a_core": 100 * (daemon.running_seconds() - cpu) / IDLE_SECONDS,
            "written_bytes": daemon.written_bytes() - written}


def bench(options):
    folder = os.path.abspath(options.spool)
    daemon = Daemon(options.build, folder)
    try:
        idle = measure_idle(daemon)
        made, batches = measure_batches(daemon)
        answers, singles = measure_singles(daemon, folder)
        extra = {"impressions": answers}
        bodies = {"singles": ("impressions", json.dumps(EVENT), 1, 64),
                  "batches": ("bid_requests", daemon.some_requests(100), 100, 8)}
        beside = peer.measure_both(daemon.url + "/v1/events/", daemon.agent.pid, bodies,
                                   max(5, SECONDS // 2), folder)
        if beside is not None:
            extra["impressions"] += beside["singles"]["bidlake"]["events"]
            extra["bid_requests"] = beside["batches"]["bidlake"]["events"]
        daemon.stop()
    finally:
        for process in (daemon.agent, daemon.service):
            if process.poll() is None:
                process.kill()
    rows = daemon.rows()
    for name, table in made["tables"].items():
        expected = table["rows"] + extra.get(name, 0)
        # wrk goes away with answers under way: those events are in the table as well.
        if not expected <= rows[name] <= expected + (UNDER_WAY if name in extra else 0):
            raise Failed(f"{name}: {expected} rows answered, {rows[name]} in the table")
    shutil.rmtree(folder)
    return {"v": 1, "batches": batches, "singles": singles, "idle": idle, "peer": beside}


def print_report(result):
    batches, singles, idle = result["batches"], result["singles"], result["idle"]
    latency = batches["latency_ms"]
    print(f"batches of 100, 8 connections: {batches['events_per_second']:,.0f} events/s for"
          f" {batches['seconds']:.0f} s, {batches['turned_away']} turned away; a durable answer took"
          f" p50 {latency['p50']:.2f}, p99 {latency['p99']:.2f}, at most {latency['max']:.2f} ms;"
          f" {batches['peak_anonymous_bytes'] / 2**20:.0f} MiB anonymous,"
          f" {batches['agent_cpu_seconds'] / batches['seconds']:.2f} cores")
    print(f"single events, 64 connections: {singles['answers_per_second']:,.0f} durable answers/s,"
          f" p99 {singles['p99_ms']:.2f} ms, {singles['agent_cpu_us_per_answer']:.1f} us CPU an answer,"
          f" {singles['commits_per_second']:,.0f} commits/s"
          f" (0.8 x 64 / commit time: {singles['bound_answers_per_second']:,.0f})")
    print(f"idle: {idle['anonymous_bytes'] / 2**20:.1f} MiB anonymous,"
          f" {idle['cpu_percent_of_a_core']:.3f} % of a core, {idle['written_bytes']} bytes written")
    if result["peer"] is None:
        print("no Fluent Bit in the PATH or $FLUENT_BIT: not compared")
        return
    print(f"beside {result['peer']['version']} (which answers before it syncs), as fast as they go:")
    for shape in ("singles", "batches"):
        ours, theirs = (result["peer"][shape][name] for name in ("bidlake", "fluent-bit"))
        for name, one in (("bidlake", ours), ("fluent-bit", theirs)):
            print(f"  {shape:8} {name:10} {one['events_per_second']:10,.0f} events/s, p99"
                  f" {one['p99_ms']:8.2f} ms, {one['cpu_us_per_event']:6.2f} us CPU an event,"
                  f" {one['anonymous_bytes'] / 2**20:4.0f} MiB anonymous")
        print(f"  {shape:8} {ours['events_per_second'] / theirs['events_per_second']:.1f}x the events,"
              f" {theirs['cpu_us_per_event'] / ours['cpu_us_per_event']:.1f}x for a core")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--spool", default="build/bench/daemon")
    parser.add_argument("--json")
    options = parser.parse_args()
    try:
        result = bench(options)
    except Failed as failure:
        print(f"daemon: {failure}", file=sys.stderr)
        return 1
    print_report(result)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump(result, out, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
