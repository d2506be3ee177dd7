# SPDX-License-Identifier: Apache-2.0
#
# A manual page from a frame (*.in, man(7) with places to fill) and what the program itself
# says, so that the two cannot drift:
#
#   awk -v help=FILE -v rows=FILE -v title=.. -v date=.. -v version=.. -f page.awk FRAME
#
# `help` holds the program's --help, `rows` the rows of an options.def as rows.inc and rows.awk
# make them. In the frame a line @SYNOPSIS@ becomes the usage, @HELP@ all sections of the help,
# @KEYS@ the rows as keys of the YAML file. A section of the help that is made of
# "  term   text" lines becomes a list, what goes on in the same column its text.
function fail(text) {
    print "page.awk: " FILENAME ": " text >"/dev/stderr"
    failed = 1
    exit 1
}

# Text for roff: nothing in it is a request or an escape; dashes of flags are dashes.
function plain(text) {
    gsub(/\\/, "\\e", text)
    gsub(/--/, "\\-\\-", text)
    gsub(/ -/, " \\-", text)
    return text ~ /^[.']/ ? "\\&" text : text
}

function literal(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    return text
}

function end_entry() {
    if (term != "")
        printf ".TP\n.B %s\n%s\n", literal(term), body != "" ? plain(body) : "\\&"
    headed = headed && term == ""
    term = body = ""
}

function end_prose() {
    if (prose != "")
        printf "%s%s\n", headed ? "" : ".PP\n", plain(prose)
    headed = headed && prose == ""
    prose = ""
}

# "  term  text", "  --flag VALUE text" (one blank where the term is as wide as the column)
# or "  term": the column of the text is where it stands in the section's first entry.
function take_entry(line,   at) {
    end_entry()
    match(line, /^  [^ ]+( [^ ]+)*  +/)
    at = RLENGTH + 1
    if (RLENGTH < 0 && column > 0 && length(line) > column &&
        substr(line, column - 1, 1) == " ") {
        at = column
        match(line, /^ +/)
    }
    if (at <= 0) {
        term = substr(line, 3)
        return
    }
    column = at
    term = substr(line, 3, at - 3)
    sub(/ +$/, "", term)
    body = substr(line, at)
}

function print_help(   line, section, gap) {
    while ((getline line <help) > 0) {
        if (tolower(line) ~ /^usage: /)
            continue
        if (line == "") {
            end_entry()
            end_prose()
            continue
        }
        if (line ~ /^[A-Z][A-Za-z, ]*:$/) {
            end_entry()
            end_prose()
            sub(/:$/, "", line)
            printf ".SH %s\n", toupper(line)
            headed = 1
            column = 0
        } else if (line ~ /^   +[^ ]/ && term != "") {
            sub(/^ +/, "", line)
            body = body (body != "" ? " " : "") line
        } else if (line ~ /^  [^ ]/) {
            take_entry(line)
        } else {
            end_entry()
            if (sub(/^Exit: /, "", line)) {
                end_prose()
                print ".SH EXIT STATUS"
                headed = 1
            }
            prose = prose (prose != "" ? " " : "") line
        }
        sections++
    }
    end_entry()
    end_prose()
    if (sections < 3)
        fail(help " has no sections")
}

function print_synopsis(   line) {
    if ((getline line <help) <= 0 || tolower(line) !~ /^usage: /)
        fail(help " does not begin with the usage")
    close(help)
    printf ".B %s\n%s\n", literal(substr(line, 8, index(substr(line, 8), " ") - 1)),
        plain(substr(line, 8 + index(substr(line, 8), " ")))
}

# kind TAB key TAB default TAB min TAB max TAB help
function print_keys(   line, at, kind, range, count) {
    kind["text"] = "text"
    kind["bytes"] = "size: KiB, MiB, GiB"
    kind["ms"] = "time: ms, s, m, h, d"
    kind["count"] = "number"
    while ((getline line <rows) > 0) {
        split(line, at, "\t")
        if (!(at[1] in kind))
            fail("a row of an unknown kind: " line)
        range = kind[at[1]]
        if (at[1] != "text")
            range = range "; " at[4] " to " at[5]
        else if (at[4] != "")
            range = range ": " at[4]
        printf ".TP\n.BR %s \" (%s)\"\n%s\n", literal(at[2]), plain(range), plain(at[6])
        if (at[3] != "")
            printf "Default: %s.\n", literal(at[3])
        count++
    }
    if (count < 5)
        fail(rows " has no rows")
}

/^@SYNOPSIS@$/ { print_synopsis(); next }
/^@HELP@$/ { headed = before ~ /^\.SH/; print_help(); next }
/^@KEYS@$/ { print_keys(); next }
{
    before = $0
    gsub(/@TITLE@/, title)
    gsub(/@DATE@/, date)
    gsub(/@VERSION@/, version)
    gsub(/@SYSCONFDIR@/, sysconfdir)
    print
}
END { exit failed }
