# SPDX-License-Identifier: Apache-2.0
#
# What holds for every text file: no trailing blanks, a line end at the end; for sources,
# scripts and rules also: one SPDX line near the top, at most 100 columns (characters; lines
# of a *.def are tables and may be longer). Addresses of private
# machines and mirrors have no place in what others build.
function end_file() {
    if (file != "" && source && spdx != 1)
        print file ":1: " (spdx == 0 ? "no SPDX line" : "more than one SPDX line")
}

FNR == 1 {
    end_file()
    file = FILENAME
    spdx = 0
    source = (FILENAME ~ /\.(c|h|def|awk|sh)$/ || FILENAME ~ /^\.ci\/run$/)
    limit = source && FILENAME !~ /\.def$/ ? 100 : 0
    lint = (FILENAME ~ /^tests\/lint\//)
}
source && /SPDX-License-Identifier: / && !lint { spdx++ }
source && lint && FNR <= 2 && /SPDX-License-Identifier: / { spdx = 1 }
/[ \t\r]$/ { print FILENAME ":" FNR ": blanks at the end of the line" }
# Not every awk knows UTF-8: the bytes that continue a character are taken out first.
limit && length($0) > limit && (text = $0) != "" && gsub(/[\200-\277]/, "", text) >= 0 &&
    length(text) > limit { print FILENAME ":" FNR ": more than " limit " columns" }
!lint && match($0, /(^|[^A-Za-z0-9_.])\/(work|root|home)\/[a-z]+/) {
    print FILENAME ":" FNR ": path of one machine: " substr($0, RSTART, RLENGTH)
}
!lint && match($0, /(https?:\/\/)[^ \/]*(artifactory|nexus|pypi|mirror|registry|proxy)[^ \/]*\//) {
    print FILENAME ":" FNR ": host of a package registry: " substr($0, RSTART, RLENGTH)
}
END { end_file() }
