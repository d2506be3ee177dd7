#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The images as a pod has them: agent and bidder share a network, the commit service has
another, a volume is common to both services. By podman and runc, under the limits that the
example manifests set; what was answered must be in the table, once.

usage: containers.py --images build/image --gen build/static/bidlake-gen     (root)

Image store, sockets, networks, control groups and volumes are of this run alone and gone
with it, which is tested at the end. No bridge: netavark would leave rules in the machine's
tables.
"""
import argparse
import contextlib
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback

from lakeside import THERE, ids, until

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
USER = 65532
MIB = 1 << 20
BYTES_MAX = {"agent": 12_000_000, "commit": 5_000_000}  # of an image, as it is fetched
MEMORY_MAX = 64_000_000
# What an agent in so little is told; packaging/image/README.md has the same. Half of the limit is
# left to the file cache then, and two thirds of that to a segment.
SMALL = ("--memory-max", "0")
ROLL_BYTES = MEMORY_MAX // 3
# A hard limit above the machine's own cannot be set where root may not raise it.
ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
SHUT = ("--read-only", "--read-only-tmpfs=false", "--cap-drop", "all", "--security-opt",
        "no-new-privileges")
STOP_SECONDS = 30


class Machine:
    """podman with everything of its own, and two named networks."""

    def __init__(self, folder):
        self.folder = folder
        self.name = f"bidlake-{os.getpid()}"
        self.environment = dict(os.environ, XDG_RUNTIME_DIR=os.path.join(folder, "xdg"))
        os.mkdir(self.environment["XDG_RUNTIME_DIR"], 0o700)
        self.networks = [f"{self.name}-{kind}" for kind in ("pod", "service")]
        for network in self.networks:
            subprocess.run(["ip", "netns", "add", network], check=True)
            subprocess.run(["ip", "-n", network, "link", "set", "lo", "up"], check=True)

    def podman(self, *arguments, code=0):
        ran = subprocess.run(
            ["podman", "--root", f"{self.folder}/store", "--runroot", f"{self.folder}/run",
             "--tmpdir", f"{self.folder}/tmp", "--storage-driver", "vfs", "--cgroup-manager",
             "cgroupfs", "--events-backend", "none", "--runtime", "runc", *arguments],
            capture_output=True, text=True, check=False, env=self.environment, timeout=120)
        if code is not None and ran.returncode != code:
            raise AssertionError(f"podman {' '.join(arguments)}\nexit {ran.returncode}, wanted "
                                 f"{code}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}")
        return ran.stdout + ran.stderr

    def command(self, network, *arguments):
        return ["ip", "netns", "exec", self.networks[network], *arguments]

    def run(self, *arguments, network=0, memory="384m", **how):
        return self.podman("run", "--network", f"ns:/run/netns/{self.networks[network]}",
                           "--cgroup-parent", f"/{self.name}", "--memory", memory, *ULIMITS, *SHUT,
                           *arguments, **how)

    def state(self, container, what):
        return self.podman("inspect", "--format", "{{.State." + what + "}}", container).strip()

    def memory_limit(self, container):
        """Its limit, by control groups of version 1 or 2; None: it has none."""
        name = self.podman("inspect", "--format", "{{.Id}}", container).strip()
        for path in (glob.glob(f"/sys/fs/cgroup/memory/{self.name}/*{name}*/memory.limit_in_bytes") +
                     glob.glob(f"/sys/fs/cgroup/{self.name}/*{name}*/memory.max")):
            with open(path, encoding="ascii") as file:
                text = file.read().strip()
            if text != "max":
                return int(text)
        return None

    def close(self):
        self.podman("rm", "--all", "--force", "--time", "0", "--volumes", code=None)
        for network in self.networks:
            subprocess.run(["ip", "netns", "delete", network], check=True)
        until(childless, "podman's processes have ended")
        for group in sorted(glob.glob(f"/sys/fs/cgroup/*/{self.name}/**/", recursive=True) +
                            glob.glob(f"/sys/fs/cgroup/{self.name}/**/", recursive=True),
                            key=len, reverse=True):
            until(lambda: removed(group), f"{group} is empty")
        shutil.rmtree(self.folder)


def resident(pid, field):
    """Bytes; 0 once the process is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return int(re.search(rf"{field}:\s+(\d+) kB", file.read()).group(1)) * 1024
    except (OSError, AttributeError):
        return 0


