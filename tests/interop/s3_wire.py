# SPDX-License-Identifier: Apache-2.0
"""A wire with faults between the programs and an S3 store: those of random_wire.py, and

  held        forwarded after a while, then answered
  cut_inside  the connection ends within the body, on both sides; the store has seen a part of it
  stale       HEAD: no such object, nor by the GET that asks why; a list: as it was before
  hollow      CompleteMultipartUpload: done, and answered by 200 with an error within
"""
import contextlib
import http.client
import time
import urllib.parse

from faulty_wire import FATES, Handler, Request, fields_to_send
from random_wire import RandomWire

ABSENT = b"<Error><Code>NoSuchKey</Code><Message>stale</Message></Error>"
HOLLOW = b"<Error><Code>InternalError</Code><Message>hollow</Message></Error>"
XML = [("Content-Type", "application/xml")]
COMMON = [fate for fate in FATES if fate not in (("pass",), ("slow",))] + [("held",)]


def kind_of(request):
    """As S3 calls it."""
    split = urllib.parse.urlsplit(request.path)
    query = urllib.parse.parse_qs(split.query, keep_blank_values=True)
    if "list-type" in query:
        return "list"
    if "uploads" in query:
        return "create" if request.method == "POST" else "sweep"
    if "delete" in query:
        return "deletes"
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


class S3Wire(RandomWire):
    handler = S3Handler

    def __init__(self, target, decks):
        super().__init__(target, decks)
        # under the lock
        self.hidden = set()  # paths of which the next look for the reason is stale
        self.lists = {}  # the last answer to each

    def calm(self):
        with self.lock:
            self.hidden.clear()
        super().calm()

    def within(self, length):
        with self.lock:
            return self.draw.randint(0, length - 1)

    def fate_of(self, request):
        kind = kind_of(request)
        with self.lock:
            fate = self.draw_fate(request, kind)
            self.note(kind, request, fate)
            return fate

    def draw_fate(self, request, kind):
        path = request.path
        why = kind == "get" and dict(request.fields).get("Range") == "bytes=0-0"
        if why and path in self.hidden:
            self.hidden.discard(path)
            return ("stale", 404, XML, ABSENT)
        # What is rare gets its share.
        often = {"complete": 10, "create": 3, "part": 3, "list": 3, "head": 3,
                 "deletes": 3}.get(kind, 1)
        if self.draw.random() >= self.rate * often:
            return ("pass",)
        fates = list(COMMON)
        listed = kind == "list" and path in self.lists
        if kind == "head" or listed:
            fates += [("stale",)] * len(fates)
        if request.body:
            fates += [("cut_inside",)] * 4
        if kind == "complete":
            fates += [("hollow",)] * len(fates)
        fate = self.decks.deal((kind, listed, bool(request.body)), fates)
        if fate != ("stale",):
            return fate
        if listed:
            return ("stale", *self.lists[path])
        self.hidden.add(path)
        return ("stale", 404, [], b"")

    def forward(self, request, name="pass"):
        answer = super().forward(request, name)
        if kind_of(request) == "list" and answer[0] == 200:
            with self.lock:
                self.lists[request.path] = answer
        return answer

    def forward_a_part(self, request, length, count):
        """Announces `length` bytes, sends `count` and hangs up."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.target,
                                                           timeout=60)) as connection:
            connection.putrequest(request.method, request.path, skip_host=True,
                                  skip_accept_encoding=True)
            for name, value in fields_to_send(request).items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(length))
            connection.endheaders(request.body[:count] or None)
