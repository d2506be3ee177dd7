#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian packages in a clean Debian that is booted: installed, used over HTTP and unix
sockets, restarted and upgraded under load, removed, purged, installed again. What was
answered is in the table once, whatever was done. Needs root.

usage: boot.py --packages DIRECTORY [--keep]       --keep: the guest stays until a key is pressed
"""
import argparse
import collections
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import traceback

from guest import Guest, make_root, until

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
AGENT, COMMIT, SOCKET = "bidlake-agent.service", "bidlake-commit.service", "bidlake-agent.socket"
CONFIG = "/etc/bidlake/agent.yaml"
TABLE_FLAGS = ("--config", "/etc/bidlake/commit.yaml")
QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


class Load:
    """send.py in the guest's network, as a member of the senders' group."""

    def __init__(self, test, prefix, count=0, member=True):
        command = ["nsenter", f"--net=/proc/{test.guest.leader}/ns/net", sys.executable, "-B",
                   os.path.join(HERE, "send.py"), "--root", f"/proc/{test.guest.leader}/root",
                   "--prefix", prefix, "--count", str(count)]
        if member:
            command += ["--group", str(test.group_id("bidlake-send"))]
        self.test = test
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def end(self):
        out, _ = self.process.communicate(timeout=120)
        if self.process.returncode != 0:
            raise AssertionError(f"send.py: exit {self.process.returncode}")
        report = json.loads(out)
        self.test.answered.update(report["answered"])
        self.test.unknown.update(report["unknown"])
        print(f"    {len(report['answered'])} events answered, {len(report['unknown'])} unknown, "
              f"errors {report['errors']}", flush=True)
        return report


class Test:
    def __init__(self, guest, packages):
        self.guest, self.packages = guest, packages
        self.answered, self.unknown = set(), set()

    # -- helpers -----------------------------------------------------------------------------

    def group_id(self, name):
        return int(self.guest.run("getent", "group", name)[1].split(":")[2])

    def apt(self, *arguments):
        return self.guest.run("apt-get", "-y", "-o", "Dpkg::Options::=--force-confold",
                              *arguments, env=QUIET)[1]

    def install(self, folder):
        return self.apt("install", "--no-install-recommends", "--allow-downgrades",
                        *(f"{folder}/{name}" for name in
                          sorted(os.listdir(self.guest.path(folder)))))

    def edit(self, path, old, new):
        with open(self.guest.path(path), encoding="utf-8") as file:
            text = file.read()
        if old not in text:
            raise AssertionError(f"{path} has no {old}")
        with open(self.guest.path(path), "w", encoding="utf-8") as file:
            file.write(text.replace(old, new))

    def status(self):
        return json.loads(self.guest.run("bidlake-agent", "status", "--json", "--config",
                                         CONFIG)[1])

    def counted(self, table="clicks"):
        return int(re.search(r"\d+", self.guest.run("bidlake-table", "count", table, "--json",
                                                    *TABLE_FLAGS)[1])[0])

    def main_pid(self, unit):
        """As seen from here; None while there is none."""
        for status in glob.glob("/proc/[0-9]*/cgroup"):
            try:
                with open(status, encoding="ascii") as file:
                    if f"/{unit}" not in file.read():
                        continue
                pid = status.split("/")[2]
                with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                    ours = os.path.samefile(f"/proc/{pid}/root", self.guest.root)
                    if ours and unit.startswith(file.read().strip()):
                        return int(pid)
            except OSError:
                continue
        return None

    def all_in_table_once(self):
        """Flushes, waits for the commit, then reads the files themselves."""
        import pyarrow.parquet
        self.guest.run("bidlake-agent", "flush", "--config", CONFIG)
        until(lambda: self.status()["delivery"]["uncommitted"] == 0, "all is committed")
        found = collections.Counter()
        for path in glob.glob(self.guest.path("/var/lib/bidlake/warehouse/db/clicks/data/**"),
                              recursive=True):
            if path.endswith(".parquet"):
                file = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
                found.update(file.read(columns=["click_id"]).column("click_id").to_pylist())
        twice = [name for name, times in found.items() if times > 1]
        assert not twice, f"{len(twice)} events twice: {twice[:3]}"
        missing = self.answered - set(found)
        assert not missing, f"{len(missing)} answered events missing: {sorted(missing)[:3]}"
        made_up = set(found) - self.answered - self.unknown
        assert not made_up, f"{len(made_up)} events that nobody sent: {sorted(made_up)[:3]}"
        assert self.counted() == sum(found.values()), (self.counted(), sum(found.values()))
        self.guest.run("bidlake-table", "check", "clicks", *TABLE_FLAGS)

    def drop_in(self, text):
        """Settings over those of the agent's unit; None: as packaged."""
        folder = self.guest.path("/etc/systemd/system", f"{AGENT}.d")
        if text is None:
            shutil.rmtree(folder)
        else:
            os.makedirs(folder)
            with open(os.path.join(folder, "test.conf"), "w", encoding="utf-8") as file:
                file.write(f"[Service]\n{text}\n")
        self.guest.run("systemctl", "daemon-reload")
        self.guest.run("systemctl", "restart", AGENT)

    def nothing_failed(self):
        failed = self.guest.run("systemctl", "list-units", "--failed", "--plain", "--no-legend")[1]
        assert "bidlake" not in failed, failed

    def follow_the_readme(self):
        """The commands that a newcomer is given, as they stand there."""
        with open(os.path.join(TOP, "packaging", "README.md"), encoding="utf-8") as file:
            block = file.read().split("```")[1]
        lines = [line.split("  ")[0] for line in block.strip().splitlines() if line[0] != " "]
        assert lines[0].startswith("apt install ./") and lines[1].startswith("curl "), lines
        self.guest.run("sh", "-c", f"cd /opt/first && {lines[0]}".replace("install", "install -y"),
                       env=QUIET)
        said = subprocess.run(["nsenter", f"--net=/proc/{self.guest.leader}/ns/net", "sh", "-c",
                               lines[1]], capture_output=True, text=True, check=True).stdout
        assert json.loads(said) == {"accepted": 1, "refused": 0}, said
        self.answered.add("c1")
        for line in lines[2:-1]:
            self.guest.run("sh", "-c", line)
        until(lambda: self.guest.run("sh", "-c", lines[-1])[1].split()[-1] == "1", "1 is counted",
              30)

    # -- steps, in their order ----------------------------------------------------------------

    def test_installs_by_the_readme_without_network(self):
        self.follow_the_readme()
        for unit in (AGENT, COMMIT, SOCKET):
            until(lambda: self.guest.show(unit, "ActiveState") == "active", f"{unit} is active", 20)
            assert self.guest.show(unit, "UnitFileState") == "enabled", unit
        self.guest.run("bidlake-agent", "status", "--ready", "--config", CONFIG)
        # The one edit that this test needs: turns come soon. Otherwise all is as packaged.
        self.edit("/etc/bidlake/commit.yaml", "interval: 10s", "interval: 1s")
        self.guest.run("systemctl", "restart", COMMIT)

    def test_root_by_hand_leaves_nothing_of_root(self):
        """`check` and `init` before the services ever ran: these must be able to start then."""
        self.guest.run("systemctl", "stop", SOCKET, AGENT, COMMIT)
        state = self.guest.path("/var/lib/bidlake")
        until(lambda: self.main_pid(AGENT) is None, "the agent has ended")
        shutil.rmtree(state)
        self.answered.discard("c1")
        uid = int(self.guest.run("id", "-u", "bidlake")[1])
        for name in ("", "warehouse"):
            os.mkdir(os.path.join(state, name), 0o750)
            os.chown(os.path.join(state, name), uid, uid)
        self.guest.run("bidlake-agent", "check", "--config", CONFIG)
        self.guest.run("bidlake-commit", "init", *TABLE_FLAGS)
        self.guest.run("bidlake-table", "ls", *TABLE_FLAGS)
        owners = {path: os.stat(path).st_uid for path in
                  glob.glob(f"{state}/**", recursive=True, include_hidden=True)}
        assert len(owners) > 10 and set(owners.values()) == {uid}, owners
        self.guest.run("systemctl", "start", AGENT, COMMIT)
        self.guest.run("bidlake-agent", "status", "--ready")

    def test_sandbox_is_on(self):
        for unit in (AGENT, COMMIT):
            pid = until(lambda: self.main_pid(unit), f"a process of {unit}")
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                status = dict(line.split(":\t", 1) for line in file.read().splitlines())
            assert int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0, status
            assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
            assert "0" not in status["Uid"].split(), status["Uid"]
            self.guest.run("systemd-analyze", "security", "--threshold=15", unit)
            # The rest of the machine is out of reach: read-only, or not to be seen.
            root = f"/proc/{pid}/root"
            assert os.stat(f"{root}/home").st_mode & 0o777 == 0, "home is to be seen"
            with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
                mounts = [line.split() for line in file]
            assert any(mount[4] == "/" and "ro" in mount[5].split(",") for mount in mounts)
        # What the agent does with itself must be allowed in there: nobody complains, and the
        # thread that rolls stands back further than the others.
        said = self.guest.run("journalctl", "-u", AGENT, "-u", COMMIT, "-o", "cat")[1]
        with open(f"/proc/{self.main_pid(AGENT)}/limits", encoding="ascii") as file:
            files = int(re.search(r"Max open files +\d+ +(\d+)", file.read())[1])
        assert files >= 16384
        allowed = "limit of open files" if files < 65536 else None  # this machine gives no more
        complaints = [line for line in said.splitlines() if re.search("level=(warn|error)", line)
                      and not (allowed and allowed in line)]
        assert not complaints, complaints
        nice = {}
        for task in glob.glob(f"/proc/{self.main_pid(AGENT)}/task/*/stat"):
            with open(task, encoding="ascii") as file:
                name, rest = file.read().split("(", 1)[1].rsplit(") ", 1)
                nice[name] = int(rest.split()[16])
        assert nice["deliverer"] > nice["committer"] == 5, nice

    def test_takes_events_from_the_group_alone(self):
        with Load(self, "group", count=20) as load:
            report = load.end()
        assert not report["errors"] and not report["unknown"], report["errors"]
        with Load(self, "stranger", count=5, member=False) as load:
            report = load.end()
        assert set(report["errors"]) == {"PermissionError"}, report["errors"]
        self.unknown -= set(report["unknown"])  # these must not come
        self.all_in_table_once()

    def as_service(self, script, code=0):
        """What somebody who has taken over the agent could do."""
        return self.guest.run("runuser", "-u", "bidlake", "--", "sh", "-c", script, code=code)[1]

    def test_a_link_for_a_door_leads_root_nowhere(self):
        """Root binds a socket, then gives it away: a link that is put in its place in between
        would give away something else."""
        door, enough = "/run/bidlake/clicks.sock", "/var/lib/bidlake/enough"
        said = self.guest.run("stat", "-c", "%U:%G %a", "/run/bidlake", door)[1]
        assert said.split("\n")[:-1] == ["root:bidlake 1775", "bidlake:bidlake-send 660"], said
        self.as_service("mv /run/bidlake /run/away", code=1)
        victim = self.guest.path("/opt/victim")
        with open(victim, "w", encoding="ascii") as file:
            file.write("root's\n")
        # While the doors are shut, and all the time while they are opened.
        self.guest.run("systemctl", "stop", SOCKET, AGENT)
        self.as_service(f"ln -s /opt/victim {door}")
        self.guest.run("systemctl", "start", SOCKET)
        assert self.guest.run("stat", "-c", "%F %U", door)[1] == "socket bidlake\n"
        self.as_service(f"(while [ ! -e {enough} ]; do ln -sfT /opt/victim {door}; done; "
                        f"rm {enough}) >/dev/null 2>&1 &")
        for _ in range(20):
            self.guest.run("systemctl", "reset-failed", SOCKET, code=None)
            self.guest.run("systemctl", "restart", SOCKET, code=None)
            assert os.stat(victim).st_uid == 0, "root gave it away"
        self.as_service(f"touch {enough}")
        until(lambda: not os.path.exists(self.guest.path(enough)), "it gives up")
        assert os.path.getsize(victim) == 7
        os.remove(victim)
        self.guest.run("systemctl", "reset-failed", SOCKET, code=None)
        self.guest.run("systemctl", "restart", SOCKET)
        self.guest.run("systemctl", "restart", AGENT)
        assert self.guest.run("stat", "-c", "%F %U", door)[1] == "socket bidlake\n"

    def test_restarts_under_load_refuse_nothing(self):
        with Load(self, "restart") as load:
            for _ in range(5):
                before = self.status()["tables"]["clicks"]["kept"]
                until(lambda: self.status()["tables"]["clicks"]["kept"] > before, "events come")
                self.guest.run("systemctl", "restart", AGENT)
            self.guest.run("systemctl", "reload", AGENT)
            self.guest.run("systemctl", "restart", COMMIT)
            report = load.end()
        assert not report["errors"], report["errors"]
        assert len(report["answered"]) > 1000, len(report["answered"])
        self.all_in_table_once()
        self.nothing_failed()

    def test_killed_and_hanging_agents_come_back(self):
        self.drop_in("WatchdogSec=5")
        with Load(self, "kill") as load:
            for signal, cause in (("KILL", "signal"), ("STOP", "watchdog")):
                before = int(self.guest.show(AGENT, "NRestarts"))
                self.guest.run("systemctl", "kill", f"--signal={signal}", AGENT)
                until(lambda: int(self.guest.show(AGENT, "NRestarts")) == before + 1 and
                      self.guest.show(AGENT, "ActiveState") == "active", f"back after {signal}")
                journal = self.guest.run("journalctl", "-u", AGENT, "-n", "40", "-o", "cat")[1]
                assert f"result '{cause}'" in journal, journal
            report = load.end()
        assert "ConnectionRefusedError" not in report["errors"], report["errors"]
        self.drop_in(None)
        self.all_in_table_once()

    def test_a_wrong_configuration_is_mended_in_place(self):
        """Senders wait for the person who mends it; the socket does not give up."""
        self.edit(CONFIG, "tables: [openrtb]", "tabels: [openrtb]")
        self.guest.run("systemctl", "reload", AGENT)
        until(lambda: "tabels" in self.guest.show(AGENT, "StatusText"), "the status names it", 20)
        assert re.search(r"agent.yaml:\d+: .*tabels", self.journal()), self.journal()
        self.guest.run("bidlake-agent", "status", "--ready", "--operations", "127.0.0.1:7181")
        self.guest.run("systemctl", "restart", AGENT, code=1)
        with Load(self, "wrong", count=3) as load:
            until(lambda: int(self.guest.show(AGENT, "NRestarts")) >= 3, "it tries again")
            self.edit(CONFIG, "tabels: [openrtb]", "tables: [openrtb]")
            report = load.end()
        assert not report["errors"] and not report["unknown"], report["errors"]
        assert self.guest.show(SOCKET, "ActiveState") == "active"
        self.all_in_table_once()

    def journal(self):
        return self.guest.run("journalctl", "-u", AGENT, "-n", "100", "-o", "cat")[1]

    def test_drained_stays_down(self):
        """Who takes a machine away wants it empty and quiet."""
        self.guest.run("systemctl", "stop", SOCKET)
        self.guest.run("bidlake-agent", "drain", "--config", CONFIG)
        until(lambda: self.guest.show(AGENT, "ActiveState") == "inactive", "it has ended")
        assert self.guest.show(AGENT, "Result") == "success"
        self.guest.run("systemctl", "start", AGENT)
        assert self.guest.show(SOCKET, "ActiveState") == "active"  # comes with it

    def test_without_the_socket_unit(self):
        """The control: restarts refuse then. The agent opens its doors itself, for the group."""
        self.guest.run("systemctl", "mask", "--now", SOCKET)  # leaves its sockets lying there
        self.guest.run("systemctl", "restart", AGENT)
        with Load(self, "own", count=5) as load:
            report = load.end()
        assert not report["errors"], report["errors"]
        with Load(self, "refused") as load:
            before = self.status()["tables"]["clicks"]["kept"]
            until(lambda: self.status()["tables"]["clicks"]["kept"] > before, "events come")
            self.guest.run("systemctl", "restart", AGENT)
            report = load.end()
        assert "ConnectionRefusedError" in report["errors"], report["errors"]
        self.guest.run("systemctl", "unmask", SOCKET)
        self.guest.run("systemctl", "stop", AGENT)
        self.guest.run("systemctl", "start", AGENT)
        assert self.guest.show(SOCKET, "ActiveState") == "active"

    def test_links_of_the_service_lead_root_nowhere(self):
        """Who has taken the agent over would have root's commands and the package's scripts
        write where only root may."""
        self.guest.run("systemctl", "stop", SOCKET, AGENT, COMMIT)
        victim = self.guest.path("/opt/victim")
        os.mkdir(victim, 0o755)
        shutil.copy(self.guest.path("/var/lib/bidlake/spool/data.mdb"), victim)
        self.as_service("cd /var/lib/bidlake && mv spool away && ln -s /opt/victim spool && "
                        "rm -f catalog.db-wal && ln -s /opt/victim/made catalog.db-wal")

        def state():
            return {path: os.stat(path) for path in (victim, *glob.glob(f"{victim}/*"))}

        before = state()
        for command in (("bidlake-agent", "check", "--config", CONFIG),
                        ("bidlake-agent", "spool", "--config", CONFIG),
                        ("bidlake-table", "ls", *TABLE_FLAGS),
                        ("bidlake-commit", "once", *TABLE_FLAGS)):
            self.guest.run(*command, code=None)
            assert state() == before, (command, os.listdir(victim))
        self.apt("purge", "bidlake-agent")
        assert state() == before, os.listdir(victim)
        shutil.rmtree(victim)
        self.as_service("cd /var/lib/bidlake && rm -f spool catalog.db-wal && mv away spool")
        self.install("/opt/first")
        self.guest.run("systemctl", "start", COMMIT)
        self.all_in_table_once()

    def test_upgrade_with_a_full_spool(self):
        """The store is away, the spool holds events, senders go on: an upgrade keeps both."""
        os.mkdir(self.guest.path("/var/lib/bidlake/away"), 0o555) # root's: nothing can be put
        self.edit(CONFIG, "file:///var/lib/bidlake/warehouse", "file:///var/lib/bidlake/away")
        self.edit(CONFIG, "#stop:\n#  deadline: 10s", "stop:\n  deadline: 4s")
        self.guest.run("systemctl", "restart", AGENT)
        with Load(self, "upgrade") as load:
            until(lambda: self.status()["tables"]["clicks"]["kept"] > 500, "events are kept")
            said = self.install("/opt/second")
            assert "conffile" in said or "configuration file" in said.lower(), said
            before = self.status()["tables"]["clicks"]["kept"]
            until(lambda: self.status()["tables"]["clicks"]["kept"] > before, "events are kept")
            report = load.end()
        assert not report["errors"], report["errors"]
        version = self.guest.run("dpkg-query", "-W", "-f=${Version}", "bidlake-agent")[1]
        assert version.endswith("+upgrade"), version
        with open(self.guest.path(CONFIG), encoding="utf-8") as file:
            assert "/var/lib/bidlake/away" in file.read(), "the edited configuration is lost"
        assert os.path.exists(self.guest.path(CONFIG + ".dpkg-dist"))
        # A stop takes stop.deadline then, and systemd lets it.
        self.drop_in("TimeoutStopSec=2")
        self.guest.run("systemctl", "stop", SOCKET, AGENT)
        assert self.guest.show(AGENT, "Result") == "success", self.journal()
        self.drop_in(None)
        waiting = self.spooled()
        assert waiting >= len(report["answered"]), (waiting, len(report["answered"]))

    def spooled(self):
        said = self.guest.run("bidlake-agent", "spool", "--json", "--quiet", "--config", CONFIG)[1]
        streams = json.loads(said)["streams"]
        return sum(stream["end"] - stream["next"] for stream in streams)

    def test_purge_keeps_what_waits(self):
        said = self.apt("purge", "bidlake-agent")
        assert "holds events that are not in the table yet" in said, said
        assert os.path.exists(self.guest.path("/var/lib/bidlake/spool/data.mdb"))
        for path in (CONFIG, "/lib/systemd/system", "/run/bidlake"):
            left = glob.glob(self.guest.path(path, "bidlake-agent*")) if path.startswith("/lib") \
                else os.path.exists(f"/proc/{self.guest.leader}/root{path}")
            assert not left, path
        self.guest.run("systemctl", "is-active", SOCKET, code=3)
        # Installed again, as packaged, it delivers what it finds.
        self.install("/opt/first")
        until(lambda: self.status()["delivery"]["uncommitted"] == 0, "all is committed")
        self.all_in_table_once()

    def test_purge_takes_what_is_ours(self):
        before = self.counted()
        self.apt("remove", "bidlake-agent")
        self.as_service("touch /var/lib/bidlake/spool/data.mdb") # somebody else's agent ran on it
        said = self.apt("purge", "bidlake-agent")
        assert "kept /var/lib/bidlake/spool" in said, said
        self.install("/opt/first")
        until(lambda: self.guest.show(AGENT, "ActiveState") == "active", "it is active", 20)
        self.apt("remove", "bidlake-agent", "bidlake-commit")
        roots = self.guest.run("find", "/var/lib/bidlake", "-user", "root")[1].split()
        assert roots == ["/var/lib/bidlake/away"], roots
        assert os.path.exists(self.guest.path(CONFIG)), "remove takes no configuration"
        assert os.path.exists(self.guest.path("/var/lib/bidlake/spool/data.mdb"))
        assert self.counted() == before
        said = self.apt("purge", "bidlake-agent", "bidlake-commit")
        assert "kept the tables" in said, said
        assert not os.path.exists(self.guest.path("/var/lib/bidlake/spool"))
        assert not os.path.exists(self.guest.path("/etc/bidlake"))
        left = self.guest.run("find", "/etc", "/usr", "/lib", "/run", "/var/lib/systemd",
                              "/var/log", "-name", "*bidlake*")[1].split()
        tools = [path for path in left if re.search(r"bidlake-(tools|table|gen)", path)]
        assert sorted(left) == sorted(tools), set(left) - set(tools)
        assert sorted(os.listdir(self.guest.path("/var/lib/bidlake"))) == \
            ["away", "catalog.db", "warehouse"]
        # And all of it once more: the tables are still the same.
        self.install("/opt/first")
        until(lambda: self.guest.show(COMMIT, "ActiveState") == "active", "it serves", 20)
        assert self.counted() == before
        self.all_in_table_once()

    def test_unused_it_leaves_nothing(self):
        self.apt("purge", "bidlake-agent", "bidlake-commit", "bidlake-tools")
        shutil.rmtree(self.guest.path("/var/lib/bidlake"))
        self.apt("install", *(f"/opt/first/{name}" for name in
                              os.listdir(self.guest.path("/opt/first")) if "agent" in name))
        self.apt("purge", "bidlake-agent")
        assert not os.path.exists(self.guest.path("/var/lib/bidlake"))
        self.nothing_failed()