def adopt():
    """Whatever podman leaves becomes our child: not every machine has a first process that
    takes care of it."""
    if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0) != 0:  # PR_SET_CHILD_SUBREAPER
        raise OSError(ctypes.get_errno(), "prctl")


def childless():
    """conmon lives some moments longer than its container."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return True
    return False


def removed(group):
    try:
        os.rmdir(group)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def leftovers(machine):
    """What of a run is still on the machine."""
    found = [path for path in glob.glob(f"/run/netns/{machine.name}*") +
             glob.glob(f"/sys/fs/cgroup/*/{machine.name}") + [machine.folder]
             if os.path.exists(path)]
    with open("/proc/mounts", encoding="utf-8") as file:
        found += [line for line in file if machine.folder in line or machine.name in line]
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                words = file.read()
        except OSError:
            continue
        if machine.folder.encode() in words and str(os.getpid()) not in path:
            found.append(f"{path}: {words!r}")
    return found


class Test:
    def __init__(self, machine, options):
        self.machine, self.options = machine, options
        self.lake = self.volume("lake")
        self.doors = self.volume("root/run/bidlake")
        self.images = {}
        for path in glob.glob(f"{options.images}/*.tar"):
            name = re.search(r"bidlake-(agent|commit)-", path).group(1)
            said = machine.podman("load", "--quiet", "--input", path)
            self.images[name] = re.search(r"localhost/\S+", said).group(0)
        self.mounts = ("-v", f"{self.lake}:{THERE}", "-v", f"{self.doors}:/run/bidlake")

    def volume(self, name):
        path = os.path.join(self.machine.folder, name)
        os.makedirs(path)
        os.chown(path, USER, USER)
        return path

    def configuration(self):
        """The image's, with a unix socket besides: a volume that bidder and agent share."""
        with open(f"{TOP}/packaging/image/agent.yaml", encoding="utf-8") as file:
            text = file.read()
        door = "{http: 127.0.0.1:7180}\n"
        assert door in text
        path = os.path.join(self.machine.folder, "agent.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(door, door + "  - {unix: /run/bidlake/clicks.sock, "
                                    "table: clicks, ack: lines, mode: 0666}\n"))
        return ("-v", f"{path}:/etc/bidlake/agent.yaml:ro")

    def agent(self, *flags, name="agent", arguments=(), memory="384m"):
        # A pod's containers have its name, whatever becomes of them; a spool belongs to a name.
        self.machine.run("--detach", "--name", name, "--hostname", "pod-1", *self.mounts, *flags,
                         self.images["agent"], *arguments, memory=memory)
        self.wait_ready()

    def small_agent(self):
        self.agent(arguments=("run", "--config", "/etc/bidlake/agent.yaml", *SMALL),
                   memory=f"{MEMORY_MAX}b")

    @contextlib.contextmanager
    def in_little_memory(self, name):
        """The limit is in force where the runtime could set it. On any machine: what the process
        takes of its own leaves a segment room in the file cache. Not by VmHWM, which has what is
        mapped of the spool: as much as the limit lets, or all of it."""
        pid = int(self.machine.state(name, "Pid"))
        own, over = [], threading.Event()

        def look():
            while not over.wait(0.01):
                own.append(resident(pid, "RssAnon"))
        looking = threading.Thread(target=look)
        looking.start()
        try:
            roll_bytes = self.metric("bidlake_roll_limit_bytes")
            yield
        finally:
            over.set()
            looking.join()
        print(f"    at most {max(own) / 1e6:.1f} MB of the agent's own, "
              f"{resident(pid, 'VmHWM') / 1e6:.1f} MB with what was mapped of the spool")
        assert self.machine.state(name, "Pid") == str(pid), "it was ended and started again"
        assert max(own) < MEMORY_MAX - ROLL_BYTES, max(own)
        limit = self.machine.memory_limit(name)
        if limit is None:
            print("    NO LIMIT WAS IN FORCE: the runtime could not set one on this machine")
        else:
            assert limit == MEMORY_MAX, limit
            print(f"    a limit of {limit / 1e6:.0f} MB was in force, segments had "
                  f"{roll_bytes / 1e6:.1f} MB")
            # The kernel's limit is whole pages.
            assert ROLL_BYTES - 4096 <= roll_bytes <= ROLL_BYTES, roll_bytes

    def wait_ready(self):
        until(lambda: self.ask(7181, "/readyz")[0] == 200, "the agent is ready")

    def commit(self, *arguments, name="commit"):
        return self.machine.run(*(("--rm",) if arguments else ("--detach", "--name", name)),
                                *self.mounts, self.images["commit"], *arguments, network=1)

    def ask(self, port, path, network=0):
        """By the address that is not the loopback's, too: probes come from elsewhere."""
        code = ("import http.client,sys;c=http.client.HTTPConnection(sys.argv[1],int(sys.argv[2]),"
                "timeout=5);c.request('GET',sys.argv[3]);a=c.getresponse();print(a.status);"
                "print(a.read().decode())")
        ran = subprocess.run(self.machine.command(network, sys.executable, "-c", code, "127.0.0.2",
                                                  str(port), path),
                             capture_output=True, text=True, check=False)
        status, _, body = ran.stdout.partition("\n")
        return int(status or 0), body

    def stop(self, name):
        start = time.monotonic()
        self.machine.podman("stop", "--time", str(STOP_SECONDS), name)
        took = time.monotonic() - start
        assert self.machine.state(name, "ExitCode") == "0", self.machine.podman("logs", name)
        assert took < STOP_SECONDS / 2, took
        self.machine.podman("rm", name)

    # -- the steps ---------------------------------------------------------------------------

    def archive(self, name):
        return glob.glob(f"{self.options.images}/bidlake-{name}-*.tar")[0]

    def test_what_they_are(self):
        for name, image in self.images.items():
            said = json.loads(self.machine.podman("image", "inspect", image))[0]
            packed = os.path.getsize(self.archive(name))
            assert packed < BYTES_MAX[name], packed
            assert said["Config"]["User"] == f"{USER}:{USER}", said["Config"]
            assert said["Config"]["Volumes"] == {THERE: {}}
            labels = said["Config"]["Labels"]
            assert labels["org.opencontainers.image.version"] == image.split(":")[-1]
            with open(f"{self.options.images}/digests", encoding="ascii") as file:
                assert said["Digest"] in file.read()
            print(f"    {image}: {packed / 1e6:.1f} MB packed, {said['Size'] / 1e6:.1f} MB unpacked")
            said = self.machine.run("--rm", image, "--version")
            assert said.startswith(f"bidlake-{name} "), said
            # Who is told to start as root, or may write its root, does not come from here.
            self.machine.run("--rm", "--entrypoint", "/bin/sh", image, code=127)

    def test_authorities_are_debians(self):
        """Those that the building machine was told to trust are nobody else's."""
        with tarfile.open(self.archive("agent")) as archive:
            layers = [member for member in archive.getmembers() if member.size > MIB]
            assert len(layers) == 1, archive.getnames()
            with tarfile.open(fileobj=archive.extractfile(layers[0]), mode="r:gz") as layer:
                owners = {member.name.rstrip("/"): member.uid for member in layer}
                bundle = layer.extractfile("etc/ssl/certs/ca-certificates.crt").read()
        assert bundle.count(b"BEGIN CERTIFICATE") > 50
        assert {name for name, uid in owners.items() if uid == USER} == \
            {"var/lib/bidlake", "run/bidlake"}, owners
        assert set(owners.values()) == {0, USER}, owners
        for path in glob.glob("/usr/local/share/ca-certificates/**/*.crt", recursive=True):
            with open(path, "rb") as file:
                for line in file.read().splitlines()[1:3]:
                    assert line not in bundle, path

    def test_answered_is_in_the_table(self):
        """bidlake-gen is the bidder, a container of the same pod, and sends as fast as it can; the
        agent has 64 MB."""
        self.commit("init", "--config", "/etc/bidlake/commit.yaml")
        self.small_agent()
        self.commit()
        with self.in_little_memory("agent"):
            said = self.machine.run("--rm", "--entrypoint", "/gen", "-v",
                                    f"{self.options.gen}:/gen:ro", self.images["agent"], "--to",
                                    "http://127.0.0.1:7180", "--count", "100000", "--seed", "3",
                                    "--events-per-second", "0", "--json")
            sent = json.loads(said[said.index("{"):])["tables"]
            self.machine.podman("exec", "agent", "/usr/bin/bidlake-agent", "flush")
        for table, column in (("bid_requests", "request_id"), ("bid_responses", "request_id"),
                              ("impressions", "impression_id"), ("clicks", "click_id")):
            want = (sent[table]["rows"], sent[table]["events"])
            found = until(lambda: (rows := ids(self.lake, table, column)).total() >= want[0] and
                          rows, f"{want} in {table}")
            assert (found.total(), len(found)) == want, (table, found.total(), len(found), want)
        self.clicks = ids(self.lake, "clicks", "click_id")
        print(f"    {sum(sent[table]['events'] for table in sent)} events")

    def test_probes(self):
        assert self.ask(7181, "/healthz")[0] == 200
        assert "bidlake_" in self.ask(7181, "/metrics")[1]
        assert self.ask(8080, "/healthz", network=1)[0] == 200
        assert self.ask(8080, "/readyz", network=1)[0] == 200
        # By the loopback address alone: events come from this pod.
        assert self.ask(7180, "/")[0] == 0
        self.machine.podman("exec", "agent", "/usr/bin/bidlake-agent", "status", "--ready")

    def test_they_stop_in_time(self):
        self.stop("agent")
        self.stop("commit")

    def load(self, prefix, during):
        sender = subprocess.Popen(
            self.machine.command(0, sys.executable, "-B", f"{HERE}/send.py", "--root",
                                 f"{self.machine.folder}/root", "--prefix", prefix),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            during()
            out, _ = sender.communicate(timeout=180)
        finally:
            if sender.poll() is None:
                sender.kill()
            sender.wait()
        report = json.loads(out)
        print(f"    {len(report['answered'])} events answered, {len(report['unknown'])} unknown, "
              f"errors {report['errors']}", flush=True)
        return set(report["answered"]), set(report["unknown"])

    def metric(self, name):
        found = re.search(rf"^{re.escape(name)} (\d+)", self.ask(7181, "/metrics")[1], re.MULTILINE)
        return int(found.group(1))

    def kept(self):
        return self.metric('bidlake_capture_events_kept_total{table="clicks"}')

    def more_comes(self):
        before = self.kept()
        until(lambda: self.kept() > before + 200, "events come")

    def test_killed_under_load(self):
        """A node that runs out of memory, a person with kubectl: the spool's volume stays."""
        self.agent(*self.configuration())
        self.commit()

        def during():
            for name in ("agent", "commit", "agent"):
                self.more_comes()
                self.machine.podman("kill", "--signal", "KILL", name)
                until(lambda: self.machine.state(name, "Running") == "false", "it is dead")
                assert self.machine.state(name, "ExitCode") == "137"
                self.machine.podman("start", name)
                self.wait_ready()
            self.more_comes()
        answered, unknown = self.load("kill", during)
        assert len(answered) > 1000, len(answered)
        self.machine.podman("exec", "agent", "/usr/bin/bidlake-agent", "flush")

        def all_there():
            found = ids(self.lake, "clicks", "click_id")
            return found if answered <= set(found) else None
        found = until(all_there, "what was answered is in the table")
        found.subtract(self.clicks)
        found = +found
        assert max(found.values()) == 1, found.most_common(3)
        assert set(found) <= answered | unknown, list(set(found) - answered - unknown)[:3]
        self.stop("agent")
        self.stop("commit")

    def test_too_little_memory_is_said(self):
        said = self.machine.run("--rm", *self.mounts, self.images["agent"], "check", "--config",
                                "/etc/bidlake/agent.yaml", "--memory-max", "48MiB", code=2)
        assert "too little" in said, said

    def test_examples_say_what_is_there(self):
        """Names, ports, flags and the probes' paths of the example manifests."""
        for path in glob.glob(f"{TOP}/packaging/image/examples/*.yaml"):
            documents = load_yaml(path)
            assert documents, path
            for container in containers(documents):
                self.check_container(container, documents, os.path.basename(path))

    def check_container(self, container, documents, where):
        name = container["image"].split("/")[-1].split(":")[0].removeprefix("bidlake-")
        if name not in self.images:
            return
        command, *flags = container["args"]
        helped = self.machine.run("--rm", self.images[name], "--help")
        assert re.search(rf"^  {command} ", helped, re.MULTILINE), (where, command)
        for flag in flags[::2]:
            assert re.search(rf"^  {flag} ", helped, re.MULTILINE), (where, flag)
        for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
            asked = container.get(kind, {}).get("httpGet")
            assert not asked or asked["path"] in ("/healthz", "/readyz"), (where, kind)
        for mount in container.get("volumeMounts", []):
            if mount["mountPath"] == "/etc/bidlake":
                for document in documents:
                    if document["kind"] == "ConfigMap":
                        self.check_configuration(document["data"], where)

    def check_configuration(self, data, where):
        """By the program's own reading: it refuses a key that it does not know."""
        for file, text in data.items():
            name = file.removesuffix(".yaml")
            path = os.path.join(self.machine.folder, f"example-{file}")
            with open(path, "w", encoding="utf-8") as out:
                out.write(text + "\nno_such_key: 1\n")
            said = self.machine.run("--rm", "-v", f"{path}:/etc/bidlake/{file}:ro",
                                    self.images[name], "check" if name == "agent" else "once",
                                    "--config", f"/etc/bidlake/{file}", code=2)
            assert "no_such_key" in said, (where, said)


def load_yaml(path):
    """By the distribution's Python: the one with the readers has no YAML."""
    code = ("import json,sys,yaml\nclass Loader(yaml.SafeLoader):\n"
            " def construct_mapping(self,node,deep=False):\n"
            "  keys=[key.value for key,_ in node.value]\n"
            "  assert len(keys)==len(set(keys)),f'{node.start_mark}: a key twice'\n"
            "  return super().construct_mapping(node,deep)\n"
            "print(json.dumps([one for one in yaml.load_all(open(sys.argv[1]),Loader) if one]))")
    return json.loads(subprocess.run(["/usr/bin/python3", "-c", code, path], check=True,
                                     capture_output=True, text=True).stdout)


def containers(documents):
    """Every container of every manifest."""
    for document in documents:
        pod = document.get("spec", {}).get("template", {}).get("spec", {})
        yield from pod.get("initContainers", [])
        yield from pod.get("containers", [])


def probe(machine, images):
    """A machine that cannot run containers is not one that may say the images are well."""
    try:
        machine.podman("load", "--quiet", "--input", glob.glob(f"{images}/bidlake-agent-*.tar")[0])
        name = re.search(r"localhost/\S+", machine.podman("images", "--format",
                                                         "{{.Repository}}:{{.Tag}}")).group(0)
        machine.run("--rm", name, "--version")
        machine.podman("rmi", name)
    except AssertionError as error:
        last = str(error).strip().splitlines()[-1]
        sys.exit(f"containers.py: podman with runc cannot run a container on this machine: {last}")


def run_steps(test):
    names = [name for name in vars(Test) if name.startswith("test_")]
    for passed, name in enumerate(names):
        start = time.monotonic()
        print(f"  {name[5:].replace('_', ' ')}", flush=True)
        try:
            getattr(test, name)()
        except Exception:  # each step stands on the one before
            traceback.print_exc()
            for container in ("agent", "commit"):
                print(test.machine.podman("logs", "--tail", "20", container, code=None)[-4000:])
            print(f"{passed} container tests passed, {len(names) - passed} failed")
            return 1
        print(f"    {time.monotonic() - start:.1f} s", flush=True)
    print(f"{len(names)} container tests passed, 0 failed")
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True)
    parser.add_argument("--gen", required=True)
    options = parser.parse_args()
    options.gen = os.path.abspath(options.gen)
    if os.geteuid() != 0:
        sys.exit("containers.py: only root can make networks by name")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix="bidlake-pod-")
    os.chmod(folder, 0o755)
    adopt()
    machine = Machine(folder)
    code = 1
    try:
        probe(machine, options.images)
        code = run_steps(Test(machine, options))
    finally:
        machine.close()
    left = leftovers(machine)
    if left:
        print("left behind:", *left, sep="\n  ")
    return 1 if left else code


if __name__ == "__main__":
    sys.exit(main())
