# SPDX-License-Identifier: Apache-2.0
"""A wire with faults between committers and a REST catalog: an HTTP proxy that decides for each
request what becomes of it. What a fate stands for:

  pass          forwarded, answered
  before N      answered with status N, not forwarded (a gateway that refuses)
  after N       forwarded, then answered with status N (a gateway that gave up waiting)
  cut_before    the connection ends, nothing forwarded
  cut_after     forwarded, then the connection ends (the answer is lost)
  late          the connection ends; forwarded when release() says so
  slow          held until the client gives up, then forwarded
  twice_first   forwarded twice, the first answer given (a proxy that sends again)
  twice_second  forwarded twice, the second answer given
"""
import collections
import contextlib
import http.client
import http.server
import random
import select
import socket
import threading

from lake import DEADLINE, until

# Host goes through: Nessie makes of it the URL that it tells clients to use.
DROPPED = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
Request = collections.namedtuple("Request", "method path fields body")
FATES = [("pass",), ("before", 500), ("before", 502), ("before", 503), ("before", 504),
         ("after", 500), ("after", 502), ("after", 503), ("after", 504), ("cut_before",),
         ("cut_after",), ("late",), ("slow",), ("twice_first",), ("twice_second",)]


def is_commit(method, path):
    """POST .../namespaces/N/tables/T"""
    return method == "POST" and "/tables/" in path


def name_of(fate):
    """With its status, if it gives one."""
    return " ".join(map(str, fate[:2])) if fate[0] in ("before", "after") else fate[0]


class Deck:
    """Deals fates in any order, each before one comes again: so many draws meet them all."""

    def __init__(self, fates, seed=0):
        self.fates, self.draw, self.left = list(fates), random.Random(seed), []

    def deal(self):
        if not self.left:
            self.left = self.draw.sample(self.fates, len(self.fates))
        return self.left.pop()


def fields_to_send(request):
    return {name: value for name, value in request.fields if name.lower() not in DROPPED}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def give(self, status, fields, body):
        self.send_response_only(status)
        for name, value in fields:
            if name.lower() not in DROPPED:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def until_given_up(self):
        """The client's timeout, not ours, ends this."""
        readable, _, _ = select.select([self.connection], [], [], 30)
        self.close_connection = True
        assert readable

    def handle_any(self):
        with self.server.wire.one_under_way():
            self.meet_fate()

    def meet_fate(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers.items(), body)
        self.meet(request, *self.server.wire.fate_of(request))

    def meet(self, request, fate, *more):
        def forward(request):
            return self.server.wire.forward(request, name_of((fate, *more)))
        if fate == "before":
            self.give(more[0], [], b"<html>no</html>")
        elif fate == "after":
            forward(request)
            self.give(more[0], [], b"")
        elif fate == "cut_before":
            self.cut()
        elif fate == "cut_after":
            forward(request)
            self.cut()
        elif fate == "late":
            self.server.wire.keep(request)
            self.cut()
        elif fate == "slow":
            self.until_given_up()
            forward(request)
        else:
            answer = forward(request)
            if fate.startswith("twice"):
                second = forward(request)
                answer = answer if fate == "twice_first" else second
            self.give(*answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True  # foreign readers in this process keep their connections open

    def handle_error(self, request, client_address):
        pass  # clients that have gone


class Served:
    """A server of ours in a thread of its own, at `url`."""

    def serve(self, handler, **known):
        """`known`: what the handler finds on its server."""
        self.server = Server(("127.0.0.1", 0), handler)
        vars(self.server).update(known)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Wire(Served):
    """Between `url` and the port of `target`. `commits` and `loads`: the fates to come, one a
    request, after which all pass."""
    handler = Handler

    def __init__(self, target):
        self.target = target
        self.lock = threading.Lock()
        # under the lock
        self.deck = Deck(FATES)
        self.commits = collections.deque()
        self.loads = collections.deque()
        self.kept = []
        self.under_way = 0
        self.met = collections.Counter()  # names of the fates that commits have had
        self.outcomes = collections.Counter()  # of commits: (name, what the catalog answered)
        self.serve(self.handler, wire=self)

    @contextlib.contextmanager
    def one_under_way(self):
        with self.lock:
            self.under_way += 1
        try:
            yield
        finally:
            with self.lock:
                self.under_way -= 1

    def settle(self):
        """Until all that clients gave up on has come to its end."""
        until(lambda: self.under_way == 0, "requests under way")

    def fate_of(self, request):
        with self.lock:
            if is_commit(request.method, request.path):
                fate = self.commits.popleft() if self.commits else ("pass",)
                self.met[name_of(fate)] += 1
                return fate
            if request.method == "GET" and "/tables/" in request.path and self.loads:
                return self.loads.popleft()
            return ("pass",)

    def forward(self, request, name="pass"):
        fields = fields_to_send(request)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.target,
                                                           timeout=DEADLINE)) as connection:
            connection.request(request.method, request.path, request.body or None, fields)
            answer = connection.getresponse()
            body = answer.read()
        if is_commit(request.method, request.path):
            with self.lock:
                self.outcomes[name, answer.status] += 1
        return answer.status, answer.getheaders(), body

    def keep(self, request):
        with self.lock:
            self.kept.append(request)

    def release(self):
        """What was late arrives now, in any order; returns the catalog's answers."""
        with self.lock:
            kept, self.kept = self.kept, []
        return [self.forward(request, "late")[0] for request in reversed(kept)]


def unmet(outcomes, statuses=(500, 502, 503, 504)):
    """What a run of schedules must have met on the way to a catalog, and has not. An answer that
    is lost counts where the commit was applied, a late request where it comes too late."""
    wanted = [("cut_after", 200), ("late", 409), ("twice_first", 200),
              ("twice_first", 409), ("twice_second", 409), *((f"after {n}", 200) for n in statuses)]
    return [pair for pair in wanted if outcomes[pair] == 0]
