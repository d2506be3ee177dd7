# SPDX-License-Identifier: Apache-2.0
"""Fluent Bit on the same cores: HTTP in, filesystem storage, file out, as its documentation
recommends it where nothing may be lost. Its answer does not wait for a sync, and its file is
text: what it does for an event is less.

The program is taken from $FLUENT_BIT or the PATH; Debian has none."""
import json
import os
import re
import shutil
import socket
import subprocess
import time

from measure import Failed, anonymous_bytes


def find_fluent_bit():
    return os.environ.get("FLUENT_BIT") or shutil.which("fluent-bit")


def wrk(url, body, connections, seconds, folder):
    """Answers, seconds and p99 in ms of one body sent again and again."""
    script = os.path.join(folder, "send.lua")
    with open(script, "w", encoding="utf-8") as out:
        out.write('wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
                  f"wrk.body = [==[{body}]==]\n")
    text = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", script, url],
                          check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text:
        raise Failed(text)
    answers, took = re.search(r"(\d+) requests in ([\d.]+)(m?s)", text).group(1, 2)
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", text).groups()
    return {"answers": int(answers), "seconds": float(took),
            "p99_ms": float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]}


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as text:
        fields = text.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_quiet(pid):
    """What one shape left behind to be rolled or written is not to weigh on the next."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        before = cpu_seconds(pid)
        time.sleep(1)
        if cpu_seconds(pid) - before < 0.02:
            return


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class FluentBit:
    def __init__(self, program, folder):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(os.path.join(folder, "out"))
        self.port = free_port()
        config = os.path.join(folder, "fluent-bit.conf")
        with open(config, "w", encoding="utf-8") as out:
            out.write(f"""[SERVICE]
    flush 1
    log_level error
    storage.path {folder}/storage
    storage.sync normal
[INPUT]
    name http
    listen 127.0.0.1
    port {self.port}
    storage.type filesystem
[OUTPUT]
    name file
    match *
    path {folder}/out
""")
        self.process = subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        self.url = f"http://127.0.0.1:{self.port}/"
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise Failed("fluent-bit does not listen") from None
                time.sleep(0.02)

    def version(self):
        text = subprocess.run(["/proc/%d/exe" % self.pid, "--version"], capture_output=True, text=True,
                              check=False).stdout
        return text.splitlines()[0] if text else "?"

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()


def measure_both(agent_url, agent_pid, bodies, seconds, folder):
    """The same bodies to both, one after the other. bodies: shape -> (table, body, events in
    it, connections). None: no Fluent Bit is here."""
    program = find_fluent_bit()
    if program is None:
        return None
    peer = FluentBit(program, os.path.join(folder, "fluent-bit"))
    result = {"version": peer.version()}
    try:
        for shape, (table, body, events, connections) in bodies.items():
            result[shape] = {}
            for name, url, pid in (("bidlake", agent_url, agent_pid), ("fluent-bit", peer.url, peer.pid)):
                cpu = cpu_seconds(pid)
                sent = wrk(url + table, body, connections, seconds, folder)
                anonymous = anonymous_bytes(pid)
                wait_until_quiet(pid)  # its CPU is of all the work, done at once or later
                taken = sent["answers"] * events
                result[shape][name] = {
                    "events": taken, "events_per_second": taken / sent["seconds"], "p99_ms": sent["p99_ms"],
                    "cpu_us_per_event": (cpu_seconds(pid) - cpu) * 1e6 / max(1, taken),
                    "anonymous_bytes": anonymous}
    finally:
        peer.stop()
    return result
