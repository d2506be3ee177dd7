#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Switches each rule of the protocol off, one at a time, and shows what finds it.

usage: mutants.py --build DIR --compile COMMAND --libs LIBS --program NAME=OBJECTS... [--quick]
                  [--only PART] [--schedules N]

A mutant is one text replaced in one source file, in a copy under build/mutants/; the product
has no switches. The file is compiled, linked in front of what was built already, and the
simulation runs until it fails; for rules that need a hand no seed has (a retired stream), the
named scenario must fail. A text that is not in its file exactly once ends the run: the rule
has moved, and this table must follow it. A mutant that nothing finds ends it, too.

--quick takes those marked so: a few seconds, for make test.
"""
import argparse
import os
import re
import shlex
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
SCHEDULES = 3000
COMMIT, AGENT = "scenarios_commit_test", "scenarios_agent_test"
KAFKA, FULL = "scenarios_kafka_test", "scenarios_full_test"


class Mutant:
    def __init__(self, name, rule, file, changes, scenario=None, schedules=None, quick=False):
        self.name, self.rule, self.file, self.changes = name, rule, file, changes
        self.scenario, self.quick = scenario, quick
        self.schedules = schedules or SCHEDULES


M = Mutant
MUTANTS = [
    # ---- the stream ----
    M("epoch", "a new epoch at every start", "spool/spool.c",
      [("    if (rc == OK)\n        rc = make_epoch(spool, txn, err);\n"
        "    if (rc == OK)\n        rc = fault_point(\"spool.open",
        "    if (rc == OK && fresh)\n        rc = make_epoch(spool, txn, err);\n"
        "    if (rc == OK)\n        rc = fault_point(\"spool.open")], quick=True),
    M("let-go", "let go only what is announced", "spool/trim.c",
      [("record.state == SEGMENT_ANNOUNCED && !record.records_gone", "!record.records_gone")],
      scenario=(FULL, "let_go_only_what_is_announced")),
    M("trim-unheard", "records go when the ledger has them, not when they are announced",
      "uploader/uploader.c",
      [("    if (rc == OK)\n        remove_local_files(uploader, segment, announcement.file_count);",
        "    if (rc == OK)\n        rc = spool_trim(uploader->options.spool, segment->stream, "
        "segment->to, 0, err);\n    if (rc == OK)\n"
        "        remove_local_files(uploader, segment, announcement.file_count);")], quick=True),
    M("lost", "what was lost is announced", "agent/roller.c",
      [("    out->lost_count = segment->lost_count;", "    out->lost_count = 0;"),
       ("    for (size_t i = 0; i < segment->lost_count; i++)\n        out->lost[i]",
        "    for (size_t i = 0; i < out->lost_count; i++)\n        out->lost[i]")]),
    M("receipt-ahead", "a receipt beyond what was announced is believed by nobody",
      "spool/trim.c", [("    if (next > stream.sealed)\n", "    if (next > UINT64_MAX - 1)\n")],
      scenario=(AGENT, "power_cut_liar_within_a_segment")),
    # ---- files ----
    M("must-not-exist", "files are put on the condition that they don't exist",
      "uploader/uploader.c", [("PUT_IF_ABSENT, err);", "PUT_ALWAYS, err);")], quick=True),
    M("next-name", "other bytes take the next name", "uploader/uploader.c",
      [("        if (rc != OK || same)\n            break;",
        "        if (rc == OK)\n            break;\n        if (rc != OK || same)\n            break;")],
      scenario=(AGENT, "upgrade_mid_segment_not_in")),
    M("missing", "what is missing is built again", "uploader/uploader.c",
      [("    if (rc == OK && receipt->has_missing)\n", "    if (rc == OK && false)\n")], quick=True),
    M("refused-again", "what was refused is built again", "uploader/uploader.c",
      [("    if (rc == OK && receipt->has_refused) {", "    if (rc == OK && false) {")],
      scenario=(AGENT, "refused_then_gap")),
    M("head", "no file is committed before the store was asked for it", "cloud/inbox_files.c",
      [("    if (!a->info.found) {", "    if (false) {"),
       ("    if (!has_its_bytes(a)) {", "    if (false) {"),
       ("    return is_old(a) ? copy_to_next(a, path, err) : OK;", "    return OK;"),
       ("static int copy_to_next(", "__attribute__((unused)) static int copy_to_next(")]),
    M("copy-old", "an old file is copied before it is committed", "cloud/inbox_files.c",
      [("    return is_old(a) ? copy_to_next(a, path, err) : OK;", "    return OK;"),
       ("static int copy_to_next(", "__attribute__((unused)) static int copy_to_next(")],
      schedules=20000),
    M("attempt-deadline", "from the first HEAD to the send at most an hour", "cloud/turn.c",
      [("    if (turn->has_first_head &&\n", "    if (true ||\n"),
       ("    if (turn->has_first_head)\n        turn->append.send_before_ms",
        "    if (false)\n        turn->append.send_before_ms")], schedules=20000),
    # ---- announcements ----
    M("re-announce", "what nobody answers is announced again", "uploader/uploader.c",
      [("return age_ms >= uploader->options.announce_repeat_ms || age_ms < -60000;",
        "return age_ms < -INT64_MAX;")], quick=True),
    M("older-disk", "an older disk shortens no announcement", "uploader/uploader.c",
      [("there.to > segment->to;", "false;")], scenario=(AGENT, "power_cut_liar_announced")),
    M("answer-the-dead", "a dead announcement is answered with a receipt", "cloud/inbox_finish.c",
      [("in_state(entry, ENTRY_DEAD) || in_state(entry, ENTRY_TAKEN)",
        "in_state(entry, ENTRY_TAKEN)")]),
    # ---- the commit rule ----
    M("from-below-next", "from < next is dead", "cloud/rule.c",
      [("        } else if (entry->from < next) {", "        } else if (false) {"),
       ("static int overlap_check(", "__attribute__((unused)) static int overlap_check(")],
      quick=True),
    M("from-above-next", "from > next waits", "cloud/rule.c",
      [("        if (entry->from > next) {", "        if (false) {")], quick=True),
    M("hole-timer", "no timer skips a hole", "cloud/rule.c",
      [("        if (entry->from > next) {\n",
        "        rc = inbox_fetch(turn->committer, entry, err);\n        if (rc != OK)\n"
        "            break;\n        if (entry->from > next && (!entry->fetched ||\n"
        "            clock_wall_ms(committer_clock(turn->committer)) <\n"
        "                entry->announcement.sealed_at_ms + 30000)) {\n")]),
    M("decide-again", "after a lost swap the rule is applied again", "cloud/turn.c",
      [("    rc = page_judge(turn, err);\n",
        "    if (turn->taken == 0)\n        rc = page_judge(turn, err);\n")], schedules=20000),
    M("same-swap", "data and ledger go into the table in one swap", "cloud/snapshot.c",
      [('        "[{s:s,s:o},o,{s:s,s:{s:s}}]", "action", "add-snapshot", "snapshot",\n',
        '        "[{s:s,s:o},o]", "action", "add-snapshot", "snapshot",\n'),
       (',\n        "action", "set-properties", "updates", "bidlake.ledger", '
        "buf_cstr(&w->ledger_key));", ");"),
       ("    json_decref(requirements);\n    json_decref(updates);\n    return rc;",
        "    json_decref(requirements);\n    json_decref(updates);\n    if (rc == OK) {\n"
        '        requirements = json_pack("[]");\n'
        '        updates = json_pack("[{s:s,s:{s:s}}]", "action", "set-properties", "updates",\n'
        '                            "bidlake.ledger", buf_cstr(&w->ledger_key));\n'
        "        rc = catalog_commit(w->committer->catalog, w->table->ns, w->table->name,\n"
        "                            &state->loaded, requirements, updates, NULL, err);\n"
        "        json_decref(requirements);\n        json_decref(updates);\n    }\n    return rc;")]),
    M("one-load", "ledger and base of a commit come from one load", "cloud/turn.c",
      [("    turn->report->attempts++;\n",
        "    turn->report->attempts++;\n    bool there = false;\n"
        "    catalog_table_free(&turn->state.loaded);\n"
        "    int loaded = catalog_load_table(turn->committer->catalog, turn->table.ns,\n"
        "                                    turn->table.name, &turn->state.loaded, &there, err);\n"
        "    if (loaded != OK || !there) {\n        free(files);\n"
        "        turn->append.files = NULL;\n        return loaded != OK ? loaded : ERROR_RETRY;\n"
        "    }\n")]),
    M("keep-attempts", "a committer never deletes what an attempt wrote", "cloud/snapshot.c",
      [("    if (rc == OK)\n        rc = fault_point(\"commit.swapped\", err);",
        "    if (rc != OK) {\n        struct error ignored;\n"
        "        if (objstore_remove(committer->store, buf_cstr(&w.ledger_key), &ignored) != OK)\n"
        "            goto out;\n    }\n"
        "    if (rc == OK)\n        rc = fault_point(\"commit.swapped\", err);")]),
    # ---- the ledger ----
    M("property-guard", "a property that is missing is no empty ledger", "cloud/table_state.c",
      [("    if (property == NULL)\n",
        "    if (property == NULL && contract->found) {\n        out->ledger = ledger_make(uuid);\n"
        "        out->ledger_key = memory_copy_cstr(\"\");\n        return OK;\n    }\n"
        "    if (property == NULL)\n")]),
    M("file-guard", "a ledger's file that is gone is no empty ledger", "cloud/table_state.c",
      [("    if (!found)\n        return error_set(err, ERROR_CORRUPT, \"ledger %s is gone\", "
        "out->ledger_key);",
        "    *ledger_gone = false;\n    if (!found) {\n        out->ledger = ledger_make(uuid);\n"
        "        return OK;\n    }")]),
    M("ledger-uuid", "a ledger of another table is not taken", "cloud/table_state.c",
      [("    if (strcmp(ledger_table_uuid_borrow(out->ledger), uuid) == 0)\n", "    if (true)\n")]),
    M("keep-current", "pruning keeps the ledger that the table points at", "cloud/inbox_finish.c",
      [("strcmp(entry->key, keep) != 0 &&", "keep != NULL &&")], schedules=20000),
    M("floor", "a retired stream is not taken again", "cloud/rule.c",
      [("    if (ledger_is_retired(turn->state.ledger, entry->announcement.stream)) {",
        "    if (false) {")], scenario=(COMMIT, "retired_stream")),
    M("kafka-stays", "Kafka's streams don't retire", "lib/announce/ledger.c",
      [("        if (epoch.data == NULL || entry_at(entry) >= before_ms)",
        "        if (entry_at(entry) >= before_ms)")],
      scenario=(KAFKA, "kafka_never_retires")),
    M("kafka-overlaps", "an overlap on Kafka is no alarm", "cloud/rule.c",
      [("    if (row == NULL || stream_epoch(row->stream).data == NULL)", "    if (row == NULL)")],
      scenario=(KAFKA, "kafka_zombie")),
    M("lost-by-400", "a refusal counts as a lost race if the table has moved", "cloud/turn.c",
      [("        if (refused)\n", "        if (false)\n")], scenario=(COMMIT, "branch_400")),
    M("schema-check", "a schema that the table hasn't got is refused", "cloud/rule.c",
      [("turn->table.full, &why) != OK) {", "turn->table.full, &why) != OK && false) {")],
      scenario=(AGENT, "refused_then_mended")),
]


class Builder:
    def __init__(self, args):
        self.build, self.compile, self.libs = args.build, shlex.split(args.compile), shlex.split(args.libs)
        self.objects = dict(pair.split("=", 1) for pair in args.program)

    def mutate(self, mutant):
        """The object of the changed file."""
        with open(os.path.join(ROOT, mutant.file), encoding="utf-8") as file:
            text = file.read()
        for old, new in mutant.changes:
            if text.count(old) != 1:
                raise SystemExit(f"mutant {mutant.name}: {mutant.file} has this {text.count(old)} "
                                 f"times, not once:\n{old}")
            text = text.replace(old, new)
        directory = os.path.join(self.build, "mutants", mutant.name)
        os.makedirs(directory, exist_ok=True)
        source, output = os.path.join(directory, "mutant.c"), os.path.join(directory, "mutant.o")
        with open(source, "w", encoding="utf-8") as file:
            file.write(text)
        # The same include paths and flags as the product; what it then doesn't use is no mistake.
        command = self.compile + ["-w", "-c", "-o",
                                  output, source]
        subprocess.run(command, check=True)
        return output

    def link(self, mutant, output, program):
        path = os.path.join(os.path.dirname(output), program)
        parts = self.objects[program].split()
        objects = [part for part in parts if part.endswith(".o")]
        archives = [part for part in parts if part.endswith(".a")]
        extra = ["-lcmocka"] if "scenario" in program else []
        subprocess.run(self.compile + ["-o", path, output] + objects + ["-Wl,--start-group"] +
                       archives + ["-Wl,--end-group"] + extra + self.libs, check=True)
        return path


def simulate(path, schedules):
    """(found, what came back): a violation, or an assertion of the product."""
    run = subprocess.run([path, "--find", str(schedules)], capture_output=True, text=True)
    match = re.search(r"found within (\d+): (.*)", run.stdout)
    if match:
        return int(match.group(1)), match.group(2)
    if run.returncode < 0 or "assertion" in run.stderr:
        last = (run.stderr.strip().splitlines() or [f"signal {-run.returncode}"])[-1]
        return 1, "ended: " + last[:150]
    return None, run.stdout.strip()


def play(path, name):
    run = subprocess.run([path], capture_output=True, text=True)
    text = run.stdout + run.stderr
    if run.returncode == 0:
        return None, "all scenarios pass"
    # cmocka names each failed test; an assertion of the scene ends the program within one.
    failed = re.findall(r"\[  FAILED  \] (\w+)", text)
    started = re.findall(r"\[ RUN      \] (\w+)", text)
    if name in failed or (started and started[-1] == name):
        lines = [line for line in text.splitlines()
                 if re.search(r"!=|assertion failed|not true|FALSE", line)]
        return 1, (lines or ["fails"])[-1].strip()
    return None, f"{name} passes; {', '.join(failed) or 'nothing'} fails"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--compile", required=True)
    parser.add_argument("--libs", required=True)
    parser.add_argument("--program", action="append", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--schedules", type=int, default=0)
    args = parser.parse_args()
    builder = Builder(args)
    picked = [m for m in MUTANTS if args.only in m.name and (m.quick or not args.quick)]
    holes = []
    print(f"{'switched off':<18}{'found by':<43}what came back")
    for mutant in picked:
        start = time.monotonic()
        output = builder.mutate(mutant)
        if mutant.scenario:
            program, name = mutant.scenario
            found, what = play(builder.link(mutant, output, program), name)
            by = f"scenario {name}"
        else:
            schedules = args.schedules or mutant.schedules
            found, what = simulate(builder.link(mutant, output, "simulation"), schedules)
            by = f"schedule {found}" if found else f"NOTHING in {schedules} schedules"
        if found is None:
            holes.append(mutant.name)
        print(f"{mutant.name:<18}{by:<43}{what}", flush=True)
        if time.monotonic() - start > 600:
            print(f"  (took {time.monotonic() - start:.0f} s)")
    print(f"{len(picked) - len(holes)} mutants passed, {len(holes)} failed"
          + (f": not found: {', '.join(holes)}" if holes else ""))
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
