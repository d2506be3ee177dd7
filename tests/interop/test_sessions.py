# SPDX-License-Identifier: Apache-2.0
"""Session credentials of a real STS, MinIO's: agent and commit service go the whole way by a role
of the shared files, by a web identity (its tokens are npm's oidc-provider's) and by a container's
service that is played here and hands out sessions that MinIO ends a few seconds later.

What MinIO has not: AssumeRole gives a session of whoever signs, here root, whatever role is named;
it takes no session's credentials, so that roles cannot follow one another; and it gives none that
ends within a quarter of an hour. A web identity's session ends with its token, though, where no
time is asked for: those are what the container's service gets. No session is limited to rights of
its own, which test_rights.py proves for users. An access key that has ended or was revoked is
InvalidAccessKeyId there, as one that never was; Amazon says ExpiredToken, which unit tests have."""
import base64
import collections
import contextlib
import datetime
import hashlib
import http.server
import json
import os
import re
import signal
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from peer import Minio, Peer, PeerCase, free_port
from faulty_wire import Request, Wire
from s3_wire import S3Handler
from test_run import Agent
from test_s3 import S3Lake

import lake as programs
from lake import DEADLINE, DONE, end, until

SECONDS = 14  # a token's life, and that of a session that is taken by it alone
CLIENT = "bidlake"  # MinIO's, whom the tokens are for
OPENID = {"MINIO_IDENTITY_OPENID_CLIENT_ID": CLIENT, "MINIO_IDENTITY_OPENID_CLIENT_SECRET": "-",
          "MINIO_IDENTITY_OPENID_ROLE_POLICY": "consoleAdmin"}
# MinIO makes the role's name of the client's, and prints it where it is not --quiet.
ROLE = "arn:minio:iam:us-east-1::role/" + base64.urlsafe_b64encode(
    hashlib.sha1(CLIENT.encode()).digest()).decode().rstrip("=")
AHEAD = 2  # seconds: nobody uses a session so near its end (each is renewed after five)
Heard = collections.namedtuple("Heard", "at key has_token status code")


def line(key):
    return b'{"id":"%s","ts":1767225600000}\n' % key.encode()


class ListeningHandler(S3Handler):
    def meet_fate(self):
        wire = self.server.wire
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        at = time.time()
        answer = wire.forward(Request(self.command, self.path, self.headers.items(), body))
        signed = re.search("Credential=([^/]+)/", self.headers.get("Authorization", ""))
        code = re.search(b"<Code>(.*?)</Code>", answer[2])
        heard = Heard(at, signed and signed[1], "X-Amz-Security-Token" in self.headers,
                      answer[0], code and code[1].decode())
        with wire.lock:
            wire.heard.append(heard)
        self.give(*answer)


class ListeningWire(Wire):
    """Passes all, and knows who asked and what came of it."""
    handler = ListeningHandler

    def __init__(self, target):
        super().__init__(target)
        self.heard = []  # under the lock

    def keys(self):
        with self.lock:
            return {heard.key for heard in self.heard}

    def refused(self):
        """But for 404 and 412, which are answers."""
        with self.lock:
            return [heard for heard in self.heard
                    if heard.status >= 300 and heard.status not in (404, 412)]


