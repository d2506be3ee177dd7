#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs libFuzzer on each target named for FUZZ_SECONDS (10), beginning with its corpus. What
# it finds is left in build/findings/<target>; new inputs are not kept.
seconds=${FUZZ_SECONDS:-10}
build=build/san-fuzzer-no-link-address-undefined
failed=0
for target in "$@"; do
    make --no-print-directory CC=clang SAN=fuzzer-no-link,address,undefined \
        "$build/libfuzzer/$target" >"build/fuzz-make.log" 2>&1 || {
        tail -n 20 build/fuzz-make.log
        exit 1
    }
    scratch=$(mktemp -d) || exit 1
    mkdir -p "build/findings/$target"
    name=${target%_fuzz}
    if "$build/libfuzzer/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="build/findings/$target/" "$scratch" "tests/fuzz/corpus/$name" \
        >"build/fuzz-$target.log" 2>&1; then
        echo "$target: $(grep -E '^(Done|stat::number)' "build/fuzz-$target.log" | head -n 1)"
    else
        failed=1
        echo "FAILED $target, see build/findings/$target"
        tail -n 40 "build/fuzz-$target.log"
    fi
    rm -rf "$scratch"
done
exit $failed
