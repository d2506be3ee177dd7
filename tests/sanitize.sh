#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The tests again with sanitizers, each in a build of its own: first address and undefined
# behaviour, then threads; or those named ("address,undefined"). A report of any process,
# also of one whose exit nobody looks at, is a failure: they are collected in
# build/findings. SCHEDULES=200 of the simulation; STEPS, PATIENCE: see below.
schedules=${SCHEDULES:-200}
[ $# -gt 0 ] || set -- address,undefined thread
findings=$PWD/build/findings
suppressions=$PWD/tests/lint/suppressions
# Sanitizers make programs 3 to 10 times slower: so do the deadlines of the tests.
export BIDLAKE_TEST_PATIENCE="${PATIENCE:-6}" TEST_TIMEOUT=900
failed=
for variant in "$@"; do
    out=$findings/$(echo "$variant" | tr , -)
    rm -rf "$out"
    mkdir -p "$out"
    export ASAN_OPTIONS="log_path=$out/asan:detect_stack_use_after_return=0"
    export LSAN_OPTIONS="suppressions=$suppressions/leak.txt:print_suppressions=0"
    export UBSAN_OPTIONS="log_path=$out/ubsan:print_stacktrace=1"
    export TSAN_OPTIONS="log_path=$out/tsan:suppressions=$suppressions/thread.txt"
    make --no-print-directory -s -j2 SAN="$variant" all || exit 1
    for step in ${STEPS:-unit corpus scenarios simulation e2e}; do
        echo "$variant: $step"
        make --no-print-directory -s SAN="$variant" SCHEDULES="$schedules" "$step" ||
            failed="$failed $variant/$step"
    done
    for report in "$out"/*; do
        [ -s "$report" ] || continue
        # ASan says once a process that it can't know of the simulation's own stacks.
        grep -qv "ASan doesn't fully support makecontext" "$report" || continue
        failed="$failed $report"
        head -n 40 "$report"
    done
done
[ -z "$failed" ] && echo "sanitizers: nothing found" && exit 0
echo "FAILED$failed"
exit 1
