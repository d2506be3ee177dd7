#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A lint that finds nothing is silent in the same way as one that doesn't look: each rule is
# broken once in a small copy of the tree, and must be named with file and line.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
copy=$dir/tree

cd "$root" || exit 2
mkdir -p "$copy/lib/base" "$copy/lib/json" "$copy/spool" "$copy/tests/unit"
cp Makefile .clang-format "$copy"
cp lib/base/error.[ch] "$copy/lib/base"
git -C "$copy" init -q
git -C "$copy" add -A

# NAME FILE EXPECTED: the lint of the copy, with the file from stdin, says FILE:EXPECTED.
plant() {
    cat >"$copy/$2"
    if "$root/tests/lint/lint.sh" "$copy" >"$dir/said" 2>&1; then
        echo "FAILED $1: lint was content" | tee -a "$dir/failed"
    elif grep -q "^$2:$3" "$dir/said"; then
        echo "$1" >>"$dir/passed"
    else
        echo "FAILED $1: no \"$2:$3\"" | tee -a "$dir/failed"
        cat "$dir/said"
    fi
    rm -f "${copy:?}/$2"
}

spdx='/* SPDX-License-Identifier: Apache-2.0 */'

if ! "$root/tests/lint/lint.sh" "$copy"; then
    echo "FAILED the copy must be clean before anything is planted"
    exit 1
fi

{ echo "$spdx"; echo '#include "spool/spool.h"'; } | plant "step up" lib/json/x.c '2: layers'
{ echo "$spdx"; echo '#include "lib/json/private.h"'; } |
    plant "source outside the modules" cloud.h '1: folder'
mkdir -p "$copy/cloud"
{ echo "$spdx"; echo '#include "lib/json/private.h"'; } |
    plant "private header" cloud/x.h '2: layers: lib/json/private.h is private'
{ echo "$spdx"; echo '#include "lib/objstore/memory.h"'; } |
    plant "memory store outside tests" cloud/x.h '2: layers: lib/objstore/memory.h is private'
{ echo "$spdx"; echo '#include "../base/error.h"'; } |
    plant "relative include" cloud/x.h '2: include'
{ echo "$spdx"; echo '#include "lib/nowhere/x.h"'; } |
    plant "unknown module" tests/unit/x_test.c '2: include of lib/nowhere'
{
    echo "$spdx"
    echo 'void x(void);'
    echo 'void x(void)'
    echo '{'
    yes '    x();' | head -n 70
    echo '}'
} | plant "long function" spool/x.c '4: function of 72 lines'
{ echo "$spdx"; yes 'extern int x;' | head -n 800; } | plant "long file" spool/x.c '801: file'
for call in strcpy strcat strncpy sprintf strtok gmtime localtime atoi system; do
    { echo "$spdx"; echo "int x = $call(y);"; } |
        plant "banned $call" spool/x.c "2: banned call $call"
done
{ echo "$spdx"; echo 'int x = 1; /* never */ int y = atoi(z);'; } |
    plant "banned call behind a comment" spool/x.c '2: banned call atoi'
{ echo "$spdx"; printf '/* %s: later */\n' 'TO''DO'; } |
    plant "unfinished" spool/x.c '2: unfinished'
{ echo "$spdx"; printf '/* %s */\n' "$(printf '%096d' 0)"; } |
    plant "wide" spool/x.c '2: more than 100'
echo 'int x;' | plant "no SPDX" spool/x.c '1: no SPDX'
{ echo "$spdx"; echo "$spdx"; } | plant "two SPDX" spool/x.c '1: more than one SPDX'
echo 'trailing ' | plant "trailing blank" spool/README.md '1: blanks at the end'
printf 'tab\t\n' | plant "trailing tab" spool/README.md '1: blanks at the end'
printf 'see %s\n' '/wo''rk/tree' | plant "machine path" spool/README.md '1: path of one machine'
printf 'from https://pypi.%s/simple/\n' example | plant "registry" spool/README.md '1: host of a'
{ echo "$spdx"; echo 'int  x;'; } | plant "format" spool/x.c '2:.*clang-format'
printf '#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\nif true\n' |
    plant "broken script" tests/unit/x.sh '4: Syntax error'
printf '#!/bin/bash\n# SPDX-License-Identifier: Apache-2.0\nif true\n' |
    plant "broken bash script" tests/unit/x.sh '4: syntax error'

# What looks like a violation and is none: else people learn to write around the lint.
cat >"$copy/spool/x.c" <<'END'
/* SPDX-License-Identifier: Apache-2.0
 *
 * Never call strcpy(a, b) or system("x") here.
 */
#include "lib/base/error.h"

const char *text = "atoi(1) and sprintf(2) in a string";
int my_system(int x);
/* ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé */
END
if ! "$root/tests/lint/lint.sh" "$copy"; then
    echo "FAILED harmless text" | tee -a "$dir/failed"
fi
passed=$(wc -l <"$dir/passed")
failed=$(cat "$dir/failed" 2>/dev/null | wc -l)
echo "lint: $passed violations found, $failed missed or wrong"
[ "$passed" -gt 0 ] && [ "$failed" -eq 0 ]
