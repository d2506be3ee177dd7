# SPDX-License-Identifier: Apache-2.0
# Makes each YAML file named into a C string preset_<name>.
FNR == 1 {
    if (NR > 1)
        print "    ;"
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.yaml$/, "", name)
    printf "static const char preset_%s[] =\n", name
}
/\\/ {
    print FILENAME ": no backslashes in a preset" > "/dev/stderr"
    exit 1
}
{
    gsub(/"/, "\\\"")
    printf "    \"%s\\n\"\n", $0
}
END { print "    ;" }
