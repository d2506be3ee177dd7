#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a package holds, without installing one: manual pages, completion, units and the
packaged configurations, as `make install` lays them out. In some seconds; boot.py has the rest.
"""
import grp
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = ("agent", "commit", "table", "gen")
EXPOSURE_MAX = "15"  # ten times what systemd-analyze shows
BUILD = os.environ.get("BUILD", "build/release")
ROOT = None  # where the files are installed


def run(*command, code=0, **how):
    ran = subprocess.run(command, capture_output=True, text=True, check=False, **how)
    if code is not None and ran.returncode != code:
        raise AssertionError(f"{' '.join(command)}\nexit {ran.returncode}, wanted {code}\n"
                             f"{ran.stdout[-3000:]}{ran.stderr[-3000:]}")
    return ran.stdout + ran.stderr


def read(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return file.read()


def make(*arguments):
    # What make hands down to us is for the targets of our caller.
    env = {name: value for name, value in os.environ.items()
           if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")}
    return run("make", "-s", "-C", TOP, *arguments, env=env)


def installed(*parts):
    return os.path.join(ROOT, *parts)


def program(name):
    return installed("usr", "bin", f"bidlake-{name}")


def help_of(name):
    return run(program(name), "--help")


def flags_of(text):
    """The flags that begin an entry of the help."""
    return {flag for line in re.findall(r"^  (--[a-z0-9-]+(?:, --[a-z0-9-]+)*)", text, re.MULTILINE)
            for flag in line.split(", ")}


def rows_of(path):
    """Keys of an options.def, and of those that it includes."""
    text = read(TOP, path)
    keys = re.findall(r'^OPTION(?:_LIVE)?\(\w+,\s*[\w.]+,\s*"([^"]+)"', text, re.MULTILINE)
    return keys + sum(map(rows_of, re.findall(r'^#include "(.*)"', text, re.MULTILINE)), [])


class Pages(unittest.TestCase):
    def page(self, name):
        return read(ROOT, "usr", "share", "man", f"man{name[-1]}", name)

    def test_lint(self):
        """A page that mandoc complains of is one that some reader shows wrongly."""
        for folder in ("man1", "man5"):
            for name in os.listdir(installed("usr", "share", "man", folder)):
                path = installed("usr", "share", "man", folder, name)
                self.assertEqual(run("mandoc", "-T", "lint", "-W", "warning", path), "")
                self.assertNotRegex(read(path), r"@[A-Z]+@")

    def test_every_flag_and_key_is_there(self):
        for name in PROGRAMS:
            page = self.page(f"bidlake-{name}.1").replace("\\", "")
            flags = flags_of(help_of(name))
            self.assertGreater(len(flags), 8)
            for flag in flags:
                self.assertIn(f"\n.B {flag}", page.replace(", --", "\n.B --"), f"bidlake-{name}")
        for name, rows in (("agent", "agent/options.def"), ("commit", "cloud/options.def")):
            page = self.page(f"bidlake-{name}.yaml.5").replace("\\", "")
            self.assertGreater(len(rows_of(rows)), 8)
            for key in rows_of(rows):
                self.assertIn(f"\n.BR {key} ", page)

    def test_every_command_is_there(self):
        for name in ("agent", "commit", "table"):
            page = self.page(f"bidlake-{name}.1").replace("\\", "")
            commands = help_of(name).split("Commands:\n")[1].split("\n\n")[0]
            for command in re.findall(r"^  ([a-z]+)", commands, re.MULTILINE):
                self.assertRegex(page, rf"\n\.B {command}\b")

    def test_doors(self):
        """The keys of a door are no rows of a table: the page names them by hand."""
        page = self.page("bidlake-agent.yaml.5")
        keys = re.search(r"listener_keys\[\] = \{(.*?)\};", read(TOP, "agent/config.c"), re.DOTALL)
        words = re.findall(r'"(\w+)"', keys[1])
        self.assertGreater(len(words), 5)
        for word in words:
            self.assertTrue(re.search(rf"\b{word}\b", page),
                            f"{word}, a key of listen: packaging/man/bidlake-agent.yaml.5.in")


class Completion(unittest.TestCase):
    def complete(self, name, *words):
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
                  f'_bidlake_{name}; printf "%s\\n" "${{COMPREPLY[@]}}"')
        path = installed("usr", "share", "bash-completion", "completions", f"bidlake-{name}")
        return set(run("bash", "-euc", script, "bash", path, f"bidlake-{name}", *words).split())

    def test_commands_flags_and_values(self):
        self.assertEqual(self.complete("commit", ""), {"init", "once", "serve"})
        self.assertEqual(self.complete("commit", "in"), {"init"})
        self.assertEqual(self.complete("agent", "fl"), {"flush"})
        self.assertEqual(self.complete("agent", "run", "--spool-when-full", ""),
                         {"refuse", "drop_oldest"})
        self.assertLessEqual({"clicks", "bid_requests"}, self.complete("table", "count", ""))
        self.assertEqual(self.complete("agent", "ingest", "clicks", ""), set())  # files: bash's
        for name in PROGRAMS:
            self.assertLessEqual(flags_of(help_of(name)), self.complete(name, "x", "-"))


class Units(unittest.TestCase):
    SERVICES = ("bidlake-agent.service", "bidlake-commit.service")

    def unit(self, name):
        return installed("usr", "lib", "systemd", "system", name)

    def exposure(self, path):
        """What systemd-analyze exits with: 0 where the exposure is low enough."""
        return subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager",
                               f"--threshold={EXPOSURE_MAX}", path], capture_output=True,
                              check=False).returncode

    def test_verify(self):
        """A key that systemd does not know is ignored by it, and so is what it should do."""
        paths = [self.unit(name) for name in (*self.SERVICES, "bidlake-agent.socket")]
        said = run("systemd-analyze", "verify", "--man=no", *paths, code=None)
        self.assertEqual([line for line in said.splitlines() if "bidlake" in line], [])

    def test_exposure(self):
        for name in self.SERVICES:
            self.assertEqual(self.exposure(self.unit(name)), 0, name)
            weak = installed("weak", name)  # the control: one line less is found
            os.makedirs(os.path.dirname(weak), exist_ok=True)
            with open(weak, "w", encoding="utf-8") as file:
                file.write(read(self.unit(name)).replace("CapabilityBoundingSet=\n", ""))
            self.assertNotEqual(self.exposure(weak), 0, name)

    def test_doors_are_the_sockets(self):
        """A door that only the configuration has refuses senders over a restart; one that only
        the unit has lets them wait for nothing."""
        text = read(TOP, "packaging/etc/agent.yaml")
        doors = re.findall(r"^  - \{(?:http|unix): ([^,}]+)", text, re.MULTILINE)
        sockets = re.findall(r"^Listen\w+=(\S+)$", read(self.unit("bidlake-agent.socket")),
                             re.MULTILINE)
        self.assertEqual(doors, sockets)
        self.assertEqual(len(set(doors)), 5, "a door is there twice")

    def test_stop_waits_longer_than_the_agent(self):
        seconds = int(re.search(r"^TimeoutStopSec=(\d+)$", read(self.unit(self.SERVICES[0])),
                                re.MULTILINE)[1])
        default = re.search(r'"stop.deadline",\s*"(\d+)s"', read(TOP, "agent/options.def"))[1]
        self.assertGreater(seconds, 3 * int(default))


class Configuration(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="bidlake-package-")
        self.addCleanup(shutil.rmtree, self.directory)
        os.mkdir(os.path.join(self.directory, "warehouse"))

    def file(self, name, text):
        """With what only an installation makes given by what is here."""
        path = os.path.join(self.directory, name)
        try:
            group = f", group: {grp.getgrgid(os.getgid()).gr_name}"
        except KeyError:
            group = ""  # ours has no name, and the key takes no number
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("/var/lib/bidlake", self.directory)
                       .replace(", group: bidlake-send", group))
        return path

    def test_work_as_they_stand(self):
        agent = self.file("agent.yaml", read(ROOT, "etc", "bidlake", "agent.yaml"))
        commit = self.file("commit.yaml", read(ROOT, "etc", "bidlake", "commit.yaml"))
        self.assertIn("ok", run(program("agent"), "check", "--config", agent))
        run(program("commit"), "init", "--config", commit)
        events = self.file("clicks.ndjson", '{"id":"a"}\n')
        run(program("agent"), "ingest", "clicks", events, "--config", agent)
        run(program("commit"), "once", "--config", commit)
        self.assertIn("1", run(program("table"), "count", "clicks", "--config", commit))

    def test_what_is_commented_out_is_valid(self):
        """Who takes away a "#" must not find that the key has another name by now."""
        for name, command in (("agent", "check"), ("commit", "init")):
            text = read(ROOT, "etc", "bidlake", f"{name}.yaml")
            opened = re.sub(r"^#(  [-\w]|\w+:)", r"\1", text, flags=re.MULTILINE)
            self.assertNotEqual(text, opened)
            opened = opened.replace("/etc/bidlake/token", self.file("token", "secret\n"))
            path = self.file(f"{name}.yaml", opened)
            run(program(name), command, "--config", path)
            wrong = self.file(f"{name}.yaml", opened + "\nroll_agee: 1s\n")  # the control
            self.assertIn("roll_agee", run(program(name), command, "--config", wrong, code=2))


class Examples(unittest.TestCase):
    """packaging/examples: what cannot be read by the programs is no example. No server is there:
    what is refused is a connection, and nothing before it."""
    FOLDER = os.path.join(TOP, "packaging", "examples")
    NAMES = ("aws-glue", "local", "s3-nessie", "s3-rest")
    PLACES = ("warehouse:", "s3:", "catalog:")  # keys that may differ
    AWAY = "http://127.0.0.1:9"
    ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
                   "AWS_ENDPOINT_URL_S3": AWAY, "AWS_EC2_METADATA_DISABLED": "true",
                   "HOME": "/nonexistent", "no_proxy": "127.0.0.1"}

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="bidlake-package-")
        self.addCleanup(shutil.rmtree, self.directory)
        os.mkdir(os.path.join(self.directory, "warehouse"))
        for name in ("catalog", "catalog-token"):
            with open(os.path.join(self.directory, name), "w", encoding="ascii") as file:
                file.write("name:secret\n")

    def ask(self, name, who, code, more=""):
        text = read(self.FOLDER, name, f"{who}.yaml")
        for here in ("/var/lib/bidlake", "/etc/bidlake"):
            text = text.replace(here, self.directory)
        text = re.sub(r"https://[a-z0-9.-]+", self.AWAY, text)
        path = os.path.join(self.directory, f"{who}.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + more)
        command = "check" if who == "agent" else "init"
        return run(program(who), command, "--config", path, code=code,
                   env={**os.environ, **self.ENVIRONMENT})

    def test_the_programs_read_them(self):
        self.assertEqual(sorted(name for name in os.listdir(self.FOLDER) if "." not in name),
                         sorted(self.NAMES))
        for name in self.NAMES:
            for who in ("agent", "commit"):
                with self.subTest(f"{name}/{who}.yaml"):
                    said = self.ask(name, who, 0 if name == "local" else 1)
                    if who == "agent":
                        self.assertIn("configuration: ok", said)
                    if name != "local":
                        self.assertIn(f"{self.AWAY}/", said)
                        self.assertIn("Failed to connect", said)
                    said = self.ask(name, who, 2, more="roll_agee: 1s\n")  # the control
                    self.assertIn("roll_agee", said)

    def test_only_the_places_differ(self):
        def rest(name, who):
            entries = re.split(r"^(?=\w+:)", re.sub(r"^#.*\n", "", read(
                self.FOLDER, name, f"{who}.yaml"), flags=re.MULTILINE), flags=re.MULTILINE)
            return [entry for entry in entries[1:] if not entry.startswith(self.PLACES)]

        for who in ("agent", "commit"):
            self.assertGreater(len(rest("local", who)), 1)
            for name in self.NAMES:
                self.assertEqual(rest(name, who), rest("local", who), f"{name}/{who}.yaml")

    def test_both_name_one_place(self):
        """An agent that delivers elsewhere than the service looks is never heard of."""
        for name in self.NAMES:
            warehouse = [re.search(r"^warehouse: (.*)$", read(self.FOLDER, name, f"{who}.yaml"),
                                   re.MULTILINE)[1] for who in ("agent", "commit")]
            self.assertEqual(warehouse[0], warehouse[1], name)


class Rights(unittest.TestCase):
    def test_each_policy_allows_something(self):
        """What S3's say is tried by tests/interop/test_rights.py; Glue has no stand-in."""
        folder = os.path.join(TOP, "packaging", "iam")
        policies = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
        self.assertEqual(policies, ["agent.json", "commit.json", "glue.json"])
        about = read(folder, "README.md")
        for name in policies:
            policy = json.loads(read(folder, name))
            self.assertEqual(set(policy), {"Version", "Statement"})
            for statement in policy["Statement"]:
                self.assertEqual(set(statement), {"Sid", "Effect", "Action", "Resource"})
                if name != "glue.json":
                    self.assertIn(f"`{statement['Sid']}`", about)


