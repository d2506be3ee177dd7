#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Gives each fuzz target named its corpus: tests/fuzz/corpus/<target without _fuzz>.
passed=0
failed=0
for target in "$@"; do
    name=$(basename "$target" _fuzz)
    if timeout 60 "$target" "tests/fuzz/corpus/$name" >"$target.log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $target"
        tail -n 30 "$target.log"
    fi
done
echo "$passed corpora passed, $failed failed"
[ "$failed" -eq 0 ]
