# SPDX-License-Identifier: Apache-2.0
"""AWS's signature, judged by botocore: a wire before Apache's REST server makes the signature of each
request anew from what has arrived, and lets nothing pass that was not signed with keys that it
knows, for its region and service, by its clock."""
import calendar
import collections
import email.utils
import hashlib
import json
import os
import sys
import time
import unittest

from peer import PEERS, IcebergRest, PeerCase, install
from faulty_wire import Handler, Request, Wire
from rest_lake import RestLake, line

from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

from lake import FAILED, program

KEYS = {"AKIDFIRST": ("first/secret+", None), "AKIDSECOND": ("second/secret+", "session/token+=")}
REGION, SERVICE = "eu-central-1", "execute-api"
SKEW = 300  # seconds, as AWS has it


class Refused(Exception):
    pass


def need(holds, why):
    if not holds:
        raise Refused(why)


class SignedHandler(Handler):
    def meet_fate(self):
        wire = self.server.wire
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers.items(), body)
        try:
            wire.judge(request, self.headers)
        except Refused as why:
            date = email.utils.formatdate(wire.now(), usegmt=True)
            self.give(403, [("Date", date)], json.dumps({"message": str(why)}).encode())
            return
        self.give(*wire.forward(request))


class SignedWire(Wire):
    handler = SignedHandler

    def __init__(self, target):
        super().__init__(target)
        self.ahead = 0         # seconds
        self.service = SERVICE
        self.prefix = ""       # that it gives by its configuration, percent-encoded
        self.bearer = None     # what must come as Original-Authorization
        self.expired = {}      # a key that has ended -> what is done when it is used
        # under the lock
        self.passed = []       # (method, path, bytes of the body)
        self.refused = []      # why

    def now(self):
        return time.time() + self.ahead

    def forward(self, request, name="pass"):
        """Levels are parted as the protocol has it, not as this server asks for."""
        path = request.path.replace("%1F", "%2E")
        if self.prefix:
            path = path.replace(f"/v1/{self.prefix}/", "/v1/")
        status, fields, body = super().forward(request._replace(path=path), name)
        if path.startswith("/v1/config"):
            body = body.replace(b'"namespace-separator":"%2E"', b'"namespace-separator":"%1F"')
            if self.prefix:
                said = json.loads(body)
                said["overrides"] = dict(said.get("overrides") or {}, prefix=self.prefix)
                body = json.dumps(said).encode()
        return status, fields, body

    def judge(self, request, fields):
        try:
            self.judge_signature(request, fields)
        except Refused as why:
            with self.lock:
                self.refused.append(str(why))
            raise
        with self.lock:
            self.passed.append((request.method, request.path, len(request.body)))

    def judge_signature(self, request, fields):
        kind, _, rest = fields.get("Authorization", "").partition(" ")
        need(kind == "AWS4-HMAC-SHA256", "Missing Authentication Token")
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        key, day, *scope = parts["Credential"].split("/")
        signed = parts["SignedHeaders"].split(";")
        stamp = fields["x-amz-date"]
        need(key in KEYS, "The security token included in the request is invalid")
        need(scope == [REGION, self.service, "aws4_request"] and day == stamp[:8],
             f"Credential should be scoped to a valid region and service, not {scope}")
        at = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
        need(abs(at - self.now()) < SKEW, f"Signature expired: {stamp}")
        must = {name.lower() for name in fields if name.lower().startswith(("x-amz-", "original-"))}
        need(must | {"host", "x-amz-content-sha256"} <= set(signed), f"not signed: {must}")
        need(fields["x-amz-content-sha256"] == hashlib.sha256(request.body).hexdigest(),
             "The body is another than was signed")
        need(parts["Signature"] == self.signature(request, fields, signed, key),
             "The request signature we calculated does not match")
        need(fields.get("x-amz-security-token") == KEYS[key][1],
             "The security token included in the request is invalid")
        if key in self.expired:
            self.expired[key]()
            raise Refused("The security token included in the request is expired")
        need(fields.get("Original-Authorization") == self.bearer, "whose token is it?")

    def signature(self, request, fields, signed, key):
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        made = AWSRequest(request.method, f"http://{fields['Host']}{request.path}",
                          headers={name: fields[name] for name in signed}, data=request.body)
        made.context["timestamp"] = fields["x-amz-date"]
        auth = SigV4Auth(Credentials(key, KEYS[key][0]), self.service, REGION)
        return auth.signature(auth.string_to_sign(made, auth.canonical_request(made)), made)


class SignedLake(RestLake):
    """Signs with the first key, unless the environment says otherwise."""

    def __init__(self, wire, direct, folder, namespace, **environment):
        super().__init__(wire.url, folder, namespace, direct=direct)
        self.region, self.service, self.more = REGION, SERVICE, []
        self.environment = {"HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true",
                            **(environment or self.keys("AKIDFIRST"))}

    @staticmethod
    def keys(key, secret=None):
        token = KEYS[key][1]
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret or KEYS[key][0],
                **({"AWS_SESSION_TOKEN": token} if token else {})}

    def commit_flags(self):
        return [*super().commit_flags(), "--catalog-signing-name", self.service,
                "--catalog-signing-region", self.region, *self.more]


