#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs the test programs given, each with a deadline; prints what fails, then a count.
passed=0
failed=0
for program in "$@"; do
    log=$program.log
    if timeout "${TEST_TIMEOUT:-120}" "$program" >"$log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $program (exit $?)"
        grep -v '^\[ *\(OK\|RUN\) *\]' "$log" | tail -n 40
    fi
done
echo "$passed programs passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
