# SPDX-License-Identifier: Apache-2.0
"""Sockets that systemd holds: a restart under load refuses no connection and loses nothing."""
import collections
import fcntl
import http.client
import itertools
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import unittest

import lake
from lake import Lake, end, until

FIRST_FD = 60  # where ours lie meanwhile: bash moves them to 3, 4, ...


class Manager:
    """What systemd does for a socket unit and its service, over restarts."""

    def __init__(self, where, listen, sockets):
        self.where, self.listen, self.sockets, self.agent = where, listen, sockets, None
        self.log_path = where.path("agent.log")

    def start(self, *arguments):
        fds = [fcntl.fcntl(one, fcntl.F_DUPFD, FIRST_FD) for one in self.sockets]
        moves = " ".join(f"{3 + at}<&{fd} {fd}<&-" for at, fd in enumerate(fds))
        script = f'exec {moves}; ' if fds else ""
        script += f'LISTEN_FDS={len(fds)} LISTEN_PID=$$ exec "$@"'
        command = ["bash", "-c", script, "bash", os.path.join(lake.BUILD, "bidlake-agent"), "run",
                   *self.where.agent_flags(), "--listen", self.listen,
                   "--operations", "127.0.0.1:0", "--roll-age", "300ms", *arguments]
        with open(self.log_path, "ab") as log:
            self.agent = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL,
                                          pass_fds=fds)
        for fd in fds:
            os.close(fd)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def stop(self, how):
        self.agent.send_signal(how)
        return self.agent.wait(timeout=20 * lake.PATIENCE)


class Senders:
    """Threads that send one event a connection until told to stop."""

    def __init__(self):
        self.lock = threading.Lock()
        self.answered, self.errors = set(), collections.Counter()
        self.stopping = threading.Event()
        self.threads = []

    def start(self, name, send, count=3):
        for number in range(count):
            thread = threading.Thread(target=self.work, args=(f"{name}{number}", send))
            self.threads.append(thread)
            thread.start()

    def work(self, name, send):
        for number in itertools.count():
            if self.stopping.is_set():
                return
            event = f"{name}-{number}"
            try:
                fine, why = send(event), "no answer"
            except OSError as error:
                fine, why = False, type(error).__name__
            except http.client.HTTPException as error:
                fine, why = False, type(error).__name__
            with self.lock:
                if fine:
                    self.answered.add(event)
                else:
                    self.errors[why] += 1

    def count(self):
        with self.lock:
            return len(self.answered)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def http_sender(port):
    def send(event):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", "/v1/events/clicks", '{"id":"%s"}' % event)
            return connection.getresponse().status == 200
        finally:
            connection.close()
    return send


def unix_sender(path):
    def send(event):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(30)
            connection.connect(path)
            connection.sendall(b'{"id":"%s"}\n' % event.encode())
            return connection.recv(20) == b"1\n"
    return send


class Activation(unittest.TestCase):
    def setUp(self):
        self.lake = Lake()
        self.addCleanup(self.lake.__exit__)
        self.lake.init()

    def manager(self, listen, sockets):
        manager = Manager(self.lake, listen, sockets)
        self.addCleanup(lambda: manager.agent is not None and end(manager.agent))
        manager.start()
        return manager

    def listener(self, family, kind, address):
        one = socket.socket(family, kind)
        self.addCleanup(one.close)
        one.bind(address)
        if kind == socket.SOCK_STREAM:
            one.listen(1024)
        return one

    def restart_often(self, manager, senders, signals):
        for how in signals:
            before = senders.count()
            until(lambda: senders.count() >= before + 30, "events are answered")
            manager.stop(how)
            manager.start()
        before = senders.count()
        until(lambda: senders.count() >= before + 30, "events are answered")

    def in_table_once(self, manager, answered, more=()):
        self.assertEqual(manager.stop(signal.SIGTERM), 0, manager.log())
        self.lake.once()
        found = self.lake.ids("clicks", "click_id")
        self.assertEqual([name for name, times in found.items() if times > 1], [])
        self.assertEqual((answered | set(more)) - set(found), set())

    def test_restarts_refuse_nothing(self):
        """A bidder must not see a restart: no connection is refused or cut, all is taken once."""
        path, datagrams = self.lake.path("clicks.sock"), self.lake.path("datagrams.sock")
        tcp = self.listener(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        sockets = [self.listener(socket.AF_UNIX, socket.SOCK_DGRAM, datagrams), tcp,
                   self.listener(socket.AF_UNIX, socket.SOCK_STREAM, path)]
        os.chmod(path, 0o600)
        port = tcp.getsockname()[1]
        manager = self.manager(f"http:127.0.0.1:{port},unix:{path}?table=clicks&ack=lines&mode=0666,"
                               f"unix_datagram:{datagrams}?table=clicks", sockets)
        senders = Senders()
        self.addCleanup(senders.stop)
        senders.start("http", http_sender(port))
        senders.start("unix", unix_sender(path))
        self.restart_often(manager, senders, [signal.SIGTERM] * 6)
        # A datagram that was sent while nobody ran is taken by the next one, too.
        manager.stop(signal.SIGTERM)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b'{"id":"datagram"}', datagrams)
        manager.start()
        senders.stop()
        self.assertEqual(senders.errors, {})
        self.in_table_once(manager, senders.answered, ["datagram"])
        # The files are systemd's: neither unlinked nor given another mode.
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertTrue(stat.S_ISSOCK(os.stat(datagrams).st_mode))

    def test_kills_refuse_nothing(self):
        """Who was connected sees a killed agent; who comes then waits for the next one."""
        path = self.lake.path("clicks.sock")
        tcp = self.listener(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        stream = self.listener(socket.AF_UNIX, socket.SOCK_STREAM, path)
        manager = self.manager(f"http:127.0.0.1:{port},unix:{path}?table=clicks&ack=lines",
                               [tcp, stream])
        senders = Senders()
        self.addCleanup(senders.stop)
        senders.start("http", http_sender(port))
        senders.start("unix", unix_sender(path))
        self.restart_often(manager, senders, [signal.SIGKILL] * 4)
        senders.stop()
        self.assertNotIn("ConnectionRefusedError", senders.errors)
        self.in_table_once(manager, senders.answered)

    def test_own_sockets_refuse(self):
        """The negative control: without systemd's sockets the same senders are refused."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        manager = self.manager(f"http:127.0.0.1:{port}", [])
        senders = Senders()
        self.addCleanup(senders.stop)
        senders.start("http", http_sender(port))
        self.restart_often(manager, senders, [signal.SIGTERM] * 2)
        senders.stop()
        self.assertIn("ConnectionRefusedError", senders.errors)
        self.in_table_once(manager, senders.answered)

    def test_a_socket_without_a_door_is_named(self):
        """A port changed in the configuration alone leaves senders waiting: say so at start."""
        tcp = self.listener(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        stream = self.listener(socket.AF_UNIX, socket.SOCK_STREAM, self.lake.path("old.sock"))
        manager = self.manager("http:127.0.0.1:0", [tcp, stream])
        until(lambda: 'msg="ready"' in manager.log(), "ready")
        named = re.findall(r"systemd listens.* address=(\S+)", manager.log())
        self.assertEqual(named, [f"127.0.0.1:{tcp.getsockname()[1]}", self.lake.path("old.sock")])
        self.assertEqual(manager.stop(signal.SIGTERM), 0)


if __name__ == "__main__":
    unittest.main()
