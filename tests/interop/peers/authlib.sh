#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A token service by Authlib behind Flask: client credentials (in the body or as Basic), tokens
# exchanged for fresh ones, and introspection (RFC 7662) for who has to know whether a token is one.
#   authlib.sh run PORT SECONDS    how long tokens live; client "bidlake", secret "s3cr:t&"
. "$(dirname "$0")/common.sh"
place=$peers/authlib
pins="Authlib==1.6.5 Flask==3.1.2"

do_install() {
    lock
    is_installed "$pins" && return 0
    rm -rf "$place"
    # shellcheck disable=SC2086
    "$root/.cache/venv/bin/python" -m pip install -q --disable-pip-version-check \
        --target "$place" $pins
    mark_installed "$pins"
}

do_run() {
    PYTHONPATH=$place AUTHLIB_INSECURE_TRANSPORT=1 exec \
        "$root/.cache/venv/bin/python" -B "$here/authlib_server.py" "$@"
}

main "$@"