def upgraded(package, folder):
    """The same package under a higher version, its configuration changed by its makers."""
    tree = os.path.join(folder, "tree")
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control, encoding="utf-8") as file:
        text = re.sub(r"^(Version: .*)$", r"\1+upgrade", file.read(), flags=re.MULTILINE)
    with open(control, "w", encoding="utf-8") as file:
        file.write(text)
    for path in glob.glob(f"{tree}/etc/bidlake/*.yaml"):
        with open(path, "a", encoding="utf-8") as file:
            file.write("# new in this version\n")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, folder], check=True,
                   stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)


def bring_packages(guest, packages):
    for folder in ("first", "second"):
        os.makedirs(guest.path("/opt", folder))
    found = [path for path in glob.glob(f"{packages}/*.deb") if "-dbgsym_" not in path]
    assert len(found) == 3, f"{packages}: {found}"
    for path in found:
        shutil.copy(path, guest.path("/opt/first"))
        upgraded(path, guest.path("/opt/second"))


def run_steps(test):
    names = [name for name in vars(Test) if name.startswith("test_")]
    passed = 0
    for name in names:
        print(f"  {name[5:].replace('_', ' ')}", flush=True)
        try:
            getattr(test, name)()
        except Exception:  # each step stands on the one before
            traceback.print_exc()
            print(test.guest.run("journalctl", "-n", "60", "-o", "short-precise", "--no-pager",
                                 code=None)[1][-8000:])
            print(f"{passed} package tests passed, {len(names) - passed} failed")
            return 1
        passed += 1
    print(f"{passed} package tests passed, 0 failed")
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--packages", required=True)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("boot.py: only root can boot a guest")
    if os.environ.get("BIDLAKE_NAMESPACE") != "own":
        os.environ["BIDLAKE_NAMESPACE"] = "own"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable,
                              "-B", *sys.argv])
    folder = os.environ.get("BIDLAKE_ROOTS", os.path.join(TOP, "build", "package"))
    lower = make_root(os.path.abspath(folder))
    guest = Guest(lower, os.path.join(TOP, "build", "package", f"run-{os.getpid()}"))
    try:
        bring_packages(guest, options.packages)
        guest.boot()
        code = run_steps(Test(guest, options.packages))
        if options.keep:
            input(f"nsenter -t {guest.leader} -a bash    then enter: ")
    finally:
        guest.stop()
        subprocess.run(["umount", "-l", guest.root], check=False)
        subprocess.run(["umount", "-l", os.path.join(os.path.dirname(guest.root), "memory")],
                       check=False)
        shutil.rmtree(os.path.dirname(guest.root), ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
