# SPDX-License-Identifier: Apache-2.0
"""What the operations port tells: numbers that add up, checks that name what fails, documents
that say what there is, and nothing of what an event holds."""
import contextlib
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import unittest

import lake
from lake import DONE, FAILED, end, until
from test_run import Case

LINE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def scrape(agent):
    """{(name, labels): value}; labels a frozenset of pairs."""
    answer, text = agent.get("/metrics", agent.operations)
    assert answer.status == 200
    found = {}
    for line in text.decode().splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = LINE.match(line).groups()
        key = name, frozenset(LABEL.findall(labels or ""))
        assert key not in found, line
        found[key] = float(value)
    return found


def by(metrics, name, **labels):
    """The sum of what has these labels."""
    return sum(value for (found, pairs), value in metrics.items()
               if found == name and pairs >= set(labels.items()))


class Law:
    """Both sides of both equations, for one table."""

    def __init__(self, metrics, table):
        def of(name):
            return by(metrics, f"bidlake_{name}", table=table)
        self.received = of("capture_events_received_total")
        self.kept = of("capture_events_kept_total")
        self.refused = of("capture_events_refused_total")
        self.waiting = of("capture_events_waiting")
        self.recovered = of("spool_events_recovered_total")
        self.committed = of("commit_events_total")
        self.uploaded = of("upload_events_total")
        self.dropped = of("spool_events_dropped_total")
        self.spooled = of("spool_events")

    def came_in(self):
        return self.received == self.kept + self.refused + self.waiting

    def went_on(self):
        return self.recovered + self.kept == self.committed + self.dropped + self.spooled


