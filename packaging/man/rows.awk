# SPDX-License-Identifier: Apache-2.0
#
# Rows of rows.inc, preprocessed, to lines: kind TAB key TAB default TAB min TAB max TAB help.
{ text = text " " $0 }
END {
    count = split(text, row, /ROW_(BEGIN|END)/)
    for (i = 2; i <= count; i += 2) {
        kind = row[i]
        sub(/".*/, "", kind)
        gsub(/ /, "", kind)
        sub(/^[^"]*/, "", row[i])
        line = kind
        fields = 0
        while (match(row[i], /"([^"\\]|\\.)*"( +"([^"\\]|\\.)*")*/) && fields < 5) {
            # The four first are one string each, the help may be of several.
            if (fields < 4)
                match(row[i], /"([^"\\]|\\.)*"/)
            field = substr(row[i], RSTART + 1, RLENGTH - 2)
            gsub(/" +"/, "", field)
            gsub(/\\"/, "\"", field)
            line = line "\t" field
            row[i] = substr(row[i], RSTART + RLENGTH)
            fields++
        }
        if (fields != 5) {
            print "rows.awk: a row with " fields " texts: " row[i] >"/dev/stderr"
            exit 1
        }
        print line
    }
}
