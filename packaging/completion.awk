# SPDX-License-Identifier: Apache-2.0
#
# Bash completion of a program from its --help and the rows of its options.def:
#
#   awk -v program=bidlake-agent -v rows=FILE -v tables="clicks ..." -f completion.awk HELP
#
# Commands are the entries of the help's section "Commands", flags all words that begin with
# two dashes in the first column of an entry. Rows give the words that an option can be. Where
# none of them fits, bash offers file names.
/^[A-Z][A-Za-z, ]*:$/ { section = $1 }
section == "Commands:" && /^  [a-z]/ {
    for (i = 1; i <= NF && $i ~ /,$/; i++)
        add_command($i)
    add_command($i)
    wants_table[$1] = wants_table[$1] || $2 == "TABLE" || $2 == "[TABLE]"
    if ($2 ~ /^\[--/)
        add_flag($2)
}
/^  --/ {
    add_flag($1)
    if ($1 ~ /,$/)
        add_flag($2)
}
/--[a-z]+[] ]/ && section == "Commands:" {
    for (i = 2; i <= NF; i++)
        if ($i ~ /^\[?--[a-z]+\]?;?$/)
            add_flag($i)
}
function add_command(word) {
    sub(/,$/, "", word)
    if (!(word in seen)) {
        seen[word] = 1
        commands = commands (commands != "" ? " " : "") word
    }
}
function add_flag(word) {
    gsub(/[],;[]/, "", word)
    if (!(word in seen)) {
        seen[word] = 1
        flags = flags (flags != "" ? " " : "") word
    }
}
END {
    if (flags == "") {
        print "completion.awk: no flags in " FILENAME >"/dev/stderr"
        exit 1
    }
    name = program
    gsub(/-/, "_", name)
    print "# bash completion of " program "; made from its --help"
    print "_" name "()"
    print "{"
    print "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words="
    print "    case $before in"
    while (rows != "" && (getline line <rows) > 0) {
        split(line, at, "\t")
        if (at[1] != "text" || at[4] == "")
            continue
        flag = at[2]
        gsub(/[._]/, "-", flag)
        gsub(/\|/, " ", at[4])
        print "        --" flag ") words=\"" at[4] "\" ;;"
    }
    for (word in wants_table)
        if (wants_table[word])
            tabled = tabled (tabled != "" ? "\n" : "") word
    count = split(tabled, list, "\n")
    for (i = 2; i <= count; i++) # sorted: the order of `in` is nobody's
        for (j = i; j > 1 && list[j] < list[j - 1]; j--) {
            line = list[j]
            list[j] = list[j - 1]
            list[j - 1] = line
        }
    for (i = 1; i <= count; i++)
        pattern = pattern (i > 1 ? "|" : "") list[i]
    if (pattern != "")
        print "        " pattern ") words=\"" tables "\" ;;"
    if (commands != "")
        print "        " program "|*/" program ") words=\"" commands "\" ;;"
    print "    esac"
    print "    [[ $current == -* ]] && words=\"" flags "\""
    print "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")"
    print "}"
    print "complete -o default -F _" name " " program
}
