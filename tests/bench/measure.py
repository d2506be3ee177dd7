# SPDX-License-Identifier: Apache-2.0
"""What the benches share: a process run and measured, the generator's file, and bidlake's way
from a file to a committed table. CPU seconds are user and system, of whole processes."""
import glob
import json
import os
import shutil
import subprocess
import threading
import time

SEED = 20260131
START = "2026-01-31T12:00:00Z"
POLL_SECONDS = 0.02


class Failed(Exception):
    pass


def run_measured(arguments, log):
    """Output, CPU seconds, peak memory of one process; anonymous memory by sampling, since
    the resident set counts the spool's map too."""
    with open(log, "w+b") as err, open(log + ".out", "w+b") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=err)
        anonymous = 0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid != 0:
                break
            anonymous = max(anonymous, anonymous_bytes(process.pid))
            time.sleep(POLL_SECONDS)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode()
        if process.returncode != 0:
            err.seek(0)
            raise Failed(f"{' '.join(arguments)}: exit {process.returncode}\n"
                         f"{err.read().decode(errors='replace')[-2000:]}")
    return {"text": text, "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "user_seconds": usage.ru_utime, "peak_rss_bytes": usage.ru_maxrss * 1024,
            "peak_anonymous_bytes": anonymous}


def anonymous_bytes(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def memory_line(pid, name):
    """VmHWM, RssAnon: bytes; what wait4 says begins with the parent's."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(name)), 0)
    except (OSError, ValueError):
        return 0


def run_watched(command, environment, log):
    """Seconds, CPU seconds, resident and anonymous peak, output of a process that must succeed."""
    begin = time.monotonic()
    with open(log, "w+b") as said, open(log + ".out", "w+b") as out:
        process = subprocess.Popen(command, env=dict(os.environ, **environment), stdout=out,
                                   stderr=said)
        peak, over = {"VmHWM": 0, "RssAnon": 0}, threading.Event()

        def sample():
            while not over.wait(0.02):
                for name, before in peak.items():
                    peak[name] = max(before, memory_line(process.pid, name))

        sampler = threading.Thread(target=sample)
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        over.set()
        sampler.join()
        if process.returncode != 0:
            said.seek(0)
            raise Failed(f"{' '.join(command)}: exit {process.returncode}\n"
                         f"{said.read()[-2000:].decode(errors='replace')}")
        out.seek(0)
        text = out.read().decode()
    return {"text": text, "seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_rss_bytes": peak["VmHWM"], "peak_anonymous_bytes": peak["RssAnon"]}


def make_input(build, folder, count):
    """The file and what the generator says is in it; made anew when the generator changed."""
    generator = os.path.join(build, "bidlake-gen")
    path = os.path.join(folder, f"bid_requests-{SEED}-{count}.ndjson")
    summary = path + ".json"
    fresh = (os.path.exists(summary) and
             os.path.getmtime(summary) > os.path.getmtime(generator))
    if not fresh:
        arguments = [generator, "--table", "bid_requests", "--count", str(count), "--seed",
                     str(SEED), "--start", START, "--events-per-second", "0", "--json"]
        with open(path, "wb") as out, open(summary + ".new", "wb") as err:
            subprocess.run(arguments, stdout=out, stderr=err, check=True)
        os.rename(summary + ".new", summary)
    with open(summary) as text:
        return path, json.load(text)


def warm(path):
    """All read it from the page cache: the bench is about CPU."""
    with open(path, "rb") as source:
        while source.read(1 << 22):
            pass


def run_bidlake(build, folder, source, table="bid_requests", tables=None):
    """`tables`: mapping files instead of the presets."""
    work = os.path.join(folder, "bidlake")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    warehouse = ["--warehouse", "file://" + os.path.join(work, "warehouse")]
    catalog = ["--catalog", "sqlite:" + os.path.join(work, "catalog.db")]
    commit = os.path.join(build, "bidlake-commit")
    mappings = ["--tables", tables] if tables else []
    init = [commit, "init", *warehouse, *catalog, *mappings]
    run_measured(init, os.path.join(work, "init"))
    ingest = run_measured(
        [os.path.join(build, "bidlake-agent"), "ingest", table, source, *warehouse, *mappings,
         "--spool", os.path.join(work, "spool"), "--json", "--quiet"],
        os.path.join(work, "ingest"))
    once = run_measured([commit, "once", *warehouse, *catalog, *mappings, "--json"],
                        os.path.join(work, "commit"))
    report, committed = json.loads(ingest["text"]), json.loads(once["text"])
    if committed["files"] != report["files"] or committed["rows"] != report["rows"]:
        raise Failed(f"announced {report['files']} files, {report['rows']} rows; "
                     f"committed {committed['files']}, {committed['rows']}")
    files = glob.glob(os.path.join(work, f"warehouse/db/{table}/data/**/*.parquet"),
                      recursive=True)
    return {"cpu_seconds": ingest["cpu_seconds"] + once["cpu_seconds"],
            "ingest_cpu_seconds": ingest["cpu_seconds"],
            "ingest_user_seconds": ingest["user_seconds"],
            "commit_cpu_seconds": once["cpu_seconds"],
            "seconds": report["seconds"],
            "peak_rss_bytes": max(ingest["peak_rss_bytes"], once["peak_rss_bytes"]),
            "peak_anonymous_bytes": max(ingest["peak_anonymous_bytes"],
                                        once["peak_anonymous_bytes"]),
            "output_bytes": sum(os.path.getsize(name) for name in files), "files": files,
            "report": report, "stages": stages_of(report, ingest, once)}


def stages_of(report, ingest, once):
    cpu = report["stages_cpu_seconds"]
    stages = {"read": cpu["read"], "shred": cpu["shred"], "spool": cpu["spool"],
              "index + sort": cpu["index"] + cpu["sort"], "encode": cpu["encode"],
              "zstd": cpu["zstd"], "write": cpu["write"], "upload": cpu["upload"]}
    # Start, exit, waiting, the spool's own writer thread, trimming.
    stages["rest of ingest"] = max(0.0, ingest["cpu_seconds"] - sum(stages.values()))
    stages["commit"] = once["cpu_seconds"]
    return stages
