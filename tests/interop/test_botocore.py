# SPDX-License-Identifier: Apache-2.0
"""Environment and shared files of AWS mean the same to us as to botocore: which region, whose
credentials, where S3 and STS are. Both read the same folders and ask the same services, which are
played here; `aws_find` says what we make of it. Left out is where the SDKs differ among themselves:
AWS_REGION, which botocore does not know, a web identity beside a profile's role, and a process
beside keys in one profile."""
import contextlib
import ctypes
import http.server
import json
import os
import random
import subprocess
import sys
import threading
import unittest
import unittest.mock
import urllib.parse

from peer import PEERS, install
from test_s3 import INTEROP_BUILD

from lake import DEADLINE, Lake

ROUNDS = int(os.environ.get("INTEROP_ROUNDS", "150"))
END = "2099-01-01T00:00:00Z"
STS = ("<{0}Response xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><{0}Result><Credentials>"
       "<AccessKeyId>{1}</AccessKeyId><SecretAccessKey>sts-secret</SecretAccessKey><SessionToken>"
       "sts-token</SessionToken><Expiration>" + END + "</Expiration></Credentials></{0}Result>"
       "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></{0}Response>")


LIBC = ctypes.CDLL(None)
CAP_VERSION, CAPS_OF_FILES = 0x20080522, (1, 2)  # what lets root read what its mode forbids


@contextlib.contextmanager
def modes_count():
    """Root, too, may read only what a file's mode lets its owner read: this thread."""
    head, before = (ctypes.c_uint32 * 2)(CAP_VERSION, 0), (ctypes.c_uint32 * 6)()
    LIBC.capget(head, before)
    after = (ctypes.c_uint32 * 6)(*before)
    after[0] &= ~sum(1 << cap for cap in CAPS_OF_FILES)
    LIBC.capset(head, after)
    try:
        yield
    finally:
        LIBC.capset(head, before)


def let_modes_count():
    """The same of the program that a child becomes (PR_CAPBSET_DROP)."""
    for cap in CAPS_OF_FILES:
        LIBC.prctl(24, cap, 0, 0, 0)


def keys_as_json(name):
    return json.dumps({"Code": "Success", "AccessKeyId": name, "SecretAccessKey": f"{name}-secret",
                       "Token": f"{name}-token", "Expiration": END})


