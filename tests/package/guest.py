# SPDX-License-Identifier: Apache-2.0
"""A clean Debian that is really booted, by systemd-nspawn, over a root that is made once.

The root lies in BIDLAKE_ROOTS (build/package); what a run changes is in memory and gone with
it, as are its mounts, which no other process sees: boot.py begins in a namespace of its own.
"""
import hashlib
import os
import re
import shutil
import subprocess
import time

RELEASE = "bookworm"
# What the packages depend on, so that installing them needs no network.
INCLUDE = ("systemd", "systemd-sysv", "dbus", "libcurl4", "libexpat1", "libjansson4", "liblmdb0",
           "libmbedcrypto7", "libsqlite3-0", "libxxhash0", "libyaml-0-2",
           "libzstd1", "zlib1g")


def until(condition, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return found


def make_root(folder):
    """A minimal Debian with what the packages need; made when it is not there yet."""
    key = hashlib.sha256(" ".join((RELEASE, *INCLUDE)).encode()).hexdigest()[:12]
    root = os.path.join(folder, f"root-{key}")
    if os.path.isdir(root):
        return root
    os.makedirs(folder, exist_ok=True)
    making = f"{root}.{os.getpid()}.tmp"
    print(f"making {root}", flush=True)
    try:
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase",
                        f"--include={','.join(INCLUDE)}", RELEASE, making], check=True)
        os.rename(making, root)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return root


class Guest:
    """One boot. `root` is seen from here, too: what the guest writes can be read at once."""

    def __init__(self, lower, folder):
        os.makedirs(folder, exist_ok=True)
        self.log_path = os.path.join(folder, "console.log")
        self.root = os.path.join(folder, "root")
        memory = os.path.join(folder, "memory")
        for path in (self.root, memory):
            os.makedirs(path, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", memory], check=True)
        for path in ("upper", "work"):
            os.mkdir(os.path.join(memory, path))
        subprocess.run(["mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={memory}/upper,"
                        f"workdir={memory}/work", "overlay", self.root], check=True)
        self.nspawn, self.leader = None, None

    def path(self, *parts):
        return os.path.join(self.root, *(part.lstrip("/") for part in parts))

    def boot(self):
        with open(self.log_path, "ab") as log:
            self.nspawn = subprocess.Popen(
                ["systemd-nspawn", "-D", self.root, "--register=no", "--keep-unit",
                 "--private-network", "--boot", "--console=pipe"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.leader = until(self.find_leader, "the guest's first process")
        until(lambda: self.run("systemctl", "is-system-running", code=None)[1].strip() in
              ("running", "degraded"), "the guest is up")

    def find_leader(self):
        """The child that is the first process of its own; one before it only sets things up."""
        if self.nspawn.poll() is not None:
            raise AssertionError(f"systemd-nspawn ended:\n{self.console()}")
        with open(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children",
                  encoding="ascii") as file:
            children = file.read().split()
        for child in children:
            try:
                with open(f"/proc/{child}/status", encoding="ascii") as file:
                    if re.search(r"^NSpid:\s+\d+\s+1$", file.read(), re.MULTILINE):
                        return child
            except OSError:
                continue
        return None

    def console(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()[-3000:]

    def run(self, *command, code=0, env=None):
        """In the guest, as root: exit status and what it said."""
        variables = dict({"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}, **(env or {}))
        ran = subprocess.run(["nsenter", "-t", self.leader, "-m", "-u", "-i", "-n", "-p", "-r",
                              "-w", "--", "env", "-i",
                              *(f"{name}={value}" for name, value in variables.items()), *command],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if code is not None and ran.returncode != code:
            raise AssertionError(f"{' '.join(command)}\nexit {ran.returncode}, wanted {code}\n"
                                 f"{ran.stdout[-3000:]}{ran.stderr[-3000:]}")
        return ran.returncode, ran.stdout + ran.stderr

    def show(self, unit, name):
        return self.run("systemctl", "show", "--value", f"--property={name}", unit)[1].strip()

    def stop(self):
        if self.nspawn is None or self.nspawn.poll() is not None:
            return
        try:
            self.run("systemctl", "poweroff", code=None)
            self.nspawn.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.nspawn.terminate()
            self.nspawn.wait(timeout=30)
