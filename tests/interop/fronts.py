# SPDX-License-Identifier: Apache-2.0
"""What stands before a store or a catalog: TLS, a proxy that clients are told of, a gateway that
knows requests again; and a wire that tells connections apart."""
import collections
import contextlib
import http.client
import http.server
import itertools
import json
import select
import socket
import ssl
import threading
import urllib.parse
import uuid

from faulty_wire import Handler, Request, Served, Wire, is_commit

HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "expect"}


class TlsHandler(Handler):
    def setup(self):  # the handshake comes with the first read, which others don't wait for
        self.request = self.server.wire.context.wrap_socket(self.request, server_side=True,
                                                            do_handshake_on_connect=False)
        super().setup()

    def finish(self):
        super().finish()
        self.request.close()


class TlsWire(Wire):
    handler = TlsHandler

    def __init__(self, target, certificate, key):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        super().__init__(target)
        self.port = self.server.server_port
        self.url = f"https://localhost:{self.port}"


class CountingHandler(Handler):
    def setup(self):
        super().setup()
        self.number = next(self.server.wire.numbers)

    def meet(self, request, fate, *more):
        with self.server.wire.lock:
            self.server.wire.heard.append((self.number, request.method, request.path))
        super().meet(request, fate, *more)


class CountingWire(Wire):
    handler = CountingHandler

    def __init__(self, target):
        self.numbers = itertools.count()
        self.heard = []  # under the lock: (connection, method, path), in order
        super().__init__(target)


class RememberingHandler(Handler):
    def answer(self, status, body):
        self.give(status, [("Content-Type", "application/json")], json.dumps(body).encode())

    def meet_fate(self):
        wire = self.server.wire
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers.items(), body)
        if request.path == "/v1/oauth/tokens":
            self.answer(200, wire.grant())
        elif not wire.is_known(self.headers.get("Authorization", "").removeprefix("Bearer ")):
            self.answer(401, {"error": {"type": "NotAuthorizedException", "code": 401}})
        elif request.path.partition("?")[0] == "/v1/config":
            answer = json.loads(wire.forward(request)[2])
            self.answer(200, answer | {"idempotency-key-lifetime": "PT30M"})
        elif request.method == "POST":
            self.give(*wire.once(self.headers.get("Idempotency-Key"), request))
        else:
            assert "Idempotency-Key" not in self.headers
            self.give(*wire.forward(request))


class RememberingWire(Wire):
    """A gateway before a catalog that keeps the answer to each key, and forgets its tokens
    behind `forget_after` requests that changed something: those are answered 401 though they
    were applied."""
    handler = RememberingHandler

    def __init__(self, target):
        self.tokens, self.answers, self.again, self.forget_after = set(), {}, [], 0
        super().__init__(target)

    def grant(self):
        token = uuid.uuid4().hex
        with self.lock:
            self.tokens.add(token)
        return {"access_token": token, "token_type": "bearer", "expires_in": 3600}

    def is_known(self, token):
        with self.lock:
            return token in self.tokens

    def once(self, key, request):
        if uuid.UUID(key).version != 7:
            return 400, [], b"{}"
        with self.lock:
            if key in self.answers:
                body, answer = self.answers[key]
                self.again.append(request.path)
                return answer if body == request.body else (422, [], b"{}")
        answer = self.forward(request)
        with self.lock:
            self.answers[key] = (request.body, answer)
            if self.forget_after == 0 or not is_commit(request.method, request.path):
                return answer
            self.forget_after -= 1
            self.tokens.clear()
        return 401, [], b"{}"


class ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        self.close_connection = True
        with self.server.proxy.reach(self.command, self.path) as there:
            self.send_response_only(200)
            self.end_headers()
            ends = [self.connection, there]
            while True:
                for end in select.select(ends, [], [], 60)[0] or [None]:
                    piece = end and end.recv(65536)
                    if not piece:
                        return
                    ends[end is self.connection].sendall(piece)

    def handle_any(self):
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fields = {name: value for name, value in self.headers.items()
                  if name.lower() not in HOP_BY_HOP}
        there = http.client.HTTPConnection(url.netloc)
        there.sock = self.server.proxy.reach(self.command, url.netloc)
        with contextlib.closing(there):
            there.request(self.command, urllib.parse.urlunsplit(("", "", *url[2:])), body or None,
                          fields)
            answer = there.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP | {"content-length"}:
                    self.send_header(name, value)
            size = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", size or str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any


class Proxy(Served):
    """One that alone knows where *.invalid is: on this machine. So what reaches a server by such
    a name has come by it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.met = collections.Counter()  # under the lock: (method, "host:port")
        self.serve(ProxyHandler, proxy=self)

    def reach(self, method, place):
        host, _, port = place.rpartition(":")
        with self.lock:
            self.met[method, place] += 1
        assert host.endswith(".invalid"), place
        return socket.create_connection(("127.0.0.1", int(port)), timeout=60)