class Numbers(Case):
    def law(self, agent, *tables):
        """Waits until the deliverer has looked at all, and holds both equations."""
        laws = []

        def holds():
            metrics = scrape(agent)
            laws[:] = [Law(metrics, table) for table in tables or ("clicks", "impressions")]
            for law in laws:
                self.assertTrue(law.came_in(), vars(law))
            return all(law.went_on() for law in laws)

        try:
            until(holds, "the sums", 10)
        except AssertionError as error:
            raise AssertionError(f"{error}: {[vars(law) for law in laws]}") from error
        return laws[0] if len(laws) == 1 else laws

    def send(self, agent, count=40):
        for n in range(count):
            good = "".join(f'{{"id":"{n}-{i}"}}\n' for i in range(20))
            agent.post("clicks", good + "nonsense\n{}\n")
            agent.post("impressions", good)

    def commit(self, agent):
        agent_at = ("--operations", f"127.0.0.1:{agent.operations}")
        self.lake.agent("flush", *agent_at, code=DONE)
        self.lake.once()

    def test_sums_add_up(self):
        """Through load, refusals, uploads, commits, a kill, and what an earlier start left."""
        agent = self.start("--roll-age", "1h")
        self.send(agent)
        law = self.law(agent, "clicks")
        self.assertEqual((law.received, law.kept, law.refused, law.spooled), (880, 800, 80, 800))
        self.commit(agent)
        until(lambda: Law(scrape(agent), "clicks").committed == 800, "the receipt")
        law = self.law(agent, "clicks")
        self.assertEqual((law.uploaded, law.spooled), (800, 0))
        self.send(agent, 10)
        self.law(agent)
        end(agent.process, signal.SIGKILL)
        agent = self.start("--roll-age", "1h")
        law = until(lambda: (law := self.law(agent, "clicks")).recovered == 200 and law, "recovered")
        self.assertEqual(law.received, 0)
        self.send(agent, 5)
        self.commit(agent)
        until(lambda: self.law(agent, "clicks").committed == 300, "the receipts")
        # Who adds up what the terminal shows must not find events doubled.
        shown = self.lake.agent("status", "--operations", f"127.0.0.1:{agent.operations}", code=DONE)
        lines = [line.replace("in spool", "in_spool").split() for line in shown.out.splitlines()]
        names = next(line for line in lines if line[:1] == ["table"])
        row = dict(zip(names, next(line for line in lines if line[:1] == ["clicks"])))
        self.assertEqual([row[name] for name in ("kept", "recovered", "committed", "in_spool")],
                         ["100", "200", "300", "0"])
        self.law(agent)
        agent.stop()

    def test_what_is_dropped_is_counted(self):
        """A full spool that drops: what was answered and is not in the table is this number."""
        away = self.lake.path("away")
        agent = self.start("--spool-when-full", "drop_oldest", "--spool-bytes", "16MiB",
                           "--roll-age", "1h")
        os.rename(self.lake.warehouse, away)
        self.lake.write("warehouse", "")
        bulk = "x" * 900
        sent = 0
        while Law(scrape(agent), "clicks").dropped == 0:
            lines = "".join(json.dumps({"id": f"{sent + i}", "landing_page": bulk}) + "\n"
                            for i in range(1000))

            def taken():
                status, answer = agent.post("clicks", lines)
                self.assertIn((status, answer["accepted"]), ((200, 1000), (503, 0)))
                return status == 200

            until(taken, "a build lets go of the pages of what was dropped")
            sent += 1000
            self.assertLess(sent, 100000)
        law = self.law(agent, "clicks")
        self.assertGreater(law.dropped, 0)
        metrics = scrape(agent)
        self.assertEqual(by(metrics, "bidlake_spool_events_dropped_total", table="clicks",
                            reason="disk_full"), law.dropped)
        os.remove(self.lake.warehouse)
        os.rename(away, self.lake.warehouse)

        def settled():
            self.lake.agent("flush", "--operations", f"127.0.0.1:{agent.operations}", code=DONE)
            self.lake.once()
            return Law(scrape(agent), "clicks").spooled == 0

        until(settled, "all is committed")
        law = self.law(agent, "clicks")
        self.assertEqual(law.kept, sent)
        self.assertEqual(len(self.lake.rows("clicks", ["click_id"])), law.committed)
        agent.stop()

    def test_all_metrics_are_documented(self):
        """A dashboard is built from the document: what it names must be there, and no more."""
        with open(os.path.join(lake.ROOT, "agent", "metrics.def"), encoding="utf-8") as file:
            rows = re.findall(r'METRIC\(\w+,\s*"(\w+)",\s*(\w+),\s*"([^"]*)",\s*"([^"]*)"\)',
                              file.read())
        self.assertGreater(len(rows), 40)
        with open(os.path.join(lake.ROOT, "agent", "OPERATIONS.md"), encoding="utf-8") as file:
            document = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*?) ?\| (.*) \|$", file.read(),
                                  re.MULTILINE)
        self.assertEqual(document, rows)
        agent = self.start()
        self.send(agent, 1)
        self.commit(agent)
        until(lambda: scrape(agent)["bidlake_commit_freshness_seconds_count", frozenset()] > 0,
              "a receipt")
        text = agent.get("/metrics", agent.operations)[1].decode()
        self.assertEqual(sorted(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)),
                         sorted((name, kind) for name, kind, _, _ in rows))
        self.assertEqual(sorted(re.findall(r"^# HELP (\w+) (.*)$", text, re.MULTILINE)),
                         sorted((name, words) for name, _, _, words in rows))
        labels = {name: set(given.replace(" ", "").split(",")) - {""}
                  for name, _, given, _ in rows}
        for name, pairs in scrape(agent):
            base = re.sub("_(bucket|sum|count)$", "", name) if name not in labels else name
            self.assertEqual({key for key, _ in pairs} - {"le"}, labels[base], name)
        for name in ("durable", "roll", "upload", "commit_freshness"):
            full = next(row[0] for row in rows if row[0].endswith(f"{name}_seconds"))
            self.assertGreater(scrape(agent)[full + "_count", frozenset()], 0, full)
        for name in ("process_open_fds", "process_resident_memory_bytes",
                     "process_cpu_seconds_total", "bidlake_agent_anonymous_memory_bytes",
                     "bidlake_upload_last_success_timestamp_seconds", "process_max_fds",
                     "bidlake_commit_last_success_timestamp_seconds", "bidlake_spool_disk_free_bytes"):
            self.assertGreater(scrape(agent)[name, frozenset()], 0, name)
        agent.stop()

    def test_alerts_know_their_metrics(self):
        """An alert over a name that nobody writes never fires."""
        with open(os.path.join(lake.ROOT, "agent", "metrics.def"), encoding="utf-8") as file:
            known = set(re.findall(r'"((?:bidlake|process)_\w+)"', file.read()))
        files = glob.glob(os.path.join(lake.ROOT, "packaging", "prometheus", "*.rules.yaml"))
        self.assertTrue(files)
        for path in files:
            with open(path, encoding="utf-8") as file:
                used = set(re.findall(r"\b(?:bidlake|process)_\w+", file.read()))
            self.assertGreater(len(used), 10)
            self.assertEqual({re.sub("_bucket$", "", name) for name in used} - known, set())


