# SPDX-License-Identifier: Apache-2.0
"""Toxiproxy, and what stands in its way: proxies of TCP with toxics that come and go."""
import contextlib
import json
import os
import urllib.request

from peer import Peer, free_port


class Toxiproxy(Peer):
    def __init__(self, folder):
        self.url = f"http://127.0.0.1:{free_port()}"
        super().__init__("toxiproxy.sh", [self.url.rpartition(":")[2]], f"{self.url}/version",
                         os.path.join(folder, "toxiproxy.log"))

    def say(self, path, value=None, method="POST"):
        body = json.dumps(value).encode() if value is not None else None
        request = urllib.request.Request(f"{self.url}/{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def proxy(self, name, port):
        return Proxy(self, name, port)


class Proxy:
    def __init__(self, server, name, port):
        self.server, self.name = server, name
        made = server.say("proxies", {"name": name, "listen": "127.0.0.1:0",
                                      "upstream": f"127.0.0.1:{port}"})
        self.url = f"http://{json.loads(made)['listen']}"

    @contextlib.contextmanager
    def toxic(self, kind, stream="downstream", **attributes):
        """To all connections, those that are open, too."""
        self.server.say(f"proxies/{self.name}/toxics",
                        {"name": kind, "type": kind, "stream": stream, "attributes": attributes})
        try:
            yield
        finally:
            self.server.say(f"proxies/{self.name}/toxics/{kind}", method="DELETE")

    @contextlib.contextmanager
    def away(self):
        """Open connections end, none is taken."""
        self.server.say(f"proxies/{self.name}", {"enabled": False})
        try:
            yield
        finally:
            self.server.say(f"proxies/{self.name}", {"enabled": True})
