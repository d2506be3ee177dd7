# SPDX-License-Identifier: Apache-2.0
"""Wires that draw what becomes of a request: with the probability `rate` it meets a fate of
faulty_wire.py, where `late` arrives after a while or at release(). Fates come from decks that
several wires share, so that a run meets all of them (Deck)."""
import collections
import contextlib
import http.client
import random
import threading
import time

from faulty_wire import FATES, Deck, Handler, Request, Wire, name_of

COMMITS = [fate for fate in FATES if fate != ("pass",)] + [("held",)]
LOADS = [("before", 503), ("before", 504), ("cut_before",), ("after", 502), ("cut_after",),
         ("held",), ("stale",), ("stale",)]
OTHERS = [("before", 503), ("cut_before",), ("cut_after",), ("held",)]


class Decks:
    """One for each key, made when it is first asked for."""

    def __init__(self, seed):
        self.lock, self.seed = threading.Lock(), seed
        self.decks = {}  # under the lock

    def deal(self, key, fates):
        with self.lock:
            if key not in self.decks:
                self.decks[key] = Deck(fates, f"{self.seed} {key}")
            return self.decks[key].deal()


class RandomWire(Wire):
    def __init__(self, target, decks):
        super().__init__(target)
        self.decks = decks
        # under the lock
        self.draw = random.Random(0)
        self.rate = 0.0
        self.seen = 0  # requests
        self.kinds = collections.Counter()  # (kind of request, name of its fate)
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

    def note(self, kind, request, fate):
        """Under the lock."""
        if fate[0] != "pass":
            self.met[name_of(fate)] += 1
            self.kinds[kind, name_of(fate)] += 1
        self.said.append(f"{kind} {request.path[:160]} {len(request.body)} {fate[:2]}")

    def arrive(self, request):
        """Nobody waits for the answer; the server may hang up on a body that it does not want."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.forward(request, "late")

    def release(self):
        with self.lock:
            kept, self.kept = self.kept, []
        for request in reversed(kept):
            self.arrive(request)

    def keep(self, request):
        with self.lock:
            if self.draw.random() < 0.5:
                self.kept.append(request)
                return
            timer = threading.Timer(self.draw.uniform(0.05, 1.0), self.arrive, (request,))
            timer.daemon = True
            self.timers.append(timer)
            timer.start()


class CatalogHandler(Handler):
    def meet_fate(self):
        wire = self.server.wire
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers.items(), body)
        wire.count_one()
        fate, *more = wire.fate_of(request)
        if fate == "pass":
            self.give(*wire.forward(request))
        elif fate == "held":
            time.sleep(wire.a_while())
            self.give(*wire.forward(request, "held"))
        elif fate == "stale":
            self.give(*more)
        else:
            self.meet(request, fate, *more)


class CatalogWire(RandomWire):
    """Before a REST catalog. A table may be shown as it was (`stale`), as by a server's replica that
    lags, or by a cache."""
    handler = CatalogHandler

    def __init__(self, target, decks):
        super().__init__(target, decks)
        self.loads = {}  # path: the last two answers that differ; under the lock

    def fate_of(self, request):
        table = "/tables/" in request.path
        kind = ("commit" if table and request.method == "POST" else
                "load" if table and request.method == "GET" else "other")
        with self.lock:
            fate = self.draw_fate(request, kind)
            self.note(kind, request, fate)
            return fate

    def draw_fate(self, request, kind):
        often = {"commit": 10, "load": 1, "other": 0.5}[kind]
        if self.draw.random() >= min(self.rate * often, 0.7):
            return ("pass",)
        fates = {"commit": COMMITS, "load": LOADS, "other": OTHERS}[kind]
        fate = self.decks.deal(kind, fates)
        if fate != ("stale",):
            return fate
        shown = self.loads.get(request.path, [])
        return ("stale", *shown[0]) if len(shown) == 2 else ("before", 503)

    def forward(self, request, name="pass"):
        answer = super().forward(request, name)
        if request.method == "GET" and "/tables/" in request.path and answer[0] == 200:
            with self.lock:
                shown = self.loads.setdefault(request.path, [])
                if not shown or shown[-1][2] != answer[2]:
                    self.loads[request.path] = [*shown[-1:], answer]
        return answer