class Services(http.server.BaseHTTPRequestHandler):
    """STS, a container's and an instance's. The key of a role says whose it is and who took it."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def give(self, text, status=200):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        form = dict(urllib.parse.parse_qsl(
            self.rfile.read(int(self.headers["Content-Length"])).decode()))
        role = form["RoleArn"].rpartition("/")[2]
        if "WebIdentityToken" in form:
            by = "web-" + form["WebIdentityToken"]
        else:
            by = self.headers["Authorization"].split("Credential=")[1].split("/")[0]
        self.give(STS.format(form["Action"], f"{role}.by.{by}"))

    def do_PUT(self):
        self.give("token")

    def do_GET(self):
        if self.path == "/container":
            self.give(keys_as_json("container"))
        elif self.path.endswith("/security-credentials/"):
            self.give("role")
        elif self.path.endswith("/security-credentials/role"):
            self.give(keys_as_json("instance"))
        else:
            self.give("no", 404)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        install("botocore.sh")
        sys.path.insert(0, os.path.join(PEERS, "botocore"))
        import botocore.loaders
        cls.loader = botocore.loaders.create_loader()
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Services)
        cls.server.daemon_threads = True
        thread = threading.Thread(target=cls.server.serve_forever, args=(0.05,))
        thread.start()
        cls.url = f"http://127.0.0.1:{cls.server.server_port}"
        cls.addClassCleanup(thread.join)
        cls.addClassCleanup(cls.server.server_close)
        cls.addClassCleanup(cls.server.shutdown)

    def setUp(self):
        self.home = Lake()
        self.addCleanup(self.home.__exit__)
        self.home.write("token", "jwt-text")

    # -- the two ---------------------------------------------------------------------------

    def environment(self, env):
        base = {"HOME": self.home.directory, "PATH": os.environ["PATH"]}
        if "AWS_EC2_METADATA_SERVICE_ENDPOINT" not in env:
            base["AWS_EC2_METADATA_DISABLED"] = "true"
        return base | env

    def ours(self, env):
        ran = subprocess.run([os.path.join(INTEROP_BUILD, "aws_find")], env=self.environment(env),
                             capture_output=True, text=True, timeout=DEADLINE, check=True,
                             preexec_fn=let_modes_count)
        return dict(text.split("=", 1) for text in ran.stdout.splitlines()), ran.stderr

    def theirs(self, env):
        from botocore.exceptions import BotoCoreError
        with unittest.mock.patch.dict(os.environ, self.environment(env), clear=True):
            import botocore.session
            session = botocore.session.Session()
            session.register_component("data_loader", self.loader)
            found, why = {}, ""
            try:
                region = session.get_config_variable("region")
            except BotoCoreError as error:
                return {"profile": "error"}, repr(error)
            found["region"] = region or "error"
            try:
                got = session.get_credentials().get_frozen_credentials()
                found |= {"key": got.access_key, "secret": got.secret_key,
                          "token": got.token or ""}
            except (BotoCoreError, AttributeError) as error:
                found["key"], why = "error", repr(error)
            for service, operation in (("s3", "list_buckets"), ("sts", "get_caller_identity")):
                found[service] = self.url_of(session, service, operation, region or "us-east-1")
            return found, why

    def url_of(self, session, service, operation, region):
        """Where a request would go."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        sent = []

        def catch(request, **_):
            sent.append(request.url)
            raise InterruptedError  # none goes out

        try:
            client = session.create_client(
                service, region_name=region, aws_access_key_id="x", aws_secret_access_key="x",
                config=Config(s3={"us_east_1_regional_endpoint": "regional"},
                              retries={"max_attempts": 0}))
            client.meta.events.register(f"before-send.{service}.*", catch)
            getattr(client, operation)()
        except BotoCoreError as error:
            if not sent:
                return "error"
            del error
        except InterruptedError:
            pass
        return sent[0].removesuffix("/")

    def same(self, env=(), config="", credentials="", mode=0o700):
        """`mode`: of the folder of the shared files."""
        env = dict(env)
        self.home.write(".aws/config", config)
        self.home.write(".aws/credentials", credentials)
        os.chmod(self.home.path(".aws"), mode)
        try:
            ours, said = self.ours(env)
            with modes_count():
                theirs, why = self.theirs(env)
        finally:
            os.chmod(self.home.path(".aws"), 0o700)
        if "profile" in theirs:  # no such profile: nothing can be asked of botocore
            theirs = {"key": "error"}
        if theirs["key"] == "error":
            ours.pop("secret", None), ours.pop("token", None)
        self.assertEqual({name: ours.get(name) for name in theirs}, theirs,
                         f"{env}\n--- config\n{config}\n--- credentials\n{credentials}\n{said}{why}")
        return ours


KEYS = "aws_access_key_id = {0}\naws_secret_access_key = {0}-secret\n"
ARN = "arn:aws:iam::1:role/"


