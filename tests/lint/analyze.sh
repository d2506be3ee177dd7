#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# cppcheck and clang's analyzer over the product's sources. What was read and answered
# stands in suppressions/ with its reason; whatever is new fails. clang's findings are kept
# in build/analyze by file, so that only what changed is looked at again.
set -u
cd "$(dirname "$0")/../.." || exit 2
lint=tests/lint/suppressions
cache=build/analyze
mkdir -p $cache
for tool in cppcheck clang; do
    command -v $tool >/dev/null || {
        echo "$tool is missing: it is packaged under its own name by Debian and Fedora"
        exit 1
    }
done
make --no-print-directory -s build/release/lib/schema/presets.inc || exit 1
sources=$(git ls-files 'agent/*.c' 'cloud/*.c' 'lib/*.c' 'spool/*.c' 'uploader/*.c')

# shellcheck disable=SC2086
cppcheck -q --std=c11 --enable=warning,portability,performance --inline-suppr \
    --suppress=missingIncludeSystem --suppressions-list=$lint/cppcheck.txt \
    -I. -Ibuild/release -D_GNU_SOURCE '-DBIDLAKE_VERSION="0"' \
    --include=tests/lint/cppcheck_macros.h --template='{file}:{line}: {message} [{id}]' \
    --template-location= $sources >$cache/found 2>&1

# A file is analyzed again when it or any header is newer than what is known of it.
newest=$(git ls-files '*.h' '*.def' | xargs ls -t | head -n 1)
cat >$cache/one.sh <<'EOF'
file=$1
known=build/analyze/$(echo "$file" | tr / _).txt
[ "$known" -nt "$file" ] && [ "$known" -nt "$2" ] && [ "$known" -nt "$0.flags" ] && exit 0
clang --analyze -Xclang -analyzer-output=text -std=c11 -D_GNU_SOURCE \
    '-DBIDLAKE_VERSION="0"' -I. -Ibuild/release -o /dev/null "$file" >"$known.tmp" 2>&1 &&
    mv "$known.tmp" "$known"
EOF
clang --version >$cache/flags.new
cmp -s $cache/flags.new $cache/one.sh.flags || mv $cache/flags.new $cache/one.sh.flags
echo "$sources" | xargs -P 2 -I FILE sh $cache/one.sh FILE "$newest" || {
    echo "clang could not read a file"
    exit 1
}
for file in $sources; do
    grep -hE '(warning|error): ' "$cache/$(echo "$file" | tr / _).txt"
done | sed 's,^\./,,' | sort -u >$cache/clang
# An answered finding is its file and message, without the line, which moves.
grep -v '^#' $lint/clang.txt | sort -u >$cache/answered
sed -E 's/:[0-9]+:[0-9]+: (warning|error): /: /' $cache/clang | paste -d '\t' - $cache/clang |
    awk -F '\t' -v list=$cache/answered '
        BEGIN { while ((getline line <list) > 0) answered[line] = 1 }
        !($1 in answered) { print $2 }' >>$cache/found
cat $cache/found
echo "analyze: $(echo "$sources" | wc -l) files, $(wc -l <$cache/found) findings without an answer"
[ ! -s $cache/found ]
