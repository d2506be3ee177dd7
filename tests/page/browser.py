# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven over its debugging port: as much of WebSocket and of the DevTools
protocol as a test of one page needs, by the standard library alone."""
import base64
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request

PATIENCE = float(os.environ.get("BIDLAKE_TEST_PATIENCE", "1"))
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowLeft": (37, ""),
        "ArrowRight": (39, ""), "Escape": (27, "")}


class WebSocket:
    """A client (RFC 6455) for whole text messages."""

    def __init__(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30 * PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                             "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                             "\r\n").encode())
        self.file = self.socket.makefile("rb")
        status = self.file.readline()
        if b" 101 " not in status:
            raise AssertionError(f"no web socket: {status!r}")
        while self.file.readline().strip():
            pass

    def send(self, text):
        data, mask = text.encode(), os.urandom(4)
        if len(data) < 126:
            head = struct.pack(">BB", 0x81, 0x80 | len(data))
        elif len(data) < 65536:
            head = struct.pack(">BBH", 0x81, 0x80 | 126, len(data))
        else:
            head = struct.pack(">BBQ", 0x81, 0x80 | 127, len(data))
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self.socket.sendall(head + mask + masked)

    def receive(self):
        message = b""
        while True:
            first, second = self.exactly(2)
            size = second & 0x7f
            if size == 126:
                size, = struct.unpack(">H", self.exactly(2))
            elif size == 127:
                size, = struct.unpack(">Q", self.exactly(8))
            data = self.exactly(size)
            if first & 0x0f == 8:
                raise AssertionError("the browser closed the connection")
            if first & 0x0f in (0, 1):
                message += data
                if first & 0x80:
                    return message.decode()

    def exactly(self, size):
        data = self.file.read(size)
        if len(data) != size:
            raise AssertionError("the browser is gone")
        return data

    def close(self):
        self.file.close()
        self.socket.close()


class Browser:
    """One Chromium with one page."""

    def __init__(self):
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if not program:
            raise AssertionError("no chromium: packaging/install-dependencies.sh page")
        self.folder = tempfile.mkdtemp(prefix="bidlake-chromium-")
        command = [program, "--headless=new", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", "--no-default-browser-check", "--disable-extensions",
                   "--disable-background-networking", "--disable-component-update",
                   "--disable-sync", "--mute-audio", "--hide-scrollbars",
                   "--force-device-scale-factor=1", "--remote-debugging-port=0",
                   f"--user-data-dir={self.folder}", "about:blank"]
        if os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # it does not start as root otherwise
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        self.number, self.told, self.web = 0, [], None
        try:
            port = self.find_port()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=20) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            path = pages[0]["webSocketDebuggerUrl"].split(str(port), 1)[1]
            self.web = WebSocket(port, path)
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def find_port(self):
        name, deadline = os.path.join(self.folder, "DevToolsActivePort"), time.monotonic() + 30
        while time.monotonic() < deadline * PATIENCE:
            if os.path.exists(name):
                with open(name, encoding="ascii") as file:
                    text = file.read()
                if "\n" in text:
                    return int(text.split("\n")[0])
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
            raise AssertionError(f"chromium does not start:\n{log.read()[-2000:]}")

    def close(self):
        if self.web:
            self.web.close()
        # Its own session: what it started goes with it.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(timeout=20)
        deadline = time.monotonic() + 10
        while os.path.exists(self.folder) and time.monotonic() < deadline:
            shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method, **parameters):
        self.number += 1
        self.web.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.web.receive())
            if message.get("id") == self.number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]
            self.told.append(message)

    def run(self, script):
        """The value of an expression in the page; of a promise, what it comes to."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def complaints(self):
        """What the console said and what threw, so far: policy violations are among it."""
        self.run("0")
        said = []
        for message in self.told:
            if message["method"] == "Log.entryAdded":
                entry = message["params"]["entry"]
                said.append((entry["source"], entry["text"]))
            if message["method"] == "Runtime.exceptionThrown":
                said.append(("exception", json.dumps(message["params"]["exceptionDetails"])))
            if message["method"] == "Runtime.consoleAPICalled":
                said.append(("console", json.dumps(message["params"]["args"])))
        return said

    def requests(self):
        """The addresses that the page asked for."""
        self.run("0")
        return [message["params"]["request"]["url"] for message in self.told
                if message["method"] == "Network.requestWillBeSent"]

    def look(self, width, height, scheme="light", motion="no-preference"):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 500)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme},
                            {"name": "prefers-reduced-motion", "value": motion}])

    def press(self, key):
        code, text = KEYS[key]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code,
                      **({"text": text} if text and kind == "keyDown" else {}))

    def photograph(self, path):
        """The whole page, however long."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True,
                          clip={"x": 0, "y": 0, "width": size["width"], "height": size["height"],
                                "scale": 1})
        data = base64.b64decode(taken["data"])
        with open(path, "wb") as file:
            file.write(data)
        return data
