# SPDX-License-Identifier: Apache-2.0
#
# A function is at most 70 lines, from the brace on its own line at column 0 to the one
# that closes it; a file at most 800. Functions that are one long switch over opcodes may
# be named in `allowed`, each with its reason.
BEGIN {
    function_max = 70
    file_max = 800
}

function end_file() {
    if (file != "" && lines > file_max)
        print file ":" lines ": file has more than " file_max " lines"
}

FNR == 1 {
    end_file()
    file = FILENAME
    open = 0
}
{ lines = FNR }
/^\{/ {
    open = FNR
    next
}
/^\}/ && open > 0 {
    length_ = FNR - open + 1
    if (length_ > function_max)
        print FILENAME ":" open ": function of " length_ " lines, more than " function_max
    open = 0
}
END { end_file() }
