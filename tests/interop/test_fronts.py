# SPDX-License-Identifier: Apache-2.0
"""The whole way past what stands before servers: TLS of an authority of one's own, a proxy for http
and for https, by option and by environment; and what a catalog's gateway sees: each commit on a
connection of its own, each with a key by which it is known again. Versity's gateway is the store,
Apache's server the catalog."""
import collections
import json
import re
import unittest
import urllib.request

from peer import IcebergRest, PeerCase, Versitygw, make_certificate
from fronts import CountingWire, Proxy, RememberingWire, TlsWire
from rest_lake import RestLake, line

from lake import DEADLINE, FAILED

NO_PROXIES = dict.fromkeys(["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
                            "no_proxy", "NO_PROXY"], "")


class FrontLake(RestLake):
    """`both` are flags of agent and commit service, `more` of the commit service alone."""

    def __init__(self, store, url, direct, both=(), more=(), **environment):
        super().__init__(url, None, "db", warehouse="s3://lake/wh", store=store, direct=direct)
        self.environment = {**store.environment(), **NO_PROXIES, **environment}
        self.both, self.more = list(both), list(more)

    def agent_flags(self, *what, **how):
        return [*super().agent_flags(*what, **how), *self.both]

    def commit_flags(self):
        return [*super().commit_flags(), *self.both, *self.more]


class Case(PeerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store = cls.keep(Versitygw(cls.home.directory))
        cls.peer = cls.keep(IcebergRest(cls.home.directory, "s3://lake/wh", store=cls.store))
        cls.certificate, cls.key = make_certificate(cls.home.directory)

    def front(self, front):
        self.addCleanup(front.close)
        return front

    def lake(self, url=None, namespace="db", **how):
        lake = FrontLake(self.store, url or self.peer.url, self.peer.url, **how)
        lake.namespace = namespace
        self.addCleanup(lake.__exit__)
        return lake

    def go(self, lake, count=1):
        """Events that go into the table by one commit each."""
        lake.init()
        for n in range(count):
            lake.ingest("clicks", "-", stdin=line(f"c{n}"))
            self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(lake.ids(), collections.Counter(f"c{n}" for n in range(count)))


class Tls(Case):
    def setUp(self):
        self.wire = self.front(TlsWire(self.peer.port, self.certificate, self.key))

    def test_authority_by_option(self):
        self.go(self.lake(self.wire.url, "tls", more=["--catalog-ca-file", self.certificate]))

    def test_authority_by_environment(self):
        """AWS's own, for requests that are signed, and for no others."""
        signed = ["--catalog-signing-name", "glue"]
        self.go(self.lake(self.wire.url, "bundle", more=signed, AWS_CA_BUNDLE=self.certificate))
        self.refused(AWS_CA_BUNDLE=self.certificate)

    def test_unknown_authority(self):
        self.refused()

    def refused(self, **how):
        said = self.lake(self.wire.url, **how).table("ls", code=FAILED)
        self.assertRegex(said.err, "certificate|NOT_TRUSTED")
        self.assertIn(self.wire.url, said.err)


class ByProxy(Case):
    def setUp(self):
        self.proxy = self.front(Proxy())

    def methods(self, place):
        return {method for method, at in self.proxy.met if at == place}

    def test_http_by_options(self):
        store, catalog = f"store.invalid:{self.store.port}", f"catalog.invalid:{self.peer.port}"
        self.go(self.lake(f"http://{catalog}", "options",
                          both=["--s3-proxy", self.proxy.url, "--s3-endpoint", f"http://{store}"],
                          more=["--catalog-proxy", self.proxy.url]))
        self.assertLessEqual({"GET", "PUT", "HEAD"}, self.methods(store))
        self.assertEqual(self.methods(catalog), {"GET", "POST"})

    def test_https_by_environment(self):
        store = Versitygw(self.home.directory, tls=True)
        self.addCleanup(store.close)
        wire = self.front(TlsWire(self.peer.port, store.ca_file, self.key))
        places = [f"store.invalid:{store.port}", f"catalog.invalid:{wire.port}"]
        authority = ["--s3-ca-file", store.ca_file, "--s3-endpoint", f"https://{places[0]}"]
        for name in ("https_proxy", "HTTPS_PROXY"):
            self.proxy.met.clear()
            self.go(self.lake(f"https://{places[1]}", name.lower() + str(name.isupper()),
                              both=authority, more=["--catalog-ca-file", store.ca_file],
                              **{name: self.proxy.url}))
            self.assertEqual([self.methods(place) for place in places], [{"CONNECT"}] * 2)

    def test_http_by_environment(self):
        catalog = f"catalog.invalid:{self.peer.port}"
        self.go(self.lake(f"http://{catalog}", "http", http_proxy=self.proxy.url,
                          no_proxy="127.0.0.1"))
        self.assertEqual({at for _, at in self.proxy.met}, {catalog})  # and not the store

    def test_exceptions(self):
        """What NO_PROXY names is asked without: the proxy is a port where nobody listens."""
        self.go(self.lake(self.peer.url, "no", http_proxy="http://127.0.0.1:9",
                          NO_PROXY="example.com,127.0.0.1"))
        self.assertEqual(self.proxy.met, {})


class WhatAGatewaySees(Case):
    def test_commits_have_connections_of_their_own(self):
        """On one that was used before, libcurl sends again what it gets no answer to, unseen."""
        wire = self.front(CountingWire(self.peer.port))
        self.go(self.lake(wire.url, "fresh"), count=3)
        first, kept_open = set(), 0
        for number, method, path in wire.heard:
            if method == "POST":
                self.assertNotIn(number, first, f"{path} on a connection that was used before")
            kept_open += number in first
            first.add(number)
        self.assertGreater(kept_open, 0, "the wire keeps connections open, and they are used")
        self.assertGreaterEqual(sum(method == "POST" for _, method, _ in wire.heard), 5)

    def test_requests_are_known_again(self):
        """A commit that was applied, and refused all the same, goes out again as the same one: it
        is told what became of the first."""
        wire = self.front(RememberingWire(self.peer.port))
        lake = self.lake(wire.url, "keys", more=["--catalog-credential-file",
                                                 self.home.write("credential", "id:secret")])
        lake.init()
        lake.ingest("clicks", "-", stdin=line("x"))
        keys = set(wire.answers)
        self.assertGreaterEqual(len(keys), 5)  # a namespace, tables, their ledgers
        self.assertEqual(wire.again, [])
        wire.forget_after = 1
        self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(wire.again, ["/v1/namespaces/keys/tables/clicks"])
        self.assertEqual(len(wire.answers), len(keys) + 1)
        self.assertEqual(lake.ids(), {"x": 1})

    def test_levels_as_apache_parts_them(self):
        """Its separator is no control character."""
        with urllib.request.urlopen(f"{self.peer.url}/v1/config", timeout=DEADLINE) as answer:
            separator = json.load(answer)["overrides"]["namespace-separator"]
        self.assertNotIn(separator, ("%1F", "%1f"))
        wire = self.front(CountingWire(self.peer.port))
        self.go(self.lake(wire.url, "a.b"))
        paths = [path for _, _, path in wire.heard]
        self.assertTrue(any(re.search(f"/namespaces/a{separator}b/tables/clicks$", path)
                            for path in paths), paths)


if __name__ == "__main__":
    unittest.main()