class Port(Case):
    def checks(self, agent):
        answer, text = agent.get("/readyz?format=json", agent.operations)
        told = json.loads(text)
        self.assertEqual(answer.status, 200 if told["ready"] else 503)
        plain, lines = agent.get("/readyz", agent.operations)
        self.assertEqual(plain.headers["Content-Type"], "text/plain; charset=utf-8")
        words = {"ok": "ok", "warn": "WARN", "fail": "FAIL"}
        self.assertEqual(sorted(line.split(":")[0] for line in lines.decode().splitlines()),
                         sorted(f"{words[check['state']]} {check['name']}"
                                for check in told["checks"]))
        return {check["name"]: check for check in told["checks"]}

    def wait_for(self, agent, name, state, words):
        def seen():
            try:
                check = self.checks(agent)[name]
            except AssertionError:
                return False  # it changed between the two questions
            return check["state"] == state and check
        check = until(seen, f"{name} {state}")
        self.assertIn(words, check["why"])
        at = ("--operations", f"127.0.0.1:{agent.operations}")
        self.lake.agent("status", "--ready", *at, code=FAILED if state == "fail" else DONE)
        self.assertIn(words, self.lake.agent("status", *at, code=DONE).out)
        self.assertEqual(by(scrape(agent), "bidlake_agent_check", check=name, state=state), 1)
        self.assertEqual(by(scrape(agent), "bidlake_agent_ready"), state != "fail")

    def test_ready(self):
        """Who is woken must read the cause at once, and no one be woken by a store."""
        agent = self.start("--spool-bytes", "16MiB")
        self.assertEqual({check["state"] for check in self.checks(agent).values()}, {"ok"})
        away = self.lake.path("away")
        os.rename(self.lake.warehouse, away)
        self.lake.write("warehouse", "")
        agent.post("clicks", b'{"id":"a"}')
        self.wait_for(agent, "store", "warn", "events wait in the spool")
        line = json.dumps({"id": "b", "landing_page": "x" * 900}) + "\n"
        # The first to be turned away are bid requests, clicks come last.
        until(lambda: agent.post("bid_requests", line * 100)[0] == 503 or
              agent.post("clicks", line * 100)[0] == 503, "no room for a bid request")
        self.assertEqual(agent.post("clicks", line)[0], 200)
        self.wait_for(agent, "room", "warn", "turned away: bid_requests")
        full = {table: by(scrape(agent), "bidlake_capture_requests_full_total", table=table)
                for table in ("bid_requests", "clicks")}
        self.assertEqual((full["bid_requests"] > 0, full["clicks"]), (True, 0))
        until(lambda: agent.post("clicks", line * 20)[0] == 503, "a full spool")
        while agent.post("clicks", line)[0] != 503:
            pass
        self.wait_for(agent, "room", "fail", "the spool")
        os.remove(self.lake.warehouse)
        os.rename(away, self.lake.warehouse)

        def drained():
            self.lake.once()
            told = json.loads(agent.get("/readyz?format=json", agent.operations)[1])
            return all(check["state"] == "ok" for check in told["checks"])

        until(drained, "ready again")
        agent.stop()

    def test_last_failure_has_an_age(self):
        """One that is mended must not look like one that holds."""
        agent = self.start()
        os.rename(self.lake.warehouse, self.lake.path("away"))
        self.lake.write("warehouse", "")
        agent.post("clicks", b'{"id":"a"}')

        def delivery():
            return json.loads(agent.get("/v1/status", agent.operations)[1])["delivery"]

        def shown():
            return self.lake.agent("status", "--operations", f"127.0.0.1:{agent.operations}",
                                   code=DONE).out

        until(lambda: delivery()["failing"], "the failure")
        self.assertIn("\nlast failure: ", shown())
        os.remove(self.lake.warehouse)
        os.rename(self.lake.path("away"), self.lake.warehouse)
        until(lambda: not delivery()["failing"], "it is mended")
        first = delivery()["last_failure_age_ms"]
        self.assertGreaterEqual(first, 0)
        self.assertRegex(shown(), r"\nlast failure, \S+ \S+ ago, mended since: ")
        until(lambda: delivery()["last_failure_age_ms"] > first, "it grows older")
        agent.stop()

    def test_stopping_is_said(self):
        agent = self.start("--stop-deadline", "1h")
        os.rename(self.lake.warehouse, self.lake.path("away"))
        self.lake.write("warehouse", "")
        agent.post("clicks", b'{"id":"a"}')
        agent.process.send_signal(signal.SIGTERM)
        self.wait_for(agent, "running", "fail", "stops")
        os.remove(self.lake.warehouse)
        os.rename(self.lake.path("away"), self.lake.warehouse)
        self.assertEqual(agent.process.wait(timeout=lake.DEADLINE), DONE)

    def test_disk_without_room(self):
        if os.geteuid() != 0 or not shutil.which("mount"):
            self.skipTest("NOT TESTED: mounting a small disk needs root")
        disk = self.lake.path("disk")
        os.makedirs(disk)
        mounted = lake.subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", disk],
                                      capture_output=True, check=False)
        if mounted.returncode != 0:
            self.skipTest(f"NOT TESTED: mount: {mounted.stderr.decode().strip()}")
        self.addCleanup(lake.subprocess.run, ["umount", "-l", disk], check=True)
        self.lake.spool = os.path.join(disk, "spool")
        agent = self.start("--spool-bytes", "1GiB")
        self.wait_for(agent, "room", "warn", "before the budget")
        with open(os.path.join(disk, "other"), "wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                for _ in range(100):
                    file.write(b"x" * (1 << 20))
        self.wait_for(agent, "room", "fail", "is full")
        os.remove(os.path.join(disk, "other"))
        self.wait_for(agent, "room", "warn", "before the budget")
        agent.stop()

    def test_status_is_documented(self):
        with open(os.path.join(lake.ROOT, "agent", "OPERATIONS.md"), encoding="utf-8") as file:
            document = file.read().split("## /v1/status")[1]
        known = set(re.findall(r"`(\w+)`", document))
        agent = self.start()
        agent.post("clicks", b'{"id":"a"}')
        answer, text = agent.get("/v1/status", agent.operations)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        status = json.loads(text)
        names = set(status)
        for member in ("spool", "delivery", "flushes", "freshness", "answers"):
            names |= set(status[member])
        names |= set(status["tables"]["clicks"]) | set(status["tables"]["clicks"]["in_spool"])
        names |= set(status["sources"][0])
        self.assertEqual(names - known, set())
        samples = until(lambda: json.loads(agent.get("/v1/history", agent.operations)[1])["samples"],
                        "a sample")
        self.assertEqual(set(samples[0]) - known, set())
        printed = json.loads(self.lake.agent("status", "--json", "--operations",
                                             f"127.0.0.1:{agent.operations}", code=DONE).out)
        self.assertEqual(set(printed), set(status))
        agent.stop()

    def test_printed_status_is_aligned(self):
        agent = self.start()
        agent.post("clicks", b'{"id":"a"}\n' * 12345)
        until(lambda: Law(scrape(agent), "clicks").went_on(), "a look")
        out = self.lake.agent("status", "--operations", f"127.0.0.1:{agent.operations}",
                              code=DONE).out
        lines = out.splitlines()
        head = next(i for i, line in enumerate(lines) if line.startswith("table "))
        table = lines[head:head + 6]
        self.assertEqual(len({len(line) for line in table}), 1, out)
        self.assertIn("12345", next(line for line in table if line.startswith("clicks")))
        agent.stop()

    def test_nothing_of_an_event_is_told(self):
        """An event holds people's identifiers: no log, status, page or metric may repeat it."""
        agent = self.start("--limits-event-bytes", "1KiB")
        secret = "user-4711-secret"
        for body in (f'{{"id":"{secret}"}}', f'{{"{secret}":1}}', f'nonsense {secret}', f'"{secret}"',
                     f'{{"id":"{secret}","ts":"{secret}"}}', f'{{"id":"{secret}{"x" * 2000}"}}'):
            agent.post("clicks", body)
        agent.get(f"/px/clicks?id={secret}&price={secret}")
        agent.get(f"/px/{secret}?id=a")
        agent.post(secret, b"{}")
        for path in ("/", "/metrics", "/v1/status", "/readyz", f"/{secret}"):
            self.assertNotIn(secret.encode(), agent.get(path, agent.operations)[1], path)
        self.assertNotIn(secret, agent.log())
        agent.stop()

    def test_a_stranger_s_page(self):
        """A name that is pointed at this machine makes a stranger's page one of ours: it must
        neither read nor command. Probes and Prometheus may come by any name."""
        agent = self.start()

        def ask(method, path, host, headers):
            connection = http.client.HTTPConnection("127.0.0.1", agent.operations, timeout=lake.DEADLINE)
            connection.putrequest(method, path, skip_host=True)
            for name, value in {"Host": host, "Content-Length": "0", **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            self.assertEqual(answer.headers["Cache-Control"], "no-store" if path != "/" or
                             answer.status != 200 else "no-cache")
            return answer.status, text, answer.headers["Allow"]

        ours = {"X-Bidlake-Operation": "1"}
        open_to_all = ("/metrics", "/healthz", "/readyz")
        for host in ("evil.example:7181", "localhost.evil.example", "127.0.0.1.evil.example", "",
                     f"{socket.gethostname()}.evil.example"):
            for path in ("/", "/v1/status", "/v1/history", "/v1/other"):
                status, text, _ = ask("GET", path, host, ours)
                self.assertEqual((status, "clicks" in text), (403, False), (host, path))
            self.assertEqual(ask("HEAD", "/", host, ours)[0], 403, host)
            self.assertEqual(ask("POST", "/v1/flush", host, ours)[0], 403, host)
            for path in open_to_all:
                self.assertEqual(ask("GET", path, host, {})[0], 200, (host, path))
        for host in ("127.0.0.1:7181", "localhost:7181", "LOCALHOST", "[::1]:7181", "10.0.0.7",
                     f"{socket.gethostname()}:7181"):
            for path in ("/", "/v1/status", "/v1/history", *open_to_all):
                self.assertEqual(ask("GET", path, host, {})[0], 200, (host, path))
            self.assertEqual(ask("POST", "/v1/flush", host, {})[0], 403, host)
            self.assertEqual(ask("POST", "/v1/flush", host, ours)[0], 202, host)
        for path, allowed in (("/v1/flush", "POST"), ("/v1/drain", "GET, HEAD, POST"),
                              ("/v1/status", "GET, HEAD"), ("/", "GET, HEAD")):
            status, _, allow = ask("PUT", path, "localhost", ours)
            self.assertEqual((status, allow), (405, allowed), path)
        agent.stop()


if __name__ == "__main__":
    unittest.main()