class Sources(Case):
    def test_environment(self):
        found = self.same({"AWS_ACCESS_KEY_ID": "e", "AWS_SECRET_ACCESS_KEY": "s",
                           "AWS_SESSION_TOKEN": "t", "AWS_DEFAULT_REGION": "eu-west-1"},
                          "[default]\nregion = us-west-2\n", "[default]\n" + KEYS.format("file"))
        self.assertEqual(found["key"], "e")
        self.same({"AWS_ACCESS_KEY_ID": "e"}, "", "[default]\n" + KEYS.format("file"))

    def test_files(self):
        found = self.same({}, "[default]\nregion=eu-west-1\n" + KEYS.format("config"),
                          "[default]\n" + KEYS.format("file"))
        self.assertEqual(found["key"], "file")
        self.same({}, "[default]\n" + KEYS.format("config"))
        self.same({"AWS_PROFILE": "b"}, "[profile b]\nregion = eu-west-3\n",
                  "[b]\n" + KEYS.format("b") + "aws_session_token = t\n")
        self.same({"AWS_PROFILE": "gone"}, "[profile b]\n" + KEYS.format("b"))
        self.same({}, "[default]\naws_access_key_id = half\n")

    def test_files_of_others(self):
        """A service whose HOME is another user's has no shared files; who names a profile of them
        is not given somebody else's credentials (botocore says that there is no such profile)."""
        files = "[default]\nregion = eu-west-1\n", "[default]\n" + KEYS.format("file")
        env = {"AWS_DEFAULT_REGION": "eu-west-3",
               "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/container"}
        self.assertEqual(self.same(env, *files)["key"], "file")
        found = self.same(env, *files, mode=0)
        self.assertEqual((found["key"], found["region"]), ("container", "eu-west-3"))
        self.same({}, *files, mode=0)
        os.chmod(self.home.path(".aws"), 0)
        self.assertEqual(self.ours(env | {"AWS_PROFILE": "default"})[0]["key"], "error")

    def test_process(self):
        self.home.write("said.json", json.dumps(
            {"Version": 1, "AccessKeyId": "p", "SecretAccessKey": "ps", "SessionToken": "pt"}))
        found = self.same({}, "[default]\nregion = eu-west-1\ncredential_process = "
                              f"cat {self.home.path('said.json')}\n")
        self.assertEqual(found["key"], "p")
        self.same({}, "[default]\nregion = eu-west-1\ncredential_process = false\n")

    def test_roles(self):
        env = {"AWS_ENDPOINT_URL_STS": self.url, "AWS_DEFAULT_REGION": "eu-west-1"}
        keys = "[keys]\n" + KEYS.format("K")
        found = self.same(env, f"[default]\nrole_arn = {ARN}r\nsource_profile = keys\n", keys)
        self.assertEqual(found["key"], "r.by.K")
        found = self.same(env, f"[default]\nrole_arn = {ARN}r2\nsource_profile = mid\n"
                               f"[profile mid]\nrole_arn = {ARN}r1\nsource_profile = keys\n", keys)
        self.assertEqual(found["key"], "r2.by.r1.by.K")
        self.same(env, f"[default]\nrole_arn = {ARN}r\nsource_profile = default\n"
                  + KEYS.format("own"))
        self.same(env, f"[default]\nrole_arn = {ARN}r\nsource_profile = gone\n")
        self.same(env | {"AWS_ACCESS_KEY_ID": "e", "AWS_SECRET_ACCESS_KEY": "s",
                         "AWS_PROFILE": "r"},
                  f"[profile r]\nrole_arn = {ARN}r\ncredential_source = Environment\n")

    def test_web_identity(self):
        env = {"AWS_ENDPOINT_URL_STS": self.url, "AWS_DEFAULT_REGION": "eu-west-1"}
        found = self.same(env | {"AWS_WEB_IDENTITY_TOKEN_FILE": self.home.path("token"),
                                 "AWS_ROLE_ARN": ARN + "w"})
        self.assertEqual(found["key"], "w.by.web-jwt-text")
        self.same(env, f"[default]\nrole_arn = {ARN}w\n"
                       f"web_identity_token_file = {self.home.path('token')}\n")

    def test_services_of_a_machine(self):
        container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/container",
                     "AWS_DEFAULT_REGION": "eu-west-1"}
        instance = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url,
                    "AWS_DEFAULT_REGION": "eu-west-1"}
        self.assertEqual(self.same(container)["key"], "container")
        self.assertEqual(self.same(instance)["key"], "instance")
        self.assertEqual(self.same(container | instance)["key"], "container")
        self.same(container, "", "[default]\n" + KEYS.format("file"))
        self.same(instance | {"AWS_PROFILE": "r"},
                  f"[profile r]\nrole_arn = {ARN}r\ncredential_source = Ec2InstanceMetadata\n"
                  "services = s\n[services s]\nsts =\n  endpoint_url = " + self.url + "\n")