class Container(http.server.BaseHTTPRequestHandler):
    """What ECS and EKS run beside a container: sessions of MinIO's for who has the token."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        status, answer = 401, {}
        if self.headers.get("Authorization") == "container-token":
            session = self.server.case.session_of_a_token()
            status, answer = 200, dict(zip(("AccessKeyId", "SecretAccessKey", "Token",
                                            "Expiration"), session))
            self.server.given.append(session)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class SessionLake(S3Lake):
    """The programs find their credentials by `env` alone."""

    def __init__(self, peer, prefix, env):
        super().__init__(peer, prefix)
        self.environment = {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
                            "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
                            "HOME": self.directory, **env}

    def ids(self):
        return collections.Counter(self.load().scan().to_arrow()["click_id"].to_pylist())


class Case(PeerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        port = free_port()
        cls.issuer = f"http://127.0.0.1:{port}"
        cls.keep(Peer("oidc_provider.sh", [port, SECONDS], cls.issuer,
                      cls.home.path("oidc_provider.log")))
        found = f"{cls.issuer}/.well-known/openid-configuration"
        cls.store = cls.keep(Minio(cls.home.directory,
                                   env=dict(OPENID, MINIO_IDENTITY_OPENID_CONFIG_URL=found)))
        until(cls.has_sts, "MinIO's STS is ready")  # somewhat later than its store

    @classmethod
    def has_sts(cls):
        try:
            return cls.session_of_a_token()
        except urllib.error.HTTPError:
            return None

    def setUp(self):
        self.wire = ListeningWire(self.store.port)
        self.addCleanup(self.wire.close)

    def lake(self, **env):
        prefix = self.id().rpartition(".")[2].removeprefix("test_").replace("_", "-")
        lake = SessionLake(self.store, prefix, env)
        self.addCleanup(lake.__exit__)
        return lake

    @classmethod
    def web_token(cls):
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": "catalog",
                                       "resource": f"urn:tests:{CLIENT}"})
        basic = base64.b64encode(b"bidlake:" + urllib.parse.quote("s3cr:t&").encode()).decode()
        with urllib.request.urlopen(urllib.request.Request(
                f"{cls.issuer}/token", form.encode(), {"Authorization": f"Basic {basic}"}),
                timeout=DEADLINE) as answer:
            return json.load(answer)["access_token"]

    @classmethod
    def session_of_a_token(cls):
        """(key, secret, token, its end), which is the token's."""
        form = urllib.parse.urlencode({
            "Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": ROLE,
            "WebIdentityToken": cls.web_token()})
        with urllib.request.urlopen(f"{cls.store.url}/", form.encode(), timeout=DEADLINE) as answer:
            said = answer.read().decode()
        return [re.search(f"<{name}>(.*?)</{name}>", said)[1] for name in (
            "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")]

    def revoke(self):
        """All sessions of the web identity's user, as one of them may."""
        key, secret, token, _ = self.session_of_a_token()
        subprocess.run(
            ["curl", "-sS", "--fail-with-body", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user",
             f"{key}:{secret}", "-H", f"x-amz-security-token: {token}", "-H",
             "x-amz-content-sha256: " + hashlib.sha256(b"").hexdigest(), "-X", "POST",
             f"{self.store.url}/minio/admin/v3/revoke-tokens/openid?fullRevoke=true"], check=True,
            capture_output=True)

    def start(self, lake, *arguments):
        agent = Agent(lake, *arguments, env=lake.environment)
        self.addCleanup(end, agent.process)
        return agent

    def post(self, agent, key):
        self.assertEqual(agent.post("clicks", line(key)), (200, {"accepted": 1, "refused": 0}))

    def by_sessions_alone(self):
        heard = self.wire.heard
        self.assertTrue(heard)
        for each in heard:
            self.assertTrue(each.has_token, each)
            self.assertNotEqual(each.key, "bidlake")

    def whole_way(self, lake):
        lake.init()
        for turn in range(2):
            lake.ingest("clicks", "-", stdin=line(f"c{turn}"))
            self.assertEqual(lake.once()["taken"], 1)
        self.assertEqual(lake.ids(), {"c0": 1, "c1": 1})
        self.by_sessions_alone()
        self.assertEqual(self.wire.refused(), [])


class Roles(Case):
    def test_role_of_the_shared_files(self):
        """Endpoints are the profile's, too."""
        lake = self.lake(AWS_PROFILE="lake")
        lake.write(".aws/credentials", "[base]\naws_access_key_id = bidlake\n"
                                       "aws_secret_access_key = bidlake-secret\n")
        lake.write(".aws/config", "[profile lake]\nrole_arn = arn:aws:iam::1:role/any\n"
                                  "source_profile = base\nduration_seconds = 900\n"
                                  "services = minio\n[services minio]\n"
                                  f"sts =\n  endpoint_url = {self.store.url}\n"
                                  f"s3 =\n  endpoint_url = {self.wire.url}\n")
        self.whole_way(lake)

    def test_source_that_sts_refuses(self):
        """One line: the profile, the role, what STS says."""
        lake = self.lake(AWS_PROFILE="lake", AWS_ENDPOINT_URL_STS=self.store.url,
                         AWS_ENDPOINT_URL_S3=self.wire.url)
        lake.write(".aws/config", "[profile lake]\nrole_arn = arn:aws:iam::1:role/any\n"
                                  "source_profile = base\n[profile base]\n"
                                  "aws_access_key_id = bidlake\naws_secret_access_key = hush\n")
        said = lake.agent("check", code=programs.FAILED).err
        self.assertRegex(said, "profile lake: role arn:aws:iam::1:role/any: STS says 403 Access")
        self.assertNotIn("hush", said)
        self.assertEqual(self.wire.heard, [])


    def test_session_that_has_ended(self):
        """Somebody put a session into the files, and it went: the same as with any other key."""
        def put_session():
            lake.write(".aws/credentials", "[default]\n" + "".join(
                f"aws_{name} = {value}\n" for name, value in zip(
                    ("access_key_id", "secret_access_key", "session_token"),
                    self.session_of_a_token())))

        lake = self.lake(AWS_ENDPOINT_URL_S3=self.wire.url)
        put_session()
        lake.init()
        self.revoke()
        agent = self.start(lake)
        self.post(agent, "held")
        until(lambda: agent.metric("bidlake_upload_failures_total") >= 3, "it was tried")
        said = re.findall("level=error at=uploader .*", agent.log())
        self.assertEqual(len(said), 1, said)
        self.assertRegex(said[0], "PutObject in bucket lake: 403 InvalidAccessKeyId; .*look at the "
                                  "credentials.* of profile default in us-east-1")
        self.assertEqual(agent.metric("bidlake_spool_events"), 1)

        def arrives():
            put_session()  # each lasts for some seconds
            return lake.once()["taken"] == 1
        until(arrives, "it is there", 60)
        agent.stop()
        self.assertEqual(lake.ids(), {"held": 1})
        self.by_sessions_alone()


