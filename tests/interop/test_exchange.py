# SPDX-License-Identifier: Apache-2.0
"""A bearer token that was given, and nothing to get others with: it is exchanged for another before
it ends (RFC 8693), by Authlib and by the token service within Apache's REST server, which takes what
Iceberg's own clients send."""
import base64
import collections
import json
import os
import signal
import subprocess
import time
import unittest
import urllib.parse
import urllib.request

from peer import IcebergRest, PeerCase
from faulty_wire import Wire
from rest_lake import RestLake, line
from test_oauth import GuardedWire, TokenService

import lake as e2e
from lake import DEADLINE, DONE, end, until

SECONDS = 50  # a token's life: a tenth of it is some turns of serve, also where they are slow


def by_authlib(service):
    form = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": "catalog"})
    basic = base64.b64encode(b"bidlake:s3cr%3At%26").decode()
    with urllib.request.urlopen(urllib.request.Request(
            f"{service}/token", form.encode(), {"Authorization": f"Basic {basic}"}),
            timeout=DEADLINE) as answer:
        return json.load(answer)["access_token"]


def by_nobody(seconds=SECONDS):
    """Apache's server looks at no token; we look at the end of this one."""
    claims = json.dumps({"exp": int(time.time()) + seconds}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.x"


class WatchedWire(Wire):
    def __init__(self, target):
        super().__init__(target)
        self.tokens = set()  # under the lock

    def forward(self, request, name="pass"):
        if "/oauth/" not in request.path:
            with self.lock:
                self.tokens.add(dict(request.fields).get("Authorization"))
        return super().forward(request, name)


class ReopenedWire(WatchedWire):
    """Apache's own service would give a token that ends with the given one, by our reading."""

    def __init__(self, target):
        super().__init__(target)
        self.openings = []  # the tokens of those who opened; under the lock

    def forward(self, request, name="pass"):
        if "/oauth/" in request.path:
            grant = {"access_token": "another", "token_type": "bearer", "expires_in": 3600}
            return 200, [], json.dumps(grant).encode()
        if "/v1/config" in request.path:
            with self.lock:
                self.openings.append(dict(request.fields).get("Authorization"))
        return super().forward(request, name)


class TokenLake(RestLake):
    def __init__(self, wire, direct, folder, namespace, *more):
        super().__init__(wire.url, folder, namespace, direct=direct)
        self.wire, self.more = wire, more

    def commit_flags(self):
        return [*super().commit_flags(), "--catalog-token-file", self.path("token"), *self.more]

    def serve(self):
        return subprocess.Popen([os.path.join(e2e.BUILD, "bidlake-commit"), "serve",
                                 *self.commit_flags(), "--interval", "1s"], stderr=subprocess.PIPE)


class Exchange(PeerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.service = cls.keep(TokenService("authlib.sh", cls.home.directory, SECONDS))
        cls.peer = cls.keep(IcebergRest(cls.home.directory, f"file://{cls.home.warehouse}"))

    def lake(self, wire, *more):
        self.addCleanup(wire.close)
        lake = TokenLake(wire, self.peer.url, self.home.warehouse, type(wire).__name__.lower(),
                         *more)
        self.addCleanup(lake.__exit__)
        return lake

    def test_exchanged_ahead(self):
        """Both at once, as both take a token's life."""
        url = self.service.url
        guarded = self.lake(GuardedWire(self.peer.port, url),
                            "--catalog-oauth2-server-uri", f"{url}/token")
        watched = self.lake(WatchedWire(self.peer.port))
        both = {guarded: lambda: by_authlib(url), watched: by_nobody}
        for lake, token in both.items():
            lake.write("token", token())
            lake.init()
            lake.wire.tokens.clear()
        running = {}
        try:
            for lake, token in both.items():
                lake.write("token", token())
                running[lake] = lake.serve()
            for lake in both:
                until(lambda lake=lake: len(lake.wire.tokens) >= 2, "another token", 2 * SECONDS)
                lake.ingest("clicks", "-", stdin=line("c"))
                until(lambda lake=lake: not lake.waiting(), "taken")
        finally:
            said = [self.ended(process) for process in running.values()]
        for code, err in said:
            self.assertEqual(code, DONE)
            self.assertNotRegex(err, "level=(error|warn)")
        for lake in both:
            self.assertEqual(lake.ids(), collections.Counter(["c"]))
        self.assertEqual(guarded.wire.refused, 0)

    def test_a_turn_fails(self):
        """What came by exchange goes on: by now the token in the file has ended."""
        lake = self.lake(ReopenedWire(self.peer.port))
        wire, given = lake.wire, by_nobody(40)
        lake.write("token", by_nobody())
        lake.init()
        lake.write("token", given)
        wire.tokens.clear()
        wire.openings.clear()
        process = lake.serve()
        try:
            until(lambda: len(wire.tokens) >= 2, "another token", 60)
            with wire.lock:
                wire.loads.append(("before", 503))
            until(lambda: len(wire.openings) >= 2, "opened anew")
            lake.ingest("clicks", "-", stdin=line("c"))
            until(lambda: not lake.waiting(), "taken")
        finally:
            code, err = self.ended(process)
        self.assertEqual(code, DONE)
        self.assertNotIn("cannot open", err)
        self.assertEqual(wire.openings[0], f"Bearer {given}")
        self.assertNotIn(f"Bearer {given}", wire.openings[1:])

    @staticmethod
    def ended(process):
        end(process, signal.SIGTERM)
        err = process.stderr.read().decode()
        process.stderr.close()
        return process.returncode, err


if __name__ == "__main__":
    unittest.main()
