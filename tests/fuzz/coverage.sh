#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# How much the corpora reach: builds every target with clang's coverage, replays its corpus
# (and FUZZ_EXTRA/<target>, if there is one) and prints lines and branches of each file
# under them. With a file's name: the lines of it that no input reached.
build=build/coverage
show=$1
targets=$(basename -s .c tests/fuzz/*_fuzz.c)
programs=$(for target in $targets; do echo "$build/fuzz/$target"; done)
tools=$(dirname "$(readlink -f "$(command -v clang)")")
# shellcheck disable=SC2086
make --no-print-directory -s -j2 CC=clang BUILD=$build \
    CFLAGS="-O1 -fprofile-instr-generate -fcoverage-mapping" $programs || exit 1
rm -f $build/*.profraw
for target in $targets; do
    name=${target%_fuzz}
    set -- "tests/fuzz/corpus/$name"
    [ -n "$FUZZ_EXTRA" ] && [ -d "$FUZZ_EXTRA/$name" ] && set -- "$@" "$FUZZ_EXTRA/$name"
    LLVM_PROFILE_FILE="$build/$name.profraw" timeout 600 "$build/fuzz/$target" "$@" >/dev/null ||
        echo "FAILED $target"
done
"$tools/llvm-profdata" merge -o $build/all.profdata $build/*.profraw || exit 1
set --
for program in $programs; do
    set -- "$@" -object "$program"
done
shift # the first stands without -object
if [ -n "$show" ]; then
    "$tools/llvm-cov" show "$@" -instr-profile=$build/all.profdata "$show" |
        grep -E '^ +[0-9]+\| +0\|'
    exit 0
fi
"$tools/llvm-cov" report "$@" -instr-profile=$build/all.profdata 2>/dev/null |
    awk '/^(Filename|TOTAL)/ || $1 ~ /^(lib|spool|agent|cloud|uploader)\// {
        printf "%-36s %9s %9s\n", $1, NR == 1 ? "Lines" : $10, NR == 1 ? "Branches" : $13 }'
