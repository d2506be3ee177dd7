# SPDX-License-Identifier: Apache-2.0
"""How the daemon ends, and what the watchdog hears of it."""
import http.client
import http.server
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

from lake import BUILD, DEADLINE, DONE, FAILED, PATIENCE, end, until
from test_run import Case


class Base(Case):
    def in_table_once(self, names):
        self.start().stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {name: 1 for name in names})

    def store_away(self):
        """A file where the tables' folders should be: puts fail until it goes."""
        away = os.path.join(self.lake.warehouse, "db")
        shutil.move(away, self.lake.path("db"))
        self.lake.write("warehouse/db", "")

        def back():
            os.remove(away)
            shutil.move(self.lake.path("db"), away)
        return back


class Stop(Base):
    def notified(self):
        """A socket as systemd's, and its environment."""
        path = self.lake.path("notify")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.settimeout(DEADLINE)
        return listener, {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}

    def test_stops_by_the_deadline_without_a_store(self):
        back = self.store_away()
        agent = self.start("--stop-deadline", "300ms")
        self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
        agent.stop()
        self.assertIn("stopped before all was delivered", agent.log())
        back()
        self.in_table_once(["a"])

    def test_asked_again_it_stops_at_once(self):
        """Somebody is in a hurry, and what is left is safe in the spool."""
        back = self.store_away()
        agent = self.start("--stop-deadline", "1h")
        self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
        agent.process.send_signal(signal.SIGTERM)
        until(lambda: 'msg="stopping"' in agent.log(), "it stops")

        def status():
            return json.loads(agent.get("/v1/status", agent.operations)[1])

        until(lambda: not status()["sources"], "its doors are closed")

        def counted():  # what is in the spool is as of the deliverer's last step
            clicks = status()["tables"]["clicks"]
            return clicks["received"], clicks["kept"], sum(clicks["in_spool"].values())

        until(lambda: counted() == (1, 1, 1), "what was counted to be seen to the end")
        agent.process.send_signal(signal.SIGTERM)
        self.assertEqual(agent.process.wait(timeout=DEADLINE), DONE, agent.log())
        self.assertIn("asked again to stop", agent.log())
        back()
        self.in_table_once(["a"])

    def senders(self, agent):
        """Two that send on until nobody takes it: what was answered, and what was cut off."""
        answered, unknown, other = set(), set(), []

        def send(prefix):
            for number in itertools.count():
                name = f"{prefix}{number}"
                try:
                    status, _ = agent.post("clicks", f'{{"id":"{name}"}}')
                except ConnectionRefusedError:
                    return
                except (OSError, http.client.HTTPException):
                    unknown.add(name)
                    continue
                if status == 200:
                    answered.add(name)
                else:
                    other.append(status)

        threads = [threading.Thread(target=send, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        return threads, answered, unknown, other

    def ends_under_load(self, agent, ask):
        threads, answered, unknown, other = self.senders(agent)
        try:
            until(lambda: len(answered) >= 50, "events are answered")
            ask()
            self.assertEqual(agent.process.wait(timeout=DEADLINE), DONE, agent.log())
        finally:
            end(agent.process)
            for thread in threads:
                thread.join()
        self.assertEqual(other, [])
        return answered, unknown

    def table_has(self, answered, unknown):
        self.start().stop()
        self.lake.once()
        found = self.lake.ids("clicks", "click_id")
        self.assertEqual([name for name, times in found.items() if times > 1], [])
        self.assertEqual(answered - set(found), set())
        self.assertEqual(set(found) - answered - unknown, set())

    def test_stops_while_senders_work(self):
        """SIGTERM at any moment: what was answered is announced before the end."""
        agent = self.start()
        answered, unknown = self.ends_under_load(
            agent, lambda: agent.process.send_signal(signal.SIGTERM))
        self.lake.once()
        self.assertEqual(answered - set(self.lake.ids("clicks", "click_id")), set())
        self.table_has(answered, unknown)

    def test_drains_while_senders_work(self):
        """The store is away: a drain ends by its deadline, and what it leaves is not lost."""
        back = self.store_away()
        agent = self.start("--stop-deadline", "1h")
        at = ("--operations", f"127.0.0.1:{agent.operations}")
        told = []
        answered, unknown = self.ends_under_load(agent, lambda: told.append(
            self.lake.agent("drain", *at, "--ingest-deadline", "1s", code=FAILED)))
        self.assertIn("events that stay in the spool", told[0].err)
        self.assertIn("stopped before all was delivered", agent.log())
        self.assertEqual(self.lake.inbox("clicks"), [])
        back()
        self.table_has(answered, unknown)

    def drain(self, agent, *arguments):
        """One that goes on beside the test."""
        process = subprocess.Popen(
            [f"{BUILD}/bidlake-agent", "drain", *self.lake.agent_flags(), "--operations",
             f"127.0.0.1:{agent.operations}", *arguments], stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(end, process)
        return process

    def drains(self, *arguments):
        """An agent with an event that it can't deliver, and the drain that asked it to."""
        back = self.store_away()
        agent = self.start("--stop-deadline", "0", "--roll-age", "1h")
        self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
        drain = self.drain(agent, *arguments)
        until(lambda: 'msg="stopping"' in agent.log(), "it stops")
        return agent, drain, back

    def post_drain(self, agent, query):
        connection = http.client.HTTPConnection("127.0.0.1", agent.operations, timeout=DEADLINE)
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/drain" + query, b"", {"X-Bidlake-Operation": "1"})
        return connection.getresponse().status

    def store_is_asked(self, agent):
        """Twice from now on, in vain."""
        def failures():
            return json.loads(agent.get("/v1/status", agent.operations)[1])["delivery"]["failures"]

        before = failures()
        until(lambda: failures() >= before + 2, "the store is asked")

    def test_drain_has_its_own_time(self):
        """Who takes the machine away behind a drain that said "done" must lose nothing; a stop's
        deadline is for those who are in a hurry."""
        agent, drain, back = self.drains("--ingest-deadline", "1h")
        self.store_is_asked(agent)
        self.assertIsNone(drain.poll())
        back()
        self.assertEqual(drain.wait(timeout=DEADLINE), DONE, agent.log())
        self.assertEqual(agent.process.wait(timeout=DEADLINE), DONE, agent.log())
        self.assertEqual(len(self.lake.inbox("clicks")), 1)

    def test_drain_says_what_is_left(self):
        agent, drain, back = self.drains("--ingest-deadline", "1s")
        self.assertEqual(drain.wait(timeout=DEADLINE), FAILED, agent.log())
        self.assertIn("stay in the spool for the next start: 1;", drain.stderr.read())
        self.assertEqual(agent.process.wait(timeout=DEADLINE), DONE, agent.log())
        back()
        self.in_table_once(["a"])

    def test_drain_of_a_spool_that_was_set_aside(self):
        """What did not read may hold events that are nowhere else, and goes with the machine."""
        os.makedirs(f"{self.lake.spool}/set-aside/20260101T000000Z-1")
        for aside, code in ((True, FAILED), (False, DONE)):
            agent = self.start()
            self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
            drain = self.drain(agent)
            self.assertEqual(drain.wait(timeout=DEADLINE), code, agent.log())
            self.assertEqual("set-aside/" in drain.stderr.read(), aside)
            self.assertEqual(agent.process.wait(timeout=DEADLINE), DONE, agent.log())
            shutil.rmtree(f"{self.lake.spool}/set-aside", ignore_errors=True)
        self.assertEqual(len(self.lake.inbox("clicks")), 2)

    def test_drained_agent_dies(self):
        """An agent that is gone is not one that has delivered."""
        agent, drain, back = self.drains("--ingest-deadline", "1h")
        agent.process.kill()
        self.assertEqual(drain.wait(timeout=DEADLINE), FAILED)
        self.assertRegex(drain.stderr.read(), "did not say|no agent answers")
        back()
        self.in_table_once(["a"])

    def test_drain_that_is_asked_twice(self):
        """The second one hastens nothing."""
        agent, drain, back = self.drains("--ingest-deadline", "1h")
        self.assertEqual(self.post_drain(agent, "?within_ms=1"), 202)
        self.store_is_asked(agent)
        back()
        self.assertEqual(drain.wait(timeout=DEADLINE), DONE, agent.log())
        self.assertEqual(len(self.lake.inbox("clicks")), 1)

    def test_what_a_drain_is_told(self):
        agent = self.start()
        for query, status in (("?within_ms=x", 400), ("?within_ms=", 400), ("?within=1", 400),
                              ("?within_ms=-1", 400), ("?within_ms=9999999999999", 400)):
            self.assertEqual(self.post_drain(agent, query), status, query)
        text = agent.get("/v1/drain", agent.operations)[1]
        self.assertEqual(json.loads(text), {"ending": False, "over": False, "complete": False,
                                            "events_left": 0, "why": ""})
        agent.stop()

    def test_drain_that_others_watch(self):
        """Who asks for the head alone has heard nothing."""
        back = self.store_away()
        agent = self.start("--roll-age", "1h")
        self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
        self.assertEqual(self.post_drain(agent, "?within_ms=1"), 202)
        until(lambda: "stopped before all was delivered" in agent.log(), "it is over")
        connection = http.client.HTTPConnection("127.0.0.1", agent.operations, timeout=DEADLINE)
        self.addCleanup(connection.close)
        connection.request("HEAD", "/v1/drain")
        self.assertEqual(connection.getresponse().status, 200)
        with self.assertRaises(subprocess.TimeoutExpired):
            agent.process.wait(timeout=1)
        text = agent.get("/v1/drain", agent.operations)[1]
        self.assertEqual(json.loads(text)["events_left"], 1)
        self.assertEqual(agent.process.wait(timeout=DEADLINE), DONE, agent.log())
        back()
        self.in_table_once(["a"])

    def test_pipe_ends_without_a_store(self):
        """Who pipes events in and sees 0 throws his copy away."""
        back = self.store_away()
        result = self.lake.agent("run", "--listen", "stdin:?table=clicks", "--operations", "",
                                 "--stop-deadline", "300ms", stdin=b'{"id":"a"}\n', code=FAILED)
        self.assertIn("stay in the spool for the next start: 1;", result.err)
        back()
        self.in_table_once(["a"])

    def test_watchdog_is_served_while_it_delivers_its_last(self):
        """A drain that waits for the store must not be taken for a hang."""
        self.store_away()
        listener, env = self.notified()
        agent = self.start("--stop-deadline", "1h", env=env)
        self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
        agent.process.send_signal(signal.SIGTERM)
        while not listener.recv(100).startswith(b"STOPPING=1"):
            pass
        heard = [listener.recv(100) for _ in range(4)]
        self.assertGreaterEqual(heard.count(b"WATCHDOG=1"), 3, heard)
        self.assertIsNone(agent.process.poll())

    def test_watchdog_is_not_served_while_capture_hangs(self):
        """A disk that takes no sync back: nobody is answered, and somebody must hear of it."""
        listener, env = self.notified()
        agent = self.start(env=env, prefix=(
            "strace", "-D", "-f", "-q", "-o", self.lake.path("trace"), "-e", "trace=fdatasync",
            "-e", "inject=fdatasync:delay_enter=3000000:when=10+"))
        answered = threading.Event()

        def post():
            try:
                while not answered.is_set():
                    agent.post("clicks", b'{"id":"a"}')
            except OSError:
                pass  # it was ended

        sender = threading.Thread(target=post, daemon=True)
        sender.start()
        listener.settimeout(1)  # five times what the watchdog waits
        heard = 0
        try:
            while heard < 100:
                heard += listener.recv(100) == b"WATCHDOG=1"
        except TimeoutError:
            pass
        self.assertIn(heard, range(1, 100), "it is served on and on")
        answered.set()
        self.assertTrue(sender.is_alive(), "the sync came back")
        self.assertIsNone(agent.process.poll())
        end(agent.process)


class SilentStore:
    """A store in S3's words that is not well, and says nothing to requests by one method."""

    def __init__(self):
        self.silent = None
        self.heard = 0
        self.put_status = lambda path: 503
        self.put = set()  # that was answered with 200
        self.closed = threading.Event()
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def handle_any(self):
                if self.command == store.silent:
                    store.heard += 1
                    store.closed.wait()
                else:
                    self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    status = store.put_status(self.path) if self.command == "PUT" else 503
                    if status == 200:
                        store.put.add(self.path)
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            do_GET = do_PUT = do_HEAD = do_DELETE = handle_any

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.flags = ["--warehouse", "s3://lake/wh", "--s3-region", "us-east-1", "--s3-endpoint",
                      f"http://127.0.0.1:{self.server.server_port}"]
        self.env = {"AWS_ACCESS_KEY_ID": "AKTEST", "AWS_SECRET_ACCESS_KEY": "secret"}

    def close(self):
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()


class DrainedElsewhere:
    """The operations port of an agent that was told to drain, and gives these answers then."""

    def __init__(self, *answers):
        self.answers = list(answers)
        port = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, status, text=b""):
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_POST(self):
                self.answer(202)

            def do_GET(self):
                self.answer(*port.answers.pop(0))
                if not port.answers:  # gone
                    port.server.socket.close()

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while self.answers:
            self.server.handle_request()

    def drain(self, lake, code):
        result = lake.agent("drain", "--operations", self.address, code=code)
        self.thread.join(DEADLINE)
        self.server.server_close()
        return result.err


class Drains(Base):
    """What the command makes of answers that are none of a drain."""
    GOES_ON = (200, b'{"ending":true,"over":false}')
    OVER = (200, b'{"ending":true,"over":true,"complete":true,"events_left":0,"why":""}')

    def test_too_many_ask(self):
        """A machine that is kept for a busy moment costs money, and an alarm."""
        port = DrainedElsewhere((503,), self.GOES_ON, (503,), self.OVER)
        self.assertEqual(port.drain(self.lake, DONE), "")

    def test_an_older_agent(self):
        port = DrainedElsewhere((404,))
        self.assertIn("older than this command", port.drain(self.lake, FAILED))

    def test_another_program(self):
        port = DrainedElsewhere((200, b"hello"))
        self.assertIn("not an agent's port?: line 1", port.drain(self.lake, FAILED))

    def test_another_program_behind_it(self):
        """The agent told its end and is gone; who listens there now says nothing of it."""
        port = DrainedElsewhere(self.OVER, (404,))
        self.assertEqual(port.drain(self.lake, DONE), "")


class Silence(Base):
    """A request that hangs has some seconds behind the deadline; whoever waits for longer is
    killed by then."""

    def store(self):
        store = SilentStore()
        self.addCleanup(store.close)
        return store

    def ends_soon(self, process, store):
        until(lambda: store.heard, "the store is asked")
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        self.assertEqual(process.wait(timeout=DEADLINE), DONE)
        self.assertLess(time.monotonic() - began, 20 * PATIENCE)
        self.assertEqual(store.heard, 1)

    def ends_while(self, method):
        store = self.store()
        agent = self.start("--stop-deadline", "300ms", *store.flags, env=store.env)
        store.silent = method
        self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
        self.ends_soon(agent.process, store)
        self.assertIn("stopped before all was delivered", agent.log())
        self.in_table_once(["a"])

    def test_while_the_store_says_nothing_to_a_read(self):
        self.ends_while("GET")

    def test_while_the_store_says_nothing_to_a_put(self):
        self.ends_while("PUT")

    def test_doors_open_beside_it(self):
        """A host that starts while the store hangs must not turn its senders away for minutes. Once
        the store answers, and overwrites what it is asked not to, it gets nothing of theirs."""
        store = self.store()
        store.silent = "PUT"
        agent = self.start("--stop-deadline", "300ms", *store.flags, env=store.env)
        self.assertEqual(store.heard, 1)
        self.assertIn("store does not answer yet, events wait in the spool", agent.log())
        self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
        store.put_status = lambda path: 200
        store.silent = None
        store.closed.set()  # whoever hangs is let go
        until(lambda: b"overwrites where it was asked not to" in
              agent.get("/readyz", agent.operations)[1], "it says so", 90)
        self.assertEqual(store.put, {"/lake/wh/_bidlake/probe/edge-1"})
        agent.stop()
        self.in_table_once(["a"])

    def test_an_agent_that_may_not_ask(self):
        """Its right is to put data and announcements: these it puts."""
        store = self.store()
        refused = []

        def put_status(path):
            if "probe" not in path:
                return 200
            refused.append(path)
            return 403

        store.put_status = put_status
        agent = self.start("--stop-deadline", "300ms", *store.flags, env=store.env)
        self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
        until(lambda: agent.metric("bidlake_upload_announcements_total"), "it is announced")
        self.assertTrue(refused)
        for folder in ("/data/", "/_bidlake/inbox/"):
            self.assertTrue([path for path in store.put if folder in path], store.put)
        agent.stop()

    def test_while_it_starts(self):
        store = self.store()
        store.silent = "PUT"
        process = subprocess.Popen(
            [f"{BUILD}/bidlake-agent", "run", *self.lake.agent_flags(), "--listen",
             "http:127.0.0.1:0", "--stop-deadline", "300ms", *store.flags],
            stderr=subprocess.DEVNULL, env={**os.environ, **store.env})
        self.addCleanup(end, process)
        self.ends_soon(process, store)


class Commands(Base):
    """Whoever is asked to end and doesn't is killed, or waited for."""

    def begin(self, command, *arguments):
        process = subprocess.Popen([f"{BUILD}/bidlake-agent", command, *arguments],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(end, process)
        return process

    def ends_by(self, number, process):
        self.assertIsNone(process.poll())
        process.send_signal(number)
        self.assertEqual(process.wait(timeout=DEADLINE), -number)

    def test_run_that_reads_its_configuration(self):
        """Nothing is open yet, so it has nothing to do but to go."""
        fifo = self.lake.path("agent.yaml")
        os.mkfifo(fifo)
        process = self.begin("run", "--config", fifo)

        def opened():
            try:
                return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads yet
                return None

        writer = until(opened, "it reads")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=DEADLINE), DONE)
        os.close(writer)

    def test_run_that_has_just_begun(self):
        """At any moment of its start: before it can take a signal, while it opens, once it is up."""
        for number in range(24):
            process = self.begin("run", *self.lake.agent_flags(), "--listen", "http:127.0.0.1:0",
                                 "--stop-deadline", "300ms")
            time.sleep(number * 0.002)  # no state to wait for: each moment is one
            process.send_signal(signal.SIGTERM)
            self.assertIn(process.wait(timeout=DEADLINE), (DONE, -signal.SIGTERM))

    def test_commands_that_wait(self):
        """For an agent that says nothing, or for one that can't deliver."""
        back = self.store_away()
        agent = self.start("--stop-deadline", "300ms")
        self.assertEqual(agent.post("clicks", b'{"id":"a"}')[0], 200)
        asked = ("--operations", f"127.0.0.1:{agent.operations}")

        def flushes():
            return json.loads(agent.get("/v1/status", agent.operations)[1])["flushes"]["asked"]

        for count, number in enumerate((signal.SIGTERM, signal.SIGINT), 1):
            process = self.begin("flush", *asked)
            until(lambda: flushes() == count, "it asked")
            self.ends_by(number, process)
        agent.stop()
        back()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(DEADLINE)
            at = f"127.0.0.1:{silent.getsockname()[1]}"
            for number in (signal.SIGTERM, signal.SIGINT):
                process = self.begin("status", "--operations", at)
                connection, _ = silent.accept()
                self.ends_by(number, process)
                connection.close()
        self.in_table_once(["a"])


if __name__ == "__main__":
    unittest.main()
