# SPDX-License-Identifier: Apache-2.0
#
# Holds the #include lines to the DEPS_ table of the Makefile, which is the first file: a
# module includes itself and what its row names, and of another module only its public
# headers. Tests include what they like of the modules.

# Joins the continued lines of the table; sets deps[module].
FNR == 1 { in_makefile = (FILENAME ~ /(^|\/)Makefile$/) }
in_makefile {
    line = pending $0
    if (line ~ /\\$/) {
        pending = substr(line, 1, length(line) - 1)
        next
    }
    pending = ""
    if (line ~ /^DEPS_[a-z_\/]+ *:=/) {
        name = line
        sub(/^DEPS_/, "", name)
        sub(/ *:=.*/, "", name)
        sub(/^[^=]*=/, "", line)
        gsub(/\t/, " ", line)
        deps[name] = " " line " "
    }
    next
}

function folder(path) {
    sub(/\/[^\/]*$/, "", path)
    return path
}

# The headers of a module that others may include.
function public(header, module,    base) {
    if (module == "lib/base")
        return 1
    if (module == "lib/schema")
        return header ~ /\/(schema|mapping)\.h$/
    if (header == "lib/objstore/memory.h")
        return testing
    base = module
    sub(/.*\//, "", base)
    return header == module "/" base ".h"
}

function complain(what) {
    print FILENAME ":" FNR ": " what
}

FNR == 1 {
    module = folder(FILENAME)
    testing = (FILENAME ~ /^tests\//)
    if (!testing && !(module in deps))
        complain("folder " module " has no DEPS_ row in the Makefile")
}

/^#include "/ {
    header = $2
    gsub(/"/, "", header)
    target = folder(header)
    if (target == header || header ~ /\.\./) {
        complain("include \"" header "\" is not written from the root")
    } else if (testing) {
        if (target !~ /^tests\// && !(target in deps))
            complain("include of " header ": no such module")
    } else if (target != module) {
        if (index(deps[module] " ", " " target " ") == 0)
            complain("layers: " module " may not include " header)
        else if (!public(header, target))
            complain("layers: " header " is private to " target)
    }
}
