#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The rules of this tree that a machine can hold; prints "file:line: what", exit 1 if
# anything was said. Looks at what git tracks, plus what is new and not ignored, so that a
# file is judged before its first commit.
set -u
lint=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$lint/../..}" || exit 2
found=$(mktemp) || exit 2
trap 'rm -f "$found"' EXIT

# Bytes, for all tools alike; text.awk counts characters by itself.
LC_ALL=C
export LC_ALL

# Names with blanks are not used here, which the first rule makes sure of.
list() {
    git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r name; do
        [ -f "$name" ] && printf '%s\n' "$name"
    done
}
git ls-files | grep '[^A-Za-z0-9_./-]' | sed 's/$/:1: characters in the name/' >>"$found"

sources=$(list '*.c' '*.h')
scripts=$(list '*.sh' '.ci/run')
texts=$(list '*.c' '*.h' '*.def' '*.awk' '*.sh' '*.md' '*.mk' '*.yaml' '*.py' Makefile .ci/run)

# shellcheck disable=SC2086
{
    awk -f "$lint/layers.awk" Makefile $sources
    awk -f "$lint/functions.awk" $sources
    awk -f "$lint/calls.awk" $sources
    awk -f "$lint/text.awk" $texts
    for script in $scripts; do
        case $(head -n 1 "$script") in
        *bash*) bash -n "$script" ;;
        *) sh -n "$script" ;;
        esac
    done 2>&1 | sed -E 's/^([^:]+): (line )?([0-9]+): /\1:\3: /'
} >>"$found" 2>&1

# shellcheck disable=SC2086
if command -v clang-format >/dev/null 2>&1; then
    printf '%s\n' $sources | xargs -n 20 -P 2 clang-format --dry-run -Werror 2>&1 |
        grep -E '^[^ ].*: error: ' >>"$found"
else
    echo "Makefile:1: clang-format is missing: packaging/install-dependencies.sh build" >>"$found"
fi
# shellcheck disable=SC2086
if [ -n "$scripts" ] && command -v shellcheck >/dev/null 2>&1; then
    shellcheck -f gcc -S warning $scripts >>"$found"
fi

count=$(wc -l <"$found")
cat "$found"
echo "lint: $(printf '%s\n' "$texts" | wc -l) files, $count complaints"
[ "$count" -eq 0 ]
