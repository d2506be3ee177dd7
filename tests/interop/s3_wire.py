# SPDX-License-Identifier: Apache-2.0
"""A wire with faults between the programs and an S3 store. Each request meets one with the
probability `rate`, drawn by `seed`: those of faulty_wire.py, where `late` arrives after a while or
at release(), and

  held        forwarded after a while, then answered
  cut_inside  the connection ends within the body, on both sides; the store has seen a part of it
  stale       HEAD: no such object, nor by the GET that asks why; a list: as it was before
  hollow      CompleteMultipartUpload: done, and answered by 200 with an error within
"""
import collections
import contextlib
import http.client
import random
import threading
import time
import urllib.parse

from faulty_wire import FATES, Handler, Request, Wire, fields_to_send

ABSENT = b"<Error><Code>NoSuchKey</Code><Message>stale</Message></Error>"
HOLLOW = b"<Error><Code>InternalError</Code><Message>hollow</Message></Error>"
XML = [("Content-Type", "application/xml")]
COMMON = [fate for fate in FATES if fate not in (("pass",), ("slow",))] + [("held",)]
KINDS = {"before", "after", "cut_before", "cut_after", "late", "twice_first", "twice_second",
         "held", "cut_inside", "stale", "hollow"}


def kind_of(request):
    """As S3 calls it."""
    split = urllib.parse.urlsplit(request.path)
    query = urllib.parse.parse_qs(split.query, keep_blank_values=True)
    if "list-type" in query:
        return "list"
    if "uploads" in query:
        return "create" if request.method == "POST" else "sweep"
    if "uploadId" in query:
        return {"POST": "complete", "PUT": "part", "DELETE": "abort"}[request.method]
    return request.method.lower()


class S3Handler(Handler):
    def give(self, status, fields, body):
        if self.command != "HEAD":
            super().give(status, fields, body)
            return
        self.send_response_only(status)
        for name, value in fields:
            if name.lower() not in ("connection", "keep-alive", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()

    def meet_fate(self):
        wire = self.server.wire
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        request = Request(self.command, self.path, self.headers.items(), body)
        wire.count_one()
        if len(body) < length:  # the sender is gone, and the store sees as much as came
            wire.forward_a_part(request, length, len(body))
            self.close_connection = True
            return
        fate, *more = wire.fate_of(request)
        if fate == "pass":
            self.give(*wire.forward(request))
        elif fate == "held":
            time.sleep(wire.a_while())
            self.give(*wire.forward(request))
        elif fate == "late":
            wire.keep(request)
            self.cut()
        elif fate == "cut_inside":
            wire.forward_a_part(request, length, wire.within(length))
            self.cut()
        elif fate == "stale":
            self.give(*more)
        elif fate == "hollow":
            wire.forward(request)
            self.give(200, XML, HOLLOW)
        else:
            self.meet(request, fate, *more)


class S3Wire(Wire):
    handler = S3Handler

    def __init__(self, target):
        super().__init__(target)
        # under the lock
        self.draw = random.Random(0)
        self.rate = 0.0
        self.seen = 0  # requests
        self.hidden = set()  # paths of which the next look for the reason is stale
        self.lists = {}  # the last answer to each
        self.kinds = collections.Counter()  # (kind of request, fate)
        self.timers = []
        self.said = collections.deque(maxlen=400)

    def begin(self, seed, rate):
        with self.lock:
            self.draw, self.rate = random.Random(seed), rate
            self.said.clear()

    def calm(self):
        """No faults from here on. What is late and has its time comes; what waits for release()
        goes on waiting."""
        with self.lock:
            self.rate = 0.0
            self.hidden.clear()
            timers, self.timers = self.timers, []
        for timer in timers:
            timer.join()
        self.settle()

    def count_one(self):
        with self.lock:
            self.seen += 1

    def a_while(self):
        with self.lock:
            return self.draw.uniform(0.01, 0.8)

    def within(self, length):
        with self.lock:
            return self.draw.randint(0, length - 1)

    def fate_of(self, request):
        kind = kind_of(request)
        with self.lock:
            fate = self.draw_fate(request, kind)
            if fate[0] != "pass":
                self.met[fate[0]] += 1
                self.kinds[kind, fate[0]] += 1
            self.said.append(f"{kind} {request.path[:160]} {len(request.body)} {fate[:2]}")
            return fate

    def draw_fate(self, request, kind):
        path = request.path
        why = kind == "get" and dict(request.fields).get("Range") == "bytes=0-0"
        if why and path in self.hidden:
            self.hidden.discard(path)
            return ("stale", 404, XML, ABSENT)
        # What is rare gets its share.
        often = {"complete": 10, "create": 3, "part": 3, "list": 3, "head": 3}.get(kind, 1)
        if self.draw.random() >= self.rate * often:
            return ("pass",)
        fates = list(COMMON)
        if kind == "head":
            fates += [("stale", 404, [], b"")] * len(fates)
        if kind == "list" and path in self.lists:
            fates += [("stale", *self.lists[path])] * len(fates)
        if request.body:
            fates += [("cut_inside",)] * 4
        if kind == "complete":
            fates += [("hollow",)] * len(fates)
        fate = self.draw.choice(fates)
        if fate[0] == "stale" and kind == "head":
            self.hidden.add(path)
        return fate

    def arrive(self, request):
        """Nobody waits for the answer; the store may hang up on a body that it does not want."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.forward(request)

    def release(self):
        with self.lock:
            kept, self.kept = self.kept, []
        for request in reversed(kept):
            self.arrive(request)

    def forward(self, request):
        answer = super().forward(request)
        if kind_of(request) == "list" and answer[0] == 200:
            with self.lock:
                self.lists[request.path] = answer
        return answer

    def forward_a_part(self, request, length, count):
        """Announces `length` bytes, sends `count` and hangs up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=60)
        connection.putrequest(request.method, request.path, skip_host=True,
                              skip_accept_encoding=True)
        for name, value in fields_to_send(request).items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(length))
        connection.endheaders(request.body[:count] or None)
        connection.close()

    def keep(self, request):
        with self.lock:
            if self.draw.random() < 0.5:
                self.kept.append(request)
                return
            timer = threading.Timer(self.draw.uniform(0.05, 1.0), self.arrive, (request,))
            timer.daemon = True
            self.timers.append(timer)
            timer.start()
