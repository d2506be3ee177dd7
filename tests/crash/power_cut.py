#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts the power at random moments under the real programs and asks whether what they had
answered is still there.

usage: power_cut.py [--cuts N] [--lake-cuts N] [--seed N] [--verbose]
       power_cut.py --keep FOLDER ...      recordings and failed disks stay there

A disk that writes down every write and flush (power/disk_main.c) lies under a loop device
with ext4 on it. Two recordings are made: the spool in use from several threads, and whole
lakes: `bidlake-commit init`, `bidlake-agent ingest`, `bidlake-commit once`, with warehouse,
catalog and spool on that disk. Whatever is answered is said into the same log at that moment.
Then power/replay_main.c makes the disks that cuts leave: all that was flushed, and of the rest
some, none, or parts of writes. Each is mounted, and the law is held (spool_main.c; below for
the lake). Controls: the same with programs whose syncs do nothing (power/nosync.c) must lose
something.

Needs root, /dev/fuse, loop devices and mkfs.ext4. POWER_CUT=skip leaves it out, and says so.
"""
import argparse
import collections
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import lake as programs  # noqa: E402
from lake import Lake, end, until  # noqa: E402

IMAGE_BYTES = 40 << 20
NO_SYNC = {"spool": ("all", "data", "dsync"), "lake": ("all", "data")}


def tool(name):
    return os.path.join(programs.ROOT, os.environ["POWER_TOOLS"], name)


def run(*command, **how):
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, **how)
    if ran.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}\nexit {ran.returncode}\n"
                             f"{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}")
    return ran.stdout


class Disk:
    """The recording disk, mounted, as a context; `mark` is the file for remarks."""

    def __init__(self, folder, image_bytes=IMAGE_BYTES):
        self.folder, self.image_bytes = folder, image_bytes
        os.makedirs(folder, exist_ok=True)
        self.image, self.log = self.path("image"), self.path("log")
        self.fuse, self.mount = self.path("fuse"), self.path("mounted")
        self.mark = os.path.join(self.fuse, "mark")

    def path(self, name):
        return os.path.join(self.folder, name)

    def __enter__(self):
        with open(self.image, "wb") as file:
            file.truncate(self.image_bytes)
        run("mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", "-E",
            "nodiscard,lazy_itable_init=0,lazy_journal_init=0", self.image)
        for directory in (self.fuse, self.mount):
            os.makedirs(directory, exist_ok=True)
        self.process = subprocess.Popen([tool("disk"), self.image, self.log, self.fuse])
        until(lambda: os.path.exists(self.mark), "the disk is there")
        self.remount()
        return self

    def remount(self):
        run("mount", "-o", "loop", os.path.join(self.fuse, "disk"), self.mount)

    def __exit__(self, kind, *_):
        try:
            subprocess.run(["umount", self.mount], capture_output=True)
            # The loop device lets go of the file a moment later.
            until(lambda: subprocess.run(["umount", self.fuse],
                                         capture_output=True).returncode == 0, "the disk is free")
            code = self.process.wait(timeout=60)
            assert code == 0 or kind, f"disk: exit {code}"
        finally:
            end(self.process)

    def say(self, text):
        with open(self.mark, "r+b", buffering=0) as file:
            file.write(f"{text}\n".encode())


def without_sync(what):
    """The environment of programs whose syncs do nothing."""
    return dict(os.environ, LD_PRELOAD=tool("nosync.so"), BIDLAKE_NOSYNC=what,
                ASAN_OPTIONS="verify_asan_link_order=0") if what else None


def replay(folder, first, count, *command, disk=None):
    """(failures, what was printed)"""
    ran = subprocess.run([tool("replay"), f"{folder}/log", f"{folder}/image", disk or folder,
                          str(first), str(count), *command],
                         capture_output=True, text=True, timeout=7200)
    if ran.returncode not in (0, 1) or not ran.stdout.endswith("remarks\n"):
        raise AssertionError(f"replay: exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}")
    return int(ran.stdout.splitlines()[-1].split()[2]), ran.stderr + ran.stdout


# -- the spool -------------------------------------------------------------------------------

def record_spool(folder, seed, appends, no_sync=None):
    with Disk(folder) as disk:
        for life in range(3):
            run(tool("spool"), "write", f"{disk.mount}/spool", disk.mark, str(seed + life),
                str(appends // 3), env=without_sync(no_sync))


def cut_spool(folder, first, count):
    return replay(folder, first, count, tool("spool"), "check", f"{folder}/mount/spool",
                  f"{folder}/marks")


# -- the lake --------------------------------------------------------------------------------

ROLL = ("--roll-rows", "60", "--roll-partition-bytes", "0")


def events(number, count=100):
    """Lines of one input file."""
    return "".join(json.dumps({
        "id": f"event-{number}-{i:05}", "ts": 1767225600000 + i % 2 * 86400000,
        "device_geo_country": ("USA", "DEU")[i // 2 % 2]}) + "\n" for i in range(count))


def lake_at(folder, inputs):
    lake = Lake(os.path.join(folder, "lake"), tables="openrtb/clicks")
    lake.inputs = inputs
    return lake


def record_lake(folder, inputs, no_sync=None):
    env = without_sync(no_sync)
    with Disk(folder) as disk:
        lake = lake_at(disk.mount, inputs)
        lake.init(env=env)
        disk.say("init")
        for number, path in enumerate(inputs):
            lake.ingest("clicks", *ROLL, path, env=env)
            disk.say(f"announced {number}")
            if number % 2 == 1:
                lake.once(env=env)
                disk.say(f"committed {number}")


def whole(lake):
    """Announced files exist, with their sizes and checksums, as long as the announcement does.
    Returns how many there were."""
    count = 0
    for path in lake.inbox():
        with open(path, "rb") as file:
            announcement = json.load(file)
        for data in announcement["files"]:
            target, count = f"{lake.warehouse}/db/clicks/{data['path']}", count + 1
            size = os.path.getsize(target)
            assert size == data["size"], f"{target}: {size} bytes, {data['size']} announced"
            found = checksum(target)
            assert found == data["crc32c"], f"{target}: {found}, {data['crc32c']} announced"
    return count


def crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = crc_table()


def checksum(path):
    """CRC32C, as announcements write it."""
    value = 0xFFFFFFFF
    with open(path, "rb") as file:
        for byte in file.read():
            value = value >> 8 ^ TABLE[(value ^ byte) & 255]
    return f"{value ^ 0xFFFFFFFF:08x}"


def ids_of(paths):
    found = collections.Counter()
    for path in paths:
        with open(path, encoding="utf-8") as file:
            found.update(json.loads(line)["id"] for line in file)
    return found


def check_lake(lake, said):
    """What was answered is there; then all goes on as if nothing had been."""
    announced = [int(line.split()[1]) for line in said if line.startswith("announced")]
    committed = [int(line.split()[1]) for line in said if line.startswith("committed")]
    lake.files_seen = whole(lake)
    if committed:
        lake.check("clicks")
        found = lake.ids("clicks", "click_id")
        gone = ids_of(lake.inputs[:max(committed) + 1]) - found
        assert not gone, f"{len(gone)} committed events are gone, {list(gone)[:3]}"
    lake.init()
    # Records that only the spool has go out; nothing is read again.
    lake.ingest("clicks", "-", stdin=b"")
    lake.once()
    found = lake.ids("clicks", "click_id")
    gone = ids_of(lake.inputs[:max(announced, default=-1) + 1]) - found
    assert not gone, f"{len(gone)} announced events are gone, {list(gone)[:3]}"
    lake.ingest("clicks", *ROLL, *lake.inputs)
    lake.once()
    expected, found = ids_of(lake.inputs), lake.ids("clicks", "click_id")
    assert found == expected, (f"missing {list((expected - found).items())[:3]}, "
                               f"too many {list((found - expected).items())[:3]}")
    lake.check("clicks")
    lake.agent("spool", "--check", code=0)
    assert not lake.inbox(), "the inbox does not empty"


def cut_lake(folder, inputs, cut):
    """How many announced files were seen whole after this cut, or a text: what was wrong."""
    os.makedirs(work := f"{folder}/cut", exist_ok=True)
    # The records hold absolute paths: the disk comes back where it was.
    mounted = f"{folder}/mounted"
    replay(folder, cut, 1, disk=work)
    try:
        run("mount", "-o", "loop", f"{work}/disk", mounted)
    except AssertionError as error:
        return str(error)
    try:
        with open(f"{work}/marks", encoding="utf-8") as file:
            check_lake(lake := lake_at(mounted, inputs), file.read().splitlines())
        return lake.files_seen
    except (AssertionError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        run("umount", mounted)


# -- both, and that they can fail ------------------------------------------------------------

def controls(base, seed, inputs):
    """Without syncs something must be lost; what was not found."""
    unseen = []
    for what in NO_SYNC["spool"]:
        folder = f"{base}/control-spool-{what}"
        record_spool(folder, seed, 60, no_sync=what)
        if cut_spool(folder, seed, 25)[0] == 0:
            unseen.append(f"spool without {what} sync")
        shutil.rmtree(folder)
    for what in NO_SYNC["lake"]:
        folder = f"{base}/control-lake-{what}"
        record_lake(folder, inputs[:2], no_sync=what)
        if not any(isinstance(cut_lake(folder, inputs[:2], seed + i), str) for i in range(20)):
            unseen.append(f"lake without {what} sync")
        shutil.rmtree(folder)
    return unseen


def test(base, options):
    failures = []
    start = time.monotonic()
    inputs = []
    for number in range(6):
        inputs.append(f"{base}/{number}.ndjson")
        with open(inputs[-1], "w", encoding="utf-8") as file:
            file.write(events(number))
    record_spool(f"{base}/spool", options.seed, 300 if options.cuts < 1000 else 1500)
    failed, text = cut_spool(f"{base}/spool", options.seed, options.cuts)
    if failed:
        failures.append(f"spool: {text}")
    print(f"spool: {text.splitlines()[-1]}, {time.monotonic() - start:.0f} s", flush=True)
    start = time.monotonic()
    record_lake(f"{base}/lake", inputs)
    files = 0
    for i in range(options.lake_cuts):
        found = cut_lake(f"{base}/lake", inputs, options.seed + i)
        if isinstance(found, str):
            failures.append(f"lake, cut {options.seed + i}: {found}")
        else:
            files += found
    if options.lake_cuts > 9 and files == 0:
        failures.append("lake: no announced file was there to be looked at")
    print(f"lake: {options.lake_cuts} cuts, {files} announced files whole, "
          f"{time.monotonic() - start:.0f} s", flush=True)
    start = time.monotonic()
    failures += [f"control: nothing seen: {what}" for what in controls(base, options.seed, inputs)]
    print(f"controls: {time.monotonic() - start:.0f} s", flush=True)
    return failures


def demands():
    """What this machine lacks."""
    lacking = [path for path in ("/dev/fuse", "/dev/loop-control") if not os.path.exists(path)]
    lacking += [name for name in ("mkfs.ext4", "unshare", "mount") if not shutil.which(name)]
    return lacking + ([] if os.getuid() == 0 else ["root"])


def enter_namespace(*arguments):
    """Goes on in a mount namespace of its own: mounts there go with us, however we end."""
    if os.environ.get("MOUNT_NAMESPACE") == str(os.getpid()):
        part_mounts()
        return
    os.environ["MOUNT_NAMESPACE"] = str(os.getpid())
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "unchanged", sys.executable,
                          *sys.argv, *arguments])


def part_mounts():
    """What is mounted here is not seen outside. One by one, since in a chroot the root is no
    mount point, and unshare then refuses to part all of them at once."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        shared = [line.split()[4] for line in mounts if " shared:" in line]
    for place in shared:
        subprocess.run(["mount", "--make-private", place], check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=120)
    parser.add_argument("--lake-cuts", type=int, default=12)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--keep")
    options = parser.parse_args()
    if os.environ.get("POWER_CUT") == "skip":
        print("NOT TESTED: power cuts, by POWER_CUT=skip")
        return 0
    if lacking := demands():
        print(f"power cuts need {', '.join(lacking)}; POWER_CUT=skip leaves them out")
        return 1
    enter_namespace("--seed", str(options.seed))
    directory = os.environ.get("BIDLAKE_TEST_DIR") or "/dev/shm"
    if options.keep:
        os.makedirs(options.keep, exist_ok=True)
        failures = test(options.keep, options)
    else:
        with tempfile.TemporaryDirectory(prefix="bidlake-power-", dir=directory) as base:
            programs.keep_programs(base)
            failures = test(base, options)
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{options.cuts + options.lake_cuts} power cuts passed, {len(failures)} failed; "
          f"seed {options.seed}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