class WebIdentity(Case):
    def lake(self):
        lake = super().lake(AWS_ROLE_ARN=ROLE, AWS_ENDPOINT_URL_STS=self.store.url,
                            AWS_ENDPOINT_URL_S3=self.wire.url)
        lake.environment["AWS_WEB_IDENTITY_TOKEN_FILE"] = lake.path("token")
        return lake

    def test_whole_way(self):
        lake = self.lake()
        lake.write("token", self.web_token() + "\n")
        self.whole_way(lake)

    def test_token_that_is_late(self):
        """Whoever replaces the file was asleep: what is answered waits in the spool, one line says
        why, and nobody need restart anything."""
        lake = self.lake()
        lake.write("token", self.web_token())
        lake.init()
        lake.write("token", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln")
        agent = self.start(lake)
        self.post(agent, "early")
        until(lambda: agent.metric("bidlake_upload_failures_total") >= 3, "it was tried")
        said = re.findall('level=error at=uploader .*', agent.log())
        self.assertEqual(len(said), 1, agent.log())
        self.assertRegex(said[0], "web identity: role arn:minio:\\S+: STS says 400 ")
        self.assertNotIn("eyJ", agent.log())
        lake.write("token", self.web_token())
        until(lambda: lake.once()["taken"] == 1, "it is there", 60)
        agent.stop()
        self.assertEqual(lake.ids(), {"early": 1})
        self.by_sessions_alone()


class Containers(Case):
    def lake(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Container)
        server.daemon_threads = True
        server.case, self.given = self, []
        server.given = self.given
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        lake = super().lake(
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"http://127.0.0.1:{server.server_port}/c",
            AWS_ENDPOINT_URL_S3=self.wire.url)
        token = lake.write("token", "container-token")
        lake.environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = token
        return lake

    @contextlib.contextmanager
    def served(self, lake):
        """bidlake-commit serve; what it logs is looked at by who comes after."""
        self.serve_log = lake.path("serve.log")
        with open(self.serve_log, "wb") as log:
            process = subprocess.Popen(
                [os.path.join(programs.BUILD, "bidlake-commit"), "serve", *lake.commit_flags(),
                 "--interval", "1s"], stderr=log, env=dict(os.environ, **lake.environment))
        try:
            yield
        finally:
            end(process, signal.SIGTERM)
        self.assertEqual(process.returncode, DONE)

    def test_renewed_ahead_and_revoked(self):
        lake = self.lake()
        lake.init()
        agent = self.start(lake)
        sent = 0

        def send():
            nonlocal sent
            self.post(agent, f"c{sent}")
            sent += 1

        with self.served(lake):
            began = time.monotonic()
            while len(self.wire.keys()) < 7 or time.monotonic() - began < SECONDS + 4:
                self.assertLess(time.monotonic() - began, 60 * programs.PATIENCE)
                send()
                time.sleep(0.3)  # what a bidder does, too
            self.assertEqual(self.wire.refused(), [])

            self.revoke()
            before = len(self.given)
            send()
            until(lambda: len(self.given) >= before + 2, "agent and service ask anew")
            send()
            agent.stop()
            until(lambda: lake.ids().total() >= sent, "all is in the table", 40)
        self.assertEqual(lake.ids(), {f"c{n}": 1 for n in range(sent)})
        self.by_sessions_alone()
        ends = {session[0]: datetime.datetime.fromisoformat(session[3]).timestamp()
                for session in self.given}
        for heard in self.wire.heard:
            self.assertLess(heard.at, ends[heard.key] - AHEAD, heard)
        refused = self.wire.refused()
        self.assertTrue(refused)
        # AccessDenied: of a request that MinIO was at when the session went. None: of a HEAD.
        self.assertLessEqual({(heard.status, heard.code) for heard in refused},
                             {(403, "InvalidAccessKeyId"), (403, "AccessDenied"), (403, None)})
        with open(self.serve_log, encoding="utf-8") as log:
            for text in (agent.log(), log.read()):
                self.assertNotRegex(text, "level=(warn|error)(?!.* 403 AccessDenied)")
                for session in self.given:
                    self.assertNotIn(session[1], text)
                    self.assertNotIn(session[2], text)


if __name__ == "__main__":
    unittest.main()
