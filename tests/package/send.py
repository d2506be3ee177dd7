#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Senders for boot.py: events into table clicks, over every door, until stdin ends.

usage: send.py --root /proc/PID/root --prefix NAME [--uid N --gid N --group N] [--count N]

Runs in the guest's network, but with the machine's own files: the guest has no Python. Prints
one JSON object: what was answered, what nobody knows of, and the errors by kind. The threads
that keep a connection open send with an Idempotency-Key, and again what went unanswered.
"""
import argparse
import collections
import http.client
import itertools
import json
import os
import socket
import sys
import threading
import time

HTTP = ("127.0.0.1", 7180)
PATIENCE_S = 60


class Sender:
    def __init__(self, prefix, sockets, count):
        self.prefix, self.sockets, self.count = prefix, sockets, count
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.answered, self.unknown, self.errors = [], [], collections.Counter()

    def note(self, ids, fine, error=None):
        with self.lock:
            (self.answered if fine else self.unknown).extend(ids)
            if error is not None:
                self.errors[type(error).__name__] += 1

    def batches(self, name, size):
        for number in range(self.count) if self.count else itertools.count():
            if self.stop.is_set():
                return
            yield [f"{self.prefix}-{name}-{number}-{i}" for i in range(size)]

    @staticmethod
    def lines(ids):
        return "".join('{"id":"%s"}\n' % one for one in ids).encode()

    def http_fresh(self, name):
        """A connection a request: none may be refused, none cut."""
        for ids in self.batches(name, 3):
            connection = http.client.HTTPConnection(*HTTP, timeout=PATIENCE_S)
            try:
                connection.request("POST", "/v1/events/clicks", self.lines(ids))
                answer = connection.getresponse()
                answer.read()
                self.note(ids, answer.status == 200)
                if answer.status != 200:
                    self.errors[f"status {answer.status}"] += 1
            except (OSError, http.client.HTTPException) as error:
                self.note(ids, False, error)
            finally:
                connection.close()

    def http_kept(self, name):
        """A connection that stays open; what got no answer is sent again by its key."""
        connection = None
        for ids in self.batches(name, 3):
            deadline = time.monotonic() + PATIENCE_S
            while True:
                try:
                    connection = connection or http.client.HTTPConnection(*HTTP,
                                                                          timeout=PATIENCE_S)
                    connection.request("POST", "/v1/events/clicks", self.lines(ids),
                                       {"Idempotency-Key": ids[0]})
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status == 200:
                        self.note(ids, True)
                        break
                except (OSError, http.client.HTTPException) as error:
                    if isinstance(error, ConnectionRefusedError):
                        self.errors["ConnectionRefusedError"] += 1
                    connection = connection and connection.close()
                if time.monotonic() > deadline:
                    self.note(ids, False, TimeoutError())
                    break

    def unix(self, name):
        """Lines, each batch acknowledged by the number of lines of the connection so far. What a
        stopping agent has not acknowledged may be there or not."""
        connection, lines, text = None, 0, b""
        for ids in self.batches(name, 3):
            try:
                if connection is None:
                    connection, lines, text = socket.socket(socket.AF_UNIX), 0, b""
                    connection.settimeout(PATIENCE_S)
                    connection.connect(f"{self.sockets}/clicks.sock")
            except OSError as error:
                self.note(ids, False, error)
                connection = connection.close()
                continue
            try:
                connection.sendall(self.lines(ids))
                lines += len(ids)
                while f"\n{lines}\n".encode() not in b"\n" + text:
                    more = connection.recv(4096)
                    if not more:
                        raise EOFError
                    text = text[-200:] + more
                self.note(ids, True)
            except (EOFError, ConnectionError):
                self.note(ids, False)
                connection = connection.close()
            except OSError as error:
                self.note(ids, False, error)
                connection = connection.close()

    def run(self):
        kinds = [self.http_fresh] * 3 + [self.http_kept] * 2 + [self.unix] * 2
        threads = [threading.Thread(target=kind, args=(f"{kind.__name__}{at}",))
                   for at, kind in enumerate(kinds)]
        for thread in threads:
            thread.start()
        if not self.count:
            sys.stdin.read()
            self.stop.set()
        for thread in threads:
            thread.join()
        print(json.dumps({"answered": self.answered, "unknown": self.unknown,
                          "errors": self.errors}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--uid", type=int, default=4711)
    parser.add_argument("--group", type=int)
    parser.add_argument("--count", type=int, default=0)
    options = parser.parse_args()
    # Held before root is given up: afterwards the way there is barred.
    folder = os.open(f"{options.root}/run/bidlake", os.O_PATH)
    os.setgroups([options.group] if options.group is not None else [])
    os.setresgid(options.uid, options.uid, options.uid)
    os.setresuid(options.uid, options.uid, options.uid)
    Sender(options.prefix, f"/proc/self/fd/{folder}", options.count).run()


if __name__ == "__main__":
    main()