class Endpoints(Case):
    REGIONS = ["us-east-1", "eu-west-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1",
               "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1", "eusc-de-east-1"]

    def test_amazon_s(self):
        for region in self.REGIONS:
            for fips in ("", "true"):
                for dual_stack in ("", "true"):
                    with self.subTest(region=region, fips=fips, dual_stack=dual_stack):
                        self.same({"AWS_ACCESS_KEY_ID": "e", "AWS_SECRET_ACCESS_KEY": "s",
                                   "AWS_DEFAULT_REGION": region, "AWS_USE_FIPS_ENDPOINT": fips,
                                   "AWS_USE_DUALSTACK_ENDPOINT": dual_stack})

    def test_any(self):
        """INTEROP_SEED=N INTEROP_ROUNDS=1 begins at the seed that a failure names."""
        first = int(os.environ.get("INTEROP_SEED", "0"))
        for seed in range(first, first + ROUNDS):
            with self.subTest(seed=seed):
                self.same(*self.draw(random.Random(seed)))

    def draw(self, rng):
        def maybe(text, often=0.3):
            return text if rng.random() < often else ""

        def profile(name):
            return "".join([
                maybe(f"region = {rng.choice(self.REGIONS[:4])}\n", 0.7),
                rng.choice([KEYS.format(name)] * 6 + ["aws_access_key_id = half\n"] + [""] * 4),
                maybe(f"endpoint_url = http://{name}.all:9000\n"),
                maybe(f"services = {rng.choice(['one', 'two'])}\n", 0.4),
                maybe(f"use_fips_endpoint = {rng.choice(['true', 'True', 'false', '1'])}\n", 0.1),
                maybe("use_dualstack_endpoint = true\n", 0.1),
                maybe(f"ignore_configured_endpoint_urls = {rng.choice(['true', 'no'])}\n", 0.1),
                maybe("s3 =\n  addressing_style = path\n  region = none\n", 0.2)])

        config = "".join([
            maybe("# a comment\n"), "[default]\n", profile("default"),
            "[profile a]\n", profile("a"), maybe("[profile \"b c\"]\n" + profile("bc")),
            "[services one]\ns3 =\n  endpoint_url = http://one.s3/\n",
            maybe("sts = \n  endpoint_url = https://one.sts\n", 0.5),
            "[services two]\nsts =\n   endpoint_url = http://two.sts:8080\n",
            maybe("dynamodb =\n  endpoint_url = http://two.other\n")])
        credentials = "".join([maybe("[default]\n" + maybe(KEYS.format("file"), 0.8), 0.6),
                               maybe("[a]\n" + KEYS.format("file-a") + maybe("region = eu-west-2\n"),
                                     0.6)])
        env = {}
        if rng.random() < 0.3:
            env |= {"AWS_ACCESS_KEY_ID": "e", "AWS_SECRET_ACCESS_KEY": "s"}
        for name, often, values in (
                ("AWS_PROFILE", 0.5, ["a", "default"] + (["b c"] if "b c" in config else [])),
                ("AWS_DEFAULT_REGION", 0.3, self.REGIONS[:4]),
                ("AWS_ENDPOINT_URL", 0.2, ["http://env.all"]),
                ("AWS_ENDPOINT_URL_S3", 0.2, ["https://env.s3:8443", "http://env.s3/"]),
                ("AWS_ENDPOINT_URL_STS", 0.1, ["http://env.sts"]),
                ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", 0.1, ["true", "false"]),
                ("AWS_USE_FIPS_ENDPOINT", 0.1, ["true", "false"]),
                ("AWS_USE_DUALSTACK_ENDPOINT", 0.1, ["TRUE", "false"])):
            if rng.random() < often:
                env[name] = rng.choice(values)
        return env, config, credentials


if __name__ == "__main__":
    unittest.main()
