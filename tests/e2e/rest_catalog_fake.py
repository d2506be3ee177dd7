# SPDX-License-Identifier: Apache-2.0
"""A REST catalog in memory, over PyIceberg's own reading of requirements and updates: a second
judge beside Apache's server that needs no Java. It wants a bearer token of its own token service,
has a prefix that is encoded already, sends ETags, lists by pages of one, and may have a separator
of levels of its own."""
import base64
import http.server
import json
import threading
import urllib.parse
import uuid

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableRequest
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from pyiceberg.table.update import update_table_metadata

ID, SECRET, PREFIX = "bidlake", "s3cr:t&", "lake%7Cmain"


class Refusal(Exception):
    def __init__(self, status, kind, text=""):
        super().__init__(text)
        self.status, self.body = status, {"error": {"message": text, "type": kind, "code": status}}


class Hang(Exception):
    """No answer comes, ever."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def give(self, status, body=None, fields=()):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        with self.server.fake.lock:
            try:
                self.give(*self.server.fake.answer(self, url, body))
                return
            except Refusal as refusal:
                self.give(refusal.status, refusal.body)
                return
            except Hang:
                self.server.fake.hanging += 1
        self.server.fake.closed.wait()
        self.close_connection = True

    do_GET = do_POST = handle_any


class RestCatalogFake:
    def __init__(self, separator=None):
        self.overrides = {"namespace-separator": separator} if separator else {}
        self.separator = urllib.parse.unquote(separator or "%1F")
        self.lock = threading.Lock()
        # under the lock
        self.tokens = set()
        self.granted = 0
        self.not_modified = 0
        self.busy = False  # no commit goes through
        self.hangs = None  # "config", "commit", or "applied": once the commit is
        self.hanging = 0
        self.of_percent = 400  # what it answers to a name with a "%" in it, as Java's servers do
        self.namespaces = []
        self.tables = {}  # (namespace, name) -> (location of the metadata, metadata)
        self.closed = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.fake = self
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()

    def expire_tokens(self):
        with self.lock:
            self.tokens.clear()

    # -- what is asked -----------------------------------------------------------------------

    def answer(self, request, url, body):
        if url.path == "/v1/oauth/tokens":
            return self.grant(request, body)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise Refusal(401, "NotAuthorizedException", "who is it?")
        if url.path == "/v1/config":
            self.hang("config")
            return 200, {"defaults": {"prefix": PREFIX}, "overrides": self.overrides}
        steps = url.path.removeprefix(f"/v1/{PREFIX}/namespaces").split("/")[1:]
        if not url.path.startswith(f"/v1/{PREFIX}/namespaces") or len(steps) > 3:
            raise Refusal(404, "", f"no such path: {url.path}")
        if any("%25" in step for step in steps):
            raise Refusal(self.of_percent, "BadRequestException", "ambiguous path")
        steps = [urllib.parse.unquote(step) for step in steps]
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        steps[:1] = [self.levels(step) for step in steps[:1]]
        if "parent" in query:
            query["parent"] = self.levels(query["parent"])
        return self.names(request, steps, query, body) if len(steps) < 3 else \
            self.table(request, tuple(steps[0::2]), body)

    def hang(self, where):
        if self.hangs == where:
            raise Hang

    def levels(self, text):
        return "\x1f".join(text.split(self.separator))

    def grant(self, request, body):
        """As RFC 6749 has it: the credential in the header, never in the body."""
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        wanted = ":".join(urllib.parse.quote(part, safe="") for part in (ID, SECRET))
        if given != base64.b64encode(wanted.encode()).decode():
            return 401, {"error": "invalid_client"}
        assert b"secret" not in body, body
        self.granted += 1
        token = uuid.uuid4().hex
        self.tokens.add(token)
        return 200, {"access_token": token, "token_type": "bearer", "expires_in": 3600}

    def names(self, request, steps, query, body):
        if steps == [] and request.command == "POST":
            namespace = "\x1f".join(json.loads(body)["namespace"])
            if namespace in self.namespaces:
                raise Refusal(409, "AlreadyExistsException")
            self.namespaces.append(namespace)
            return 200, {"namespace": namespace.split("\x1f")}
        if steps == []:
            above = query.get("parent", "")
            found = [name.split("\x1f") for name in self.namespaces
                     if name.rpartition("\x1f")[0] == above]
            return self.page("namespaces", found, query)
        if steps[0] not in self.namespaces:
            raise Refusal(404, "NoSuchNamespaceException")
        if len(steps) == 1:
            return 200, {"namespace": steps[0].split("\x1f"), "properties": {}}
        if request.command == "POST":
            return self.create(steps[0], json.loads(body))
        found = [{"namespace": namespace.split("\x1f"), "name": name}
                 for namespace, name in self.tables if namespace == steps[0]]
        return self.page("identifiers", found, query)

    def page(self, member, found, query):
        at = int(query["pageToken"] or 0)
        more = str(at + 1) if at + 1 < len(found) else None
        return 200, {member: found[at:at + 1], "next-page-token": more}

    def create(self, namespace, body):
        key = (namespace, body["name"])
        if key in self.tables:
            raise Refusal(409, "AlreadyExistsException")
        spec, order = body.get("partition-spec"), body.get("write-order")
        metadata = new_table_metadata(
            schema=Schema.model_validate(body["schema"]), location=body["location"],
            partition_spec=PartitionSpec.model_validate(spec) if spec
            else UNPARTITIONED_PARTITION_SPEC,
            sort_order=SortOrder.model_validate(order) if order else UNSORTED_SORT_ORDER,
            properties=body["properties"])
        return self.put(key, metadata)

    def put(self, key, metadata):
        location = f"{metadata.location}/metadata/{uuid.uuid4()}.metadata.json"
        self.tables[key] = (location, metadata)
        return self.shown(key)

    def shown(self, key):
        location, metadata = self.tables[key]
        return 200, {"metadata-location": location,
                     "metadata": json.loads(metadata.model_dump_json())}, [("ETag", f'"{location}"')]

    def table(self, request, key, body):
        if key not in self.tables:
            raise Refusal(404, "NoSuchTableException")
        if request.command == "GET":
            if request.headers.get("If-None-Match") == f'"{self.tables[key][0]}"':
                self.not_modified += 1
                return 304, None
            return self.shown(key)
        commit = CommitTableRequest.model_validate(
            {"identifier": {"namespace": key[0].split("\x1f"), "name": key[1]},
             **json.loads(body)})
        self.hang("commit")
        if self.busy:
            raise Refusal(503, "ServiceUnavailableException")
        location, before = self.tables[key]
        try:
            for requirement in commit.requirements:
                requirement.validate(before)
        except CommitFailedException as failed:
            raise Refusal(409, "CommitFailedException", str(failed)) from failed
        try:
            after = update_table_metadata(before, commit.updates, metadata_location=location)
        except ValueError as wrong:
            raise Refusal(400, "BadRequestException", str(wrong)) from wrong
        shown = self.put(key, after)
        self.hang("applied")
        return shown
