# SPDX-License-Identifier: Apache-2.0
# Makes the page into a C string; blanks that only indent are left out.
BEGIN { print "static const char page_index[] =" }
{
    sub(/^ +/, "")
    if ($0 == "")
        next
    gsub(/["\\?]/, "\\\\&") # the question mark because of trigraphs
    printf "    \"%s\\n\"\n", $0
}
END { print "    ;" }
