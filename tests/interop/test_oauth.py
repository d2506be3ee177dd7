# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens of foreign token services (Authlib behind Flask, npm's oidc-provider) for a REST
catalog that takes no others: a wire before Apache's server asks the service that gave a token
whether it is still one (RFC 7662)."""
import base64
import collections
import json
import os
import signal
import subprocess
import unittest
import urllib.parse
import urllib.request

from peer import IcebergRest, Peer, PeerCase, free_port
from faulty_wire import Handler, Request, Wire
from rest_lake import RestLake, line

import lake as e2e
from lake import DEADLINE, DONE, FAILED, USAGE, end, program, until

SECONDS = 14  # a token's life: renewed when a tenth of it is left; services know whole seconds
REFUSAL = {"error": {"message": "who is it?", "type": "NotAuthorizedException", "code": 401}}


class GuardedHandler(Handler):
    def meet_fate(self):
        wire = self.server.wire
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not wire.is_known(self.headers.get("Authorization", "").removeprefix("Bearer ")):
            self.give(401, [], json.dumps(REFUSAL).encode())
            return
        self.give(*wire.forward(Request(self.command, self.path, self.headers.items(), body)))


class GuardedWire(Wire):
    handler = GuardedHandler

    def __init__(self, target, service):
        super().__init__(target)
        self.service = service
        # under the lock
        self.tokens = set()
        self.refused = 0

    def is_known(self, token):
        if not token:
            return False
        form = urllib.parse.urlencode({"token": token, "token_type_hint": "access_token"})
        basic = base64.b64encode(b"catalog:catalog-secret").decode()
        with urllib.request.urlopen(urllib.request.Request(
                f"{self.service}/token/introspection", form.encode(),
                {"Authorization": f"Basic {basic}"}), timeout=DEADLINE) as answer:
            active = json.load(answer)["active"]
        with self.lock:
            self.tokens.add(token)
            self.refused += not active
        return active


class TokenService(Peer):
    def __init__(self, script, folder, seconds=SECONDS):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(script, [self.port, seconds], self.url,
                         os.path.join(folder, f"{script}.log"))


class GuardedLake(RestLake):
    def __init__(self, wire, direct, folder, namespace):
        super().__init__(wire.url, folder, namespace, direct=direct)
        self.service = wire.service
        self.more = []
        self.sign_in("bidlake:s3cr:t&")

    def sign_in(self, credential):
        self.write("credential", credential)

    def commit_flags(self):
        return [*super().commit_flags(), "--catalog-credential-file", self.path("credential"),
                "--catalog-oauth2-server-uri", f"{self.service}/token", *self.more]


class Base:
    SCRIPT = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.service = cls.keep(TokenService(cls.SCRIPT, cls.home.directory))
        cls.peer = cls.keep(IcebergRest(cls.home.directory, f"file://{cls.home.warehouse}"))

    def setUp(self):
        self.wire = GuardedWire(self.peer.port, self.service.url)
        self.addCleanup(self.wire.close)
        namespace = self.id().rpartition(".")[2].removeprefix("test_")
        self.lake = GuardedLake(self.wire, self.peer.url, self.home.warehouse, namespace)
        self.addCleanup(self.lake.__exit__)

    def test_whole_way(self):
        self.lake.init()
        self.lake.ingest("clicks", "-", stdin=line("c"))
        self.assertEqual(self.lake.once()["taken"], 1)
        self.assertEqual(self.lake.ids(), collections.Counter(["c"]))
        self.assertEqual(self.wire.refused, 0)

    def test_renewed_ahead(self):
        """A service that outlives its token never comes with one that has ended."""
        self.lake.init()
        before = len(self.wire.tokens)
        process = subprocess.Popen([os.path.join(e2e.BUILD, "bidlake-commit"), "serve",
                                    *self.lake.commit_flags(), "--interval", "1s"],
                                   stderr=subprocess.PIPE)
        try:
            until(lambda: len(self.wire.tokens) >= before + 2, "a second token", 3 * SECONDS)
            self.lake.ingest("clicks", "-", stdin=line("c"))
            until(lambda: not self.lake.waiting(), "taken")
        finally:
            end(process, signal.SIGTERM)
            err = process.stderr.read().decode()
            process.stderr.close()
        self.assertEqual(process.returncode, DONE)
        self.assertNotIn("level=error", err)
        self.assertEqual(self.wire.refused, 0)

    def refused(self, pattern, code=FAILED):
        result = program("bidlake-commit", "once", *self.lake.commit_flags(), code=code)
        self.assertRegex(result.err, pattern)
        self.assertEqual(len(result.err.splitlines()), 1, result.err)
        for secret in ("s3cr", "nobody knows"):
            self.assertNotIn(secret, result.err)

    def test_wrong_secret(self):
        self.lake.sign_in("bidlake:nobody knows")
        self.refused(f"token: {self.service.url}/token answers 40[01] invalid_client; "
                     'it refuses client "bidlake": check catalog.credential_file')

    def test_unknown_client(self):
        self.lake.sign_in("somebody:s3cr:t&")
        self.refused('40[01] invalid_client; it refuses client "somebody": check catalog.credent')

    def test_wrong_url(self):
        self.lake.service = f"{self.service.url}/elsewhere"
        self.refused("/elsewhere/token answers 404: is catalog.oauth2_server_uri right",
                     code=USAGE)

    def test_no_service(self):
        self.lake.service = "http://127.0.0.1:9"
        self.refused("token: .*127.0.0.1:9")

    def test_foreign_token(self):
        """One that the catalog does not know, and that nobody can renew."""
        self.lake.write("token", "somebody-elses")
        flags = [*RestLake.commit_flags(self.lake), "--catalog-token-file", self.lake.path("token")]
        result = program("bidlake-commit", "once", *flags, code=FAILED)
        self.assertRegex(result.err, "catalog answers 401 NotAuthorizedException: who is it.; it "
                                     "does not take the token in .*/token: check catalog.token_f")
        self.assertNotIn("somebody-elses", result.err)

    def test_nobody(self):
        result = program("bidlake-commit", "once", *RestLake.commit_flags(self.lake), code=FAILED)
        self.assertRegex(result.err, "401 .*; nobody was named: set catalog.credential_file")


class Authlib(Base, PeerCase):
    SCRIPT = "authlib.sh"

    def test_wrong_scope(self):
        self.lake.more = ["--catalog-scope", "PRINCIPAL_ROLE:ALL"]
        self.refused('400 invalid_scope; it refuses client "bidlake": check catalog.scope')


class OidcProvider(Base, PeerCase):
    SCRIPT = "oidc_provider.sh"


if __name__ == "__main__":
    unittest.main()
