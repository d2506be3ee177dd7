# SPDX-License-Identifier: Apache-2.0
#
# Banned calls, each with a safe way in lib/base or libc; and bare marks of unfinished work.
# Comments and strings are taken out first: only code is judged.
BEGIN {
    banned = "strcpy|strcat|strncpy|sprintf|vsprintf|strtok|gmtime|localtime|atoi|system"
}

# The line without strings, characters and comments; `inside` carries /* over lines.
function code(line,    out, c, i, n, quote) {
    out = ""
    n = length(line)
    for (i = 1; i <= n; i++) {
        c = substr(line, i, 1)
        if (inside) {
            if (substr(line, i, 2) == "*/") {
                inside = 0
                i++
            }
        } else if (quote != "") {
            if (c == "\\")
                i++
            else if (c == quote)
                quote = ""
        } else if (c == "\"" || c == "'") {
            quote = c
        } else if (substr(line, i, 2) == "/*") {
            inside = 1
            i++
        } else if (substr(line, i, 2) == "//") {
            break
        } else {
            out = out c
        }
    }
    return out
}

FNR == 1 { inside = 0 }
{
    text = inside || $0 ~ /["'\/]/ ? code($0) : $0
    if (match(text, "(^|[^A-Za-z0-9_.>])(" banned ")[ \t]*\\(")) {
        call = substr(text, RSTART, RLENGTH)
        gsub(/[^A-Za-z0-9_]/, "", call)
        print FILENAME ":" FNR ": banned call " call
    }
    if ($0 ~ /(TO)(DO)|(FIX)(ME)|(XX)(X:)/)
        print FILENAME ":" FNR ": unfinished work is no comment"
}
