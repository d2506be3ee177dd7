#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs libFuzzer on each target named for FUZZ_SECONDS (10), beginning with its corpus,
# FUZZ_JOBS (as many as there are cores) at a time; FUZZ_SEED (drawn) makes the inputs the
# same again, as far as the time reaches. What it finds is left in
# build/findings/<target>; new inputs are not kept.
build=build/san-fuzzer-no-link-address-undefined
jobs=${FUZZ_JOBS:-$(nproc)}

# TARGET: one run; leaves build/fuzz-<target>.failed behind when something was found.
if [ "$1" = --one ]; then
    target=$2
    scratch=$(mktemp -d) || exit 1
    trap 'rm -rf "$scratch"' EXIT
    mkdir -p "build/findings/$target"
    rm -f "build/fuzz-$target.failed"
    if "$build/libfuzzer/$target" -max_total_time="${FUZZ_SECONDS:-10}" -timeout=20 \
        -seed="${FUZZ_SEED:-0}" \
        -rss_limit_mb=2048 -artifact_prefix="build/findings/$target/" "$scratch" \
        "tests/fuzz/corpus/${target%_fuzz}" >"build/fuzz-$target.log" 2>&1; then
        echo "$target: $(grep -E '^(Done|stat::number)' "build/fuzz-$target.log" | head -n 1)"
    else
        touch "build/fuzz-$target.failed"
        echo "FAILED $target, see build/findings/$target"
        tail -n 40 "build/fuzz-$target.log"
    fi
    exit 0
fi

mkdir -p build
binaries=$(printf "$build/libfuzzer/%s\n" "$@")
# shellcheck disable=SC2086 # one word for each target
make --no-print-directory -j"$jobs" CC=clang SAN=fuzzer-no-link,address,undefined \
    $binaries >build/fuzz-make.log 2>&1 || {
    tail -n 20 build/fuzz-make.log
    exit 1
}
rm -f build/fuzz-*.failed
printf '%s\n' "$@" | xargs -n 1 -P "$jobs" "$0" --one
failed=$(find build -maxdepth 1 -name 'fuzz-*.failed' | wc -l)
echo "$(($# - failed)) fuzzers passed, $failed failed"
[ "$failed" -eq 0 ]
