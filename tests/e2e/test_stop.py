# SPDX-License-Identifier: Apache-2.0
"""How the daemon ends, and what the watchdog hears of it."""
import json
import os
import shutil
import signal
import socket
import threading
import unittest

from lake import DONE, end, until
from test_run import Case


class Stop(Case):
    def store_away(self):
        """A file where the tables' folders should be: puts fail until it goes."""
        away = os.path.join(self.lake.warehouse, "db")
        shutil.move(away, self.lake.path("db"))
        self.lake.write("warehouse/db", "")

        def back():
            os.remove(away)
            shutil.move(self.lake.path("db"), away)
        return back

    def notified(self):
        """A socket as systemd's, and its environment."""
        path = self.lake.path("notify")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.settimeout(20)
        return listener, {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}

    def in_table_once(self, names):
        self.start().stop()
        self.lake.once()
        self.assertEqual(self.lake.ids("clicks", "click_id"), {name: 1 for name in names})

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
        clicks = status()["tables"]["clicks"]
        self.assertEqual((clicks["received"], clicks["kept"], sum(clicks["in_spool"].values())), (1, 1, 1),
                         "what was counted is to be seen to the end")
        agent.process.send_signal(signal.SIGTERM)
        self.assertEqual(agent.process.wait(timeout=20), DONE, agent.log())
        self.assertIn("asked again to stop", agent.log())
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


if __name__ == "__main__":
    unittest.main()
