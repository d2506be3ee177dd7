# SPDX-License-Identifier: Apache-2.0
"""A wire before an S3 store on which some requests are told to slow down, with a Retry-After as
MinIO gives it whenever it has too many; it notes how long senders of a body were silent."""
import collections
import itertools
import time

from faulty_wire import Request, Wire
from s3_wire import XML, S3Handler, kind_of

SLOW = b"<Error><Code>SlowDown</Code><Message>not so fast</Message></Error>"


class SlowHandler(S3Handler):
    def meet_fate(self):
        wire = self.server.wire
        request = Request(self.command, self.path, self.headers.items(), self.read_body())
        kind = kind_of(request)
        with wire.lock:
            refused = wire.refuses(request, kind)
            (wire.refused if refused else wire.asked)[kind] += 1
            after = next(wire.after) if refused else None
        time.sleep(wire.delay)
        if refused:
            self.give(503, [("Retry-After", str(after)), *XML], SLOW)
        else:
            self.give(*wire.forward(request))

    def read_body(self):
        left = int(self.headers.get("Content-Length") or 0)
        pieces, at = [], time.monotonic()
        while left > 0:
            piece = self.rfile.read1(min(left, 1 << 20))
            now = time.monotonic()
            self.server.wire.silence = max(self.server.wire.silence, now - at)
            at = now
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


class SlowWire(Wire):
    handler = SlowHandler

    def __init__(self, target, after=(0,), delay=0):
        """`after`: what refusals name, the last of it for ever."""
        super().__init__(target)
        self.delay = delay
        self.silence = 0  # the longest, seconds
        # under the lock
        self.after = itertools.chain(after, itertools.repeat(after[-1]))
        self.asked = collections.Counter()  # what was let through
        self.refused = collections.Counter()

    def refuses(self, request, kind):
        return False


class NarrowWire(SlowWire):
    """Takes so many requests at a time."""

    def __init__(self, target, most, **how):
        super().__init__(target, **how)
        self.most = most

    def refuses(self, request, kind):
        return self.under_way > self.most


class OnceEachWire(SlowWire):
    """Refuses what is of these kinds the first time."""

    def __init__(self, target, kinds, **how):
        super().__init__(target, **how)
        self.kinds, self.seen = kinds, set()

    def refuses(self, request, kind):
        first = kind in self.kinds and (request.method, request.path) not in self.seen
        self.seen.add((request.method, request.path))
        return first
