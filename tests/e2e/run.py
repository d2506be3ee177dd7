#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of this folder, two files at a time, each in a process of its own.

usage: run.py [-k PART OF A NAME] [FILE...]     files: test_readers.py ... (default: all)

Each file's folders are made below one of its own, which goes with it, also when it is ended.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from lake import PATIENCE, keep_programs

HERE = os.path.dirname(os.path.abspath(__file__))
FILE_SECONDS = 240 * PATIENCE
MEMORY = "/dev/shm"  # thousands of syncs; BIDLAKE_TEST_DIR chooses a disk instead
# The longest first, so that both workers end at the same time.
FIRST = ["test_announcements.py", "test_readers.py", "test_tail.py",
         "test_engines.py", "test_wires.py"]


def run_file(path, pattern):
    base = os.environ.get("BIDLAKE_TEST_DIR") or (MEMORY if os.access(MEMORY, os.W_OK) else None)
    folder = tempfile.mkdtemp(prefix="bidlake-e2e-", dir=base)
    command = [sys.executable, "-B", path] + (["-k", pattern] if pattern else [])
    start = time.monotonic()
    try:
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             timeout=FILE_SECONDS, env=dict(os.environ, BIDLAKE_TEST_DIR=folder))
        output, code = ran.stdout.decode("utf-8", "replace"), ran.returncode
    except subprocess.TimeoutExpired as expired:
        output, code = (expired.stdout or b"").decode("utf-8", "replace"), 1
        output += f"\nnot done after {FILE_SECONDS} s\n"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ran = re.search(r"^Ran (\d+) test", output, re.MULTILINE)
    count = int(ran.group(1)) if ran else 0
    failed = len(set(re.findall(r"^(?:FAIL|ERROR): (\S+)", output, re.MULTILINE)))
    if code != 0 and not (pattern and ran and count == 0):
        failed = max(failed, 1)
    return os.path.basename(path), max(count - failed, 0), failed, output, time.monotonic() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", dest="pattern")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    files = options.files or sorted(glob.glob(os.path.join(HERE, "test_*.py")))
    files.sort(key=lambda path: (os.path.basename(path) not in FIRST, path))
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="bidlake-programs-") as programs, \
            concurrent.futures.ThreadPoolExecutor(2) as workers:
        keep_programs(programs)
        jobs = [workers.submit(run_file, path, options.pattern) for path in files]
        for job in concurrent.futures.as_completed(jobs):
            name, good, bad, output, seconds = job.result()
            passed, failed = passed + good, failed + bad
            print(f"{name}: {good} passed, {bad} failed, {seconds:.0f} s", flush=True)
            skipped = re.findall(r"^.*skipped .*$", output, re.MULTILINE)
            print(*(skipped if not bad else [output]), sep="\n", end="\n" if bad or skipped else "")
    print(f"{passed} end to end tests passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
