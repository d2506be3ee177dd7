# SPDX-License-Identifier: Apache-2.0
"""Foreign servers for the tests, by the scripts in peers/: installed where need be, started on a
free port of loopback, ended by their id."""
import ctypes
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

from lake import DEADLINE, PATIENCE, ROOT, Lake, duck, end, until  # noqa: E402

PEERS = os.environ.get("BIDLAKE_PEERS", os.path.join(ROOT, ".cache", "peers"))


def install(script):
    path = os.path.join(HERE, "peers", script)
    ran = subprocess.run([path, "install"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if ran.returncode != 0:
        raise AssertionError(f"{script} install: {ran.stdout.decode()[-2000:]}")
    return path


def duck_with_http():
    """DuckDB as it reads from servers."""
    install("duckdb_httpfs.sh")
    folder = os.path.join(PEERS, "python")
    if folder not in sys.path:
        sys.path.append(folder)
    return duck(iceberg=True, more=["httpfs"])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(url):
    """An HTTP server that says anything at all is there; of a port: one that takes connections."""
    try:
        if isinstance(url, int):
            socket.create_connection(("127.0.0.1", url), timeout=2).close()
            return True
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def die_with_parent():
    """A run that is ended for its time leaves no server behind (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def make_certificate(folder):
    """One that is its own authority, for this machine by names; its files: (certificate, key).
    mbedTLS, in static programs, takes no certificate of an address."""
    certificate, key = os.path.join(folder, "tls.pem"), os.path.join(folder, "tls.key")
    names = ("localhost", "store.invalid", "catalog.invalid")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout", key,
                    "-out", certificate, "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)],
                   check=True, capture_output=True)
    return certificate, key


class Peer:
    """A script of peers/ that runs until close()."""

    def __init__(self, script, arguments, ready_url, log, env=None, seconds=90):
        path = install(script)
        with open(log, "wb") as out:
            self.process = subprocess.Popen([path, "run", *map(str, arguments)], stdout=out,
                                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                            preexec_fn=die_with_parent,
                                            env=dict(os.environ, **(env or {})))
        deadline = time.monotonic() + seconds * PATIENCE
        while not answers(ready_url):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                with open(log, "rb") as out:
                    raise AssertionError(f"{script} is not there: {out.read()[-3000:].decode()}")
            time.sleep(0.05)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                end(self.process)


class PeerCase(unittest.TestCase):
    """What its tests have in common lies in `home`: peers that run until the last of them is done."""

    @classmethod
    def setUpClass(cls):
        cls.home = Lake()
        cls.addClassCleanup(cls.home.__exit__)

    @classmethod
    def keep(cls, peer):
        cls.addClassCleanup(peer.close)
        return peer


class IcebergRest(Peer):
    """Apache's; its own catalog file lies in `folder`, the tables' metadata in the warehouse, which
    may be in the S3 store `store`."""

    def __init__(self, folder, warehouse, properties=(), store=None, **how):
        self.port = free_port()
        if store is not None:
            properties = [*properties, "io-impl=org.apache.iceberg.aws.s3.S3FileIO",
                          f"s3.endpoint={store.url}", "s3.path-style-access=true",
                          "s3.access-key-id=bidlake", "s3.secret-access-key=bidlake-secret",
                          "client.region=us-east-1"]
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__("iceberg_rest.sh",
                         [self.port, f"warehouse={warehouse}",
                          f"uri=jdbc:sqlite:file:{folder}/peer.db", *properties],
                         f"{self.url}/v1/config", f"{folder}/iceberg_rest.log", **how)


class S3Peer(Peer):
    """What the tests know of every S3 store: the key "bidlake" may do all."""

    def ask(self, method, path, body=b"", user="bidlake"):
        """Its answer, which must be a good one."""
        ran = subprocess.run(
            ["curl", "-sS", "--fail-with-body", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user",
             f"{user}:{user}-secret", "-H", "x-amz-content-sha256: " +
             hashlib.sha256(body).hexdigest(), "-X", method, "--data-binary", "@-",
             f"{self.url}/{path}"], input=body, capture_output=True)
        if ran.returncode != 0:
            raise AssertionError(f"{method} {path}: {(ran.stdout + ran.stderr).decode()}")
        return ran.stdout.decode()

    def uploads(self, prefix=""):
        """Keys of the uploads in parts that nobody has ended."""
        prefix = urllib.parse.quote(prefix, safe="")
        return re.findall("<Upload>.*?<Key>(.*?)</Key>",
                          self.ask("GET", f"lake?prefix={prefix}&uploads="), re.DOTALL)

    def environment(self, **other):
        """For programs: as AWS's own take it."""
        return {"AWS_ACCESS_KEY_ID": "bidlake", "AWS_SECRET_ACCESS_KEY": "bidlake-secret",
                "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": self.url,
                "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", **other}

    def for_pyiceberg(self):
        return {"s3.endpoint": self.url, "s3.access-key-id": "bidlake",
                "s3.secret-access-key": "bidlake-secret", "s3.region": "us-east-1",
                "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO"}


class Minio(S3Peer):
    """Another S3 store, with one bucket "lake"; its objects are no files that one could list. It has
    an STS, at the same URL. `webhook`: who is told of what notify() asks for."""

    def __init__(self, folder, port=None, webhook=None, env=None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {"MINIO_NOTIFY_WEBHOOK_ENABLE_tests": "on",
                       "MINIO_NOTIFY_WEBHOOK_ENDPOINT_tests": webhook} if webhook else {}
        super().__init__("minio.sh", [self.port, os.path.join(folder, "minio")], self.port,
                         os.path.join(folder, "minio.log"), env={**environment, **(env or {})})
        until(self.is_ready, "MinIO is ready")
        if not os.path.isdir(os.path.join(folder, "minio", "lake")):
            self.ask("PUT", "lake")

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/minio/health/ready", timeout=2):
                return True
        except OSError:
            return False


    def notify(self, prefix):
        """As one asks S3 itself for notices of new objects."""
        self.ask("PUT", "lake?notification=", (
            "<NotificationConfiguration><QueueConfiguration>"
            "<Queue>arn:minio:sqs:us-east-1:tests:webhook</Queue><Event>s3:ObjectCreated:*</Event>"
            f"<Filter><S3Key><FilterRule><Name>prefix</Name><Value>{prefix}</Value></FilterRule>"
            "</S3Key></Filter></QueueConfiguration></NotificationConfiguration>").encode())


class Versitygw(S3Peer):
    """A strict S3 store; `buckets` are folders below `folder`. With `tls` a certificate of its own,
    which is its own authority too (`ca_file`); with `by_host` buckets may be in the host's name.
    Each of `users` (its secret: NAME-secret) may do what set_policy() allows. `webhook` is told of
    all that is put and deleted; it must be there."""

    def __init__(self, folder, buckets=("lake",), tls=False, by_host=False, port=None, users=(),
                 keep_alive=False, webhook=None):
        self.port = port or free_port()
        self.folder = os.path.join(folder, "s3")
        self.url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"
        if by_host:
            self.url = f"http://localhost:{self.port}"
        for bucket in [] if users else buckets:
            os.makedirs(os.path.join(folder, "s3", bucket), exist_ok=True)
        arguments = ["--virtual-domain", f"localhost:{self.port}"] if by_host else []
        if webhook:
            arguments += ["--event-webhook-url", webhook]
        if keep_alive:  # as Amazon does; it closes each connection of its own accord
            arguments.append("--keep-alive")
        if tls:
            self.ca_file, key = make_certificate(folder)
            arguments += ["--cert", self.ca_file, "--key", key]
        if users:
            accounts = {user: {"access": user, "secret": f"{user}-secret", "role": "user"}
                        for user in users}
            os.makedirs(os.path.join(folder, "iam"), exist_ok=True)
            with open(os.path.join(folder, "iam", "users.json"), "w", encoding="ascii") as file:
                json.dump({"accessAccounts": accounts}, file)
            arguments += ["--iam-dir", os.path.join(folder, "iam")]
        super().__init__("versitygw.sh", [self.port, os.path.join(folder, "s3"), *arguments],
                         self.port, os.path.join(folder, "versitygw.log"))
        for bucket in buckets if users else []:  # with an owner, which a folder has not
            self.ask("PUT", bucket)

    def set_policy(self, bucket, policy):
        self.ask("PUT", f"{bucket}?policy=", json.dumps(policy).encode())


class Nessie(Peer):
    """Another REST catalog, over the S3 store `store`."""

    def __init__(self, folder, warehouse, store):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/iceberg"
        super().__init__("nessie.sh", [self.port, warehouse, store.port], f"{self.url}/v1/config",
                         os.path.join(folder, "nessie.log"))