class Signed(PeerCase):
    @classmethod
    def setUpClass(cls):
        install("botocore.sh")
        sys.path.insert(0, os.path.join(PEERS, "botocore"))
        super().setUpClass()
        cls.peer = cls.keep(IcebergRest(cls.home.directory, f"file://{cls.home.warehouse}"))

    def setUp(self):
        self.wire = SignedWire(self.peer.port)
        self.addCleanup(self.wire.close)

    def lake(self, namespace=None, **environment):
        lake = SignedLake(self.wire, self.peer.url, self.home.warehouse,
                          namespace or self.id().rpartition(".")[2].removeprefix("test_"),
                          **environment)
        self.addCleanup(lake.__exit__)
        return lake

    def whole_way(self, lake):
        lake.init()
        lake.ingest("clicks", "-", stdin=line("c"))
        self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(lake.ids(), collections.Counter(["c"]))
        lake.table("check", f"{lake.namespace}.clicks", "--deep")

    def test_whole_way(self):
        """Levels, which are %1F on the wire, and a query with all that is encoded."""
        lake = self.lake("a.b")
        lake.more = ["--catalog-warehouse", "s3://b/w h+&=~\u00fc%41"]
        self.whole_way(lake)
        self.assertEqual(self.wire.refused, [])
        paths = [path for _, path, _ in self.wire.passed]
        self.assertIn("/v1/config?warehouse=s3%3A%2F%2Fb%2Fw%20h%2B%26%3D~%C3%BC%2541", paths)
        self.assertIn("/v1/namespaces/a%1Fb/tables/clicks?snapshots=all", paths)
        self.assertTrue({"GET", "POST"} <= {method for method, _, _ in self.wire.passed})

    def test_arn_before_each_path(self):
        """As S3 Tables has it: encoded once on the wire, once more in what is signed."""
        lake = self.lake()
        lake.service = self.wire.service = "s3tables"
        self.wire.prefix = f"arn%3Aaws%3As3tables%3A{REGION}%3A1%3Abucket%2Fb"
        self.whole_way(lake)
        self.assertEqual(self.wire.refused, [])
        paths = [path for _, path, _ in self.wire.passed if not path.startswith("/v1/config")]
        self.assertEqual([path for path in paths if self.wire.prefix not in path], [])

    def test_large_body(self):
        lake = self.lake()
        columns = "".join(f"  column_{n}: {{type: string, from: c{n}}}\n" for n in range(999))
        lake.tables = lake.write("wide.yaml", "table: wide\ncolumns:\n"
                                 "  at: {type: timestamptz, from: at | $received_at}\n" + columns)
        lake.init()
        self.assertEqual(self.wire.refused, [])
        self.assertGreater(max(size for _, _, size in self.wire.passed), 50_000)

    def test_odd_names(self):
        lake = self.lake()
        lake.init()
        schema = Schema(NestedField(1, "n", LongType(), required=False))
        names = ["a b", "a+b", "a&b=c", "~'()*!", "\u00fc\u4e2d", "a:b@c,d;e$f"]
        for name in names:
            lake.catalog().create_table((lake.namespace, name), schema)
        listed = {row["table"] for row in lake.table_json("ls")}
        self.assertLessEqual({f"{lake.namespace}.{name}" for name in names}, listed)
        for name in names:
            lake.table("show", f"{lake.namespace}.{name}")
        self.assertEqual(self.wire.refused, [])

    def test_session_token(self):
        self.whole_way(self.lake(**SignedLake.keys("AKIDSECOND")))
        self.assertEqual(self.wire.refused, [])

    def test_token_too(self):
        """A catalog that wants a bearer token, behind a gateway that wants a signature."""
        lake = self.lake()
        self.wire.bearer = "Bearer t0ken"
        lake.more = ["--catalog-token-file", lake.write("token", "t0ken\n")]
        self.whole_way(lake)
        self.assertEqual(self.wire.refused, [])

    def test_clock(self):
        """A machine whose clock is an hour late is refused once a run, and told the time by that."""
        self.wire.ahead = 3600
        lake = self.lake()
        lake.init()
        self.assertEqual(len(self.wire.refused), 1, self.wire.refused)
        self.assertRegex(self.wire.refused[0], "expired")

    def test_expired(self):
        """Keys that end under way: the process that gives them is asked for others."""
        lake = self.lake(AWS_CONFIG_FILE="config", AWS_PROFILE="p")
        keys = lake.write("keys.json", self.as_process("AKIDFIRST"))
        lake.environment["AWS_CONFIG_FILE"] = lake.write(
            "config", f"[profile p]\ncredential_process = cat {keys}\n")
        self.wire.expired["AKIDFIRST"] = lambda: lake.write("keys.json",
                                                            self.as_process("AKIDSECOND"))
        self.whole_way(lake)
        self.assertEqual(self.wire.refused,
                         ["The security token included in the request is expired"])

    @staticmethod
    def as_process(key):
        secret, token = KEYS[key]
        return json.dumps({"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret,
                           **({"SessionToken": token} if token else {})})

    def refused(self, lake, pattern):
        result = program("bidlake-commit", "once", *lake.commit_flags(), env=lake.environment,
                         code=FAILED)
        self.assertRegex(result.err, pattern)
        self.assertEqual(len(result.err.splitlines()), 1, result.err)
        self.assertNotIn("secret", result.err)

    def test_wrong_secret(self):
        self.refused(self.lake(**SignedLake.keys("AKIDFIRST", "nobody's")),
                     "403 The request signature we calculated does not match; it does not allow "
                     "this to environment, signed for execute-api: check the rights there, and its "
                     "keys, catalog.signing_name and signing_region")

    def test_wrong_region(self):
        lake = self.lake()
        lake.region = "us-east-1"
        self.refused(lake, "403 Credential should be scoped to a valid region .*: check the rights "
                           "there, and its keys, catalog.signing_name and signing_region")


if __name__ == "__main__":
    unittest.main()