class Install(unittest.TestCase):
    def test_a_second_install_keeps_the_configuration(self):
        path = installed("etc", "bidlake", "agent.yaml")
        with open(path, "a", encoding="utf-8") as file:
            file.write("# edited\n")
        self.addCleanup(lambda: (os.remove(path), install()))
        install()
        self.assertTrue(read(path).endswith("# edited\n"))

    def test_uninstall_takes_what_install_gave(self):
        """Units and programs that stay behind are found by the next who looks for them."""
        folder = tempfile.mkdtemp(prefix="bidlake-package-")
        self.addCleanup(shutil.rmtree, folder)

        def files():
            return {os.path.relpath(os.path.join(path, name), folder)
                    for path, _, names in os.walk(folder) for name in names}

        where = (f"BUILD={BUILD}", f"DESTDIR={folder}", "PREFIX=/usr", "UNITDIR=/lib/systemd/system")
        make("install", *where)
        self.assertGreater(len(files()), 15)
        with open(os.path.join(folder, "usr/bin/other"), "w", encoding="ascii"):
            pass
        make("uninstall", *where)
        self.assertEqual(files(), {"usr/bin/other", "etc/bidlake/agent.yaml",
                                   "etc/bidlake/commit.yaml"})

    def test_scripts(self):
        """A maintainer's script that does not parse leaves a package half installed."""
        folder = os.path.join(TOP, "packaging", "debian")
        scripts = [name for name in os.listdir(folder) if re.search(r"\.(pre|post)(inst|rm)$", name)]
        self.assertGreater(len(scripts), 3)
        for name in scripts:
            run("sh", "-n", os.path.join(folder, name))
            if shutil.which("shellcheck"):
                run("shellcheck", "-S", "warning", os.path.join(folder, name))


def install():
    make("install", f"BUILD={BUILD}", f"PREFIX={installed('usr')}", f"SYSCONFDIR={installed('etc')}")


def main():
    global ROOT
    ROOT = os.path.join(TOP, "build", "package-check")
    shutil.rmtree(ROOT, ignore_errors=True)
    install()
    loaded = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(verbosity=1).run(loaded)
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} package checks passed, {bad} failed")
    return 1 if bad or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
