# SPDX-License-Identifier: Apache-2.0
"""Sockets that systemd holds: a restart under load refuses no connection and loses nothing."""
import collections
import fcntl
import http.client
import itertools
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import termios
import threading
import time
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

    def ready(self, starts=1):
        until(lambda: self.log().count('msg="ready"') == starts, "ready")

    def stop(self, how):
        self.agent.send_signal(how)
        return self.agent.wait(timeout=lake.DEADLINE)


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
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=lake.DEADLINE)
        try:
            connection.request("POST", "/v1/events/clicks", '{"id":"%s"}' % event)
            return connection.getresponse().status == 200
        finally:
            connection.close()
    return send


def unix_sender(path):
    def send(event):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(lake.DEADLINE)
            connection.connect(path)
            connection.sendall(b'{"id":"%s"}\n' % event.encode())
            return connection.recv(20) == b"1\n"
    return send


def unread(sender):
    """How many bytes the other end of a unix socket has not read."""
    count = fcntl.ioctl(sender.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return int.from_bytes(count, sys.byteorder)


def holds_datagram(receiver):
    """Whether one that nobody has read yet lies in this socket."""
    try:
        return bool(receiver.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


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

    def test_threads_share_a_socket(self):
        """All threads of a door serve what systemd opened once, and a restart refuses nothing."""
        tcp = self.listener(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        manager = self.manager(f"http:127.0.0.1:{port}?threads=2", [tcp])
        senders = Senders()
        self.addCleanup(senders.stop)
        senders.start("h", http_sender(port))
        self.restart_often(manager, senders, [signal.SIGTERM] * 2)
        senders.stop()
        self.assertEqual(dict(senders.errors), {})
        self.in_table_once(manager, senders.answered)

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
        self.assertTrue(holds_datagram(sockets[0]))
        manager.start()
        until(lambda: not holds_datagram(sockets[0]), "the datagram is read")
        senders.stop()
        self.assertEqual(senders.errors, {})
        self.in_table_once(manager, senders.answered, ["datagram"])
        # The files are systemd's: neither unlinked nor given another mode.
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertTrue(stat.S_ISSOCK(os.stat(datagrams).st_mode))

    def stopping(self, manager, tcp):
        """Asked to stop, it accepts no more: who connects now stays in the queue."""
        manager.agent.send_signal(signal.SIGTERM)

        def queue_stays():
            with socket.create_connection(tcp.getsockname(), timeout=lake.DEADLINE):
                waiting = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
                return int.from_bytes(waiting[24:28], "little") > 0
        until(queue_stays, "no more is accepted")

    def test_nobody_is_reset_by_a_pause(self):
        """The machine stands still while the agent stops: what was sent to it meanwhile, on
        connections it has accepted, is served, however late it is by the clock."""
        path = self.lake.path("clicks.sock")
        tcp = self.listener(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        stream = self.listener(socket.AF_UNIX, socket.SOCK_STREAM, path)
        port = tcp.getsockname()[1]
        manager = self.manager(f"unix:{path}?table=clicks&ack=lines,http:127.0.0.1:{port}",
                               [tcp, stream])
        starts = 1
        while not self.served_after_pause(manager, tcp, path, starts):
            starts += 1  # the machine is so slow that the connections' time was over before
            manager.start()
        manager.start()
        manager.ready(starts + 1)
        self.in_table_once(manager, {"http", "unix"})

    def served_after_pause(self, manager, tcp, path, starts):
        manager.ready(starts)
        operations = re.findall(r"kind=operations address=\S+:(\d+)", manager.log())[-1]

        def accepted():
            asked = http.client.HTTPConnection("127.0.0.1", int(operations), timeout=lake.DEADLINE)
            asked.request("GET", "/metrics")
            text = asked.getresponse().read().decode()
            asked.close()
            return len(re.findall(r"^bidlake_source_connections\{.* 1$", text, re.MULTILINE)) == 2

        body = b'{"id":"http"}'
        with socket.create_connection(tcp.getsockname(), timeout=lake.DEADLINE) as web, \
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as local:
            local.settimeout(lake.DEADLINE)
            local.connect(path)
            until(accepted, "both connections are taken")
            self.stopping(manager, tcp)
            manager.agent.send_signal(signal.SIGSTOP)
            in_time = select.select([web, local], [], [], 0)[0] == []
            if in_time:
                web.sendall(b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\n"
                            b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
                local.sendall(b'{"id":"unix"}\n')
                time.sleep(1.2)  # longer than who has just connected is waited for
            manager.agent.send_signal(signal.SIGCONT)
            if in_time:
                self.assertIn(b"HTTP/1.1 200", web.recv(4096))
                self.assertEqual(local.recv(20), b"1\n")
        self.assertEqual(manager.agent.wait(timeout=lake.DEADLINE), 0, manager.log())
        return in_time

    def test_what_was_sent_is_read(self):
        """A sender that asks for no acks takes for read what its connection took: when the
        agent stops it reads on until the connection is silent."""
        path = self.lake.path("clicks.sock")
        stream = self.listener(socket.AF_UNIX, socket.SOCK_STREAM, path)
        manager = self.manager(f"unix:{path}?table=clicks", [stream])
        manager.ready()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as local:
            local.connect(path)
            local.sendall(b'{"id":"n0"}\n')
            until(lambda: not unread(local), "the first line is read")
            manager.agent.send_signal(signal.SIGSTOP)
            names = {f"n{number}" for number in range(1, 8001)}
            local.sendall("".join(f'{{"id":"{name}"}}\n' for name in sorted(names)).encode())
        manager.agent.send_signal(signal.SIGTERM)
        manager.agent.send_signal(signal.SIGCONT)
        self.assertEqual(manager.agent.wait(timeout=lake.DEADLINE), 0, manager.log())
        manager.start()
        manager.ready(2)
        self.in_table_once(manager, names | {"n0"})

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
        manager.ready()
        named = re.findall(r"systemd listens.* address=(\S+)", manager.log())
        self.assertEqual(named, [f"127.0.0.1:{tcp.getsockname()[1]}", self.lake.path("old.sock")])
        self.assertEqual(manager.stop(signal.SIGTERM), 0)

    def test_a_port_held_for_another_address_is_named(self):
        """All addresses here, one there: "in use" alone would have one look for a stranger."""
        tcp = self.listener(socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0))
        port = tcp.getsockname()[1]
        manager = self.manager(f"http:127.0.0.1:{port}", [tcp])
        self.assertEqual(manager.agent.wait(timeout=lake.DEADLINE), 2)
        self.assertIn(f"127.0.0.1:{port}: systemd holds 0.0.0.0:{port} for this agent",
                      manager.log())

    def test_a_door_that_is_there_twice_is_named(self):
        """A drop-in that repeats a path: systemd puts the second socket in the first one's
        place, and who connects must not wait for one that nobody serves."""
        path = self.lake.path("clicks.sock")
        first = self.listener(socket.AF_UNIX, socket.SOCK_STREAM, path)
        os.unlink(path)
        second = self.listener(socket.AF_UNIX, socket.SOCK_STREAM, path)
        manager = self.manager(f"unix:{path}?table=clicks&ack=lines", [first, second])
        manager.ready()
        self.assertTrue(unix_sender(path)("one"))
        self.assertEqual(re.findall(r"opened this door twice.* address=(\S+)", manager.log()), [path])
        self.assertNotIn("has no door", manager.log())
        self.in_table_once(manager, {"one"})


if __name__ == "__main__":
    unittest.main()
