#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The whole way, by the programs that production has: generator -> HTTP -> agent -> spool ->
# Parquet -> store -> announcement -> commit service -> Iceberg tables. `make demo` builds
# first and then calls this.
#
#   DEMO_EVENTS  bid requests to make (200000)
#   DEMO_RATE    bid requests a second (20000; 0: as fast as it can)
#   DEMO_DIR     where everything goes (./demo); a second run takes away what the first made
#   DEMO_SEED    another number makes other events (1)
#
# Progress is a bar on a terminal and plain lines elsewhere; the report goes to stdout. Ends
# with 1 if a table has not exactly the rows that were generated.
set -eu

# awk prints 0,5 where the locale does, and no program reads that.
export LC_ALL=C

requests=${DEMO_EVENTS:-200000}
rate=${DEMO_RATE:-20000}
seed=${DEMO_SEED:-1}
bin=$(cd "${BIN:-$(dirname "$0")/../build/release}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
python=$here/../.cache/venv/bin/python
tables='bid_requests bid_responses impressions clicks'
marker=.bidlake-demo

fail() {
    [ ! -t 2 ] || printf '\n' >&2
    echo "demo: $*" >&2
    exit 1
}

case $requests in
'' | *[!0-9]* | 0*) fail "DEMO_EVENTS: \"$requests\" is no number above 0" ;;
esac
case $rate in
'' | *[!0-9]*) fail "DEMO_RATE: \"$rate\" is no number" ;;
esac

# Only what a demo made is taken away, and only where one has been.
prepare_directory() {
    mkdir -p "$1"
    dir=$(cd "$1" && pwd)
    if [ ! -e "$dir/$marker" ] && [ -n "$(ls -A "$dir")" ]; then
        fail "$dir is not empty and not of a demo: name another DEMO_DIR"
    fi
    : >"$dir/$marker"
    rm -rf "$dir/events" "$dir/warehouse" "$dir/spool" "$dir/logs"
    rm -f "$dir/catalog.db" "$dir/catalog.db-journal" "$dir/catalog.db-wal" "$dir/catalog.db-shm"
    mkdir "$dir/warehouse" "$dir/logs"
}

# ---- numbers ----

commas() {
    printf '%s\n' "$1" | sed -e ':a' -e 's/^\(-\{0,1\}[0-9]\{1,\}\)\([0-9]\{3\}\)/\1,\2/' -e 'ta'
}

calculate() { # FORMAT EXPRESSION
    awk "BEGIN { printf \"$1\", ($2) }"
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

# The first number behind "NAME": in the JSON on stdin.
number() {
    sed -n "s/.*\"$1\": *\([0-9][0-9]*\).*/\1/p" | head -n 1
}

# TABLE NAME: what the generator counted.
generated() {
    sed "s/\"countries\".*//; s/.*\"$1\":{\([^}]*\)}.*/{\1}/" "$dir/logs/gen.json" |
        number "$2"
}

# TABLE NAME: what the catalog's table has.
committed() {
    tr '}' '\n' <"$dir/logs/tables.json" | grep "\"db.$1\"" | number "$2"
}

# ---- progress: "percent text" ----

progress() {
    if [ -t 2 ]; then
        filled=$(($1 * 30 / 100))
        bar=$(printf '%*s' "$filled" '' | tr ' ' '#')
        printf '\r\033[K[%-30s] %3d%%  %s' "$bar" "$1" "$2" >&2
        [ "$1" -lt 100 ] || printf '\n' >&2
    elif [ "${3:-}" != moving ]; then
        printf '%3d%%  %s\n' "$1" "$2" >&2
    fi
}

# ---- the processes ----

# NAME PID: ends a process of ours and waits for it.
end() {
    kill "$2" 2>/dev/null || true
    wait "$2" || fail "$1: exit $?: $(tail -n 2 "$dir/logs/$1.log")"
}

# An interrupted demo leaves nothing running.
leave() {
    for pid in ${generator:-} ${agent:-} ${service:-}; do
        kill "$pid" 2>/dev/null || true
    done
}

start_service() {
    "$bin/bidlake-commit" init --warehouse "file://$dir/warehouse" \
        --catalog "sqlite:$dir/catalog.db" >"$dir/logs/init.log" 2>&1 ||
        fail "bidlake-commit init failed: $(tail -n 2 "$dir/logs/init.log")"
    "$bin/bidlake-commit" serve --interval 5s --warehouse "file://$dir/warehouse" \
        --catalog "sqlite:$dir/catalog.db" --json \
        >"$dir/logs/commit.json" 2>"$dir/logs/commit.log" &
    service=$!
}

# On a free port, which is in the log once it listens.
start_agent() {
    "$bin/bidlake-agent" run --warehouse "file://$dir/warehouse" --spool "$dir/spool" \
        --roll-age 10s --listen http:127.0.0.1:0 --operations 127.0.0.1:0 \
        2>"$dir/logs/agent.log" &
    agent=$!
    tries=0
    while ! grep -q 'msg="ready"' "$dir/logs/agent.log"; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ] || ! kill -0 "$agent" 2>/dev/null; then
            fail "bidlake-agent run: $(tail -n 2 "$dir/logs/agent.log")"
        fi
        sleep 0.1
    done
    url=http://$(sed -n 's/.*kind=http address=\([^ ]*\).*/\1/p' "$dir/logs/agent.log")
}

# The events are spread over 26 hours, so that there is more than one day's partition.
run_generator() {
    time_rate=$(calculate %.6f "$requests / 93600")
    start=$((($(now_ms) / 1000 - 95000) * 1000))
    env -u KAFKA_BOOTSTRAP_SERVERS "$bin/bidlake-gen" --to "$url" --events-per-second "$rate" \
        --count "$requests" --seed "$seed" --start "$start" --time-rate "$time_rate" --json \
        >"$dir/logs/gen.json" 2>"$dir/logs/gen.log" &
    generator=$!
    from_ms=$(now_ms)
    while kill -0 "$generator" 2>/dev/null; do
        due=$(calculate %d "$rate * ($(now_ms) - $from_ms) / 10 / $requests")
        [ "$due" -lt 95 ] || due=95
        progress $((5 + due * 85 / 100)) "events over HTTP to $url" moving
        sleep 0.2
    done
    wait "$generator" || fail "bidlake-gen: exit $?: $(tail -n 2 "$dir/logs/gen.log")"
    generator=
}

run_all() {
    progress 1 "commit service: tables"
    start_service
    progress 3 "agent: starts"
    start_agent
    progress 5 "generator: $(commas "$requests") requests and what follows them, to $url"
    start_ms=$(now_ms)
    run_generator
    progress 90 "agent: stops, delivers what it has"
    end agent "$agent"
    agent=
    progress 95 "commit service: last turn"
    end commit "$service"
    service=
    "$bin/bidlake-commit" once --warehouse "file://$dir/warehouse" \
        --catalog "sqlite:$dir/catalog.db" --json \
        >>"$dir/logs/commit.json" 2>>"$dir/logs/commit.log" ||
        fail "bidlake-commit once failed: $(tail -n 2 "$dir/logs/commit.log")"
    end_ms=$(now_ms)
    "$bin/bidlake-table" ls --json --warehouse "file://$dir/warehouse" \
        --catalog "sqlite:$dir/catalog.db" >"$dir/logs/tables.json"
    progress 100 "done"
}

# ---- the report ----

report_tables() {
    events=0
    bytes_in=0
    bytes_out=0
    wrong=0
    printf '\n%-14s %12s %12s %8s %15s %15s\n' table events rows files 'bytes in' 'bytes out'
    for table in $tables; do
        rows=$(committed "$table" rows)
        size=$(committed "$table" bytes)
        printf '%-14s %12s %12s %8s %15s %15s\n' "$table" \
            "$(commas "$(generated "$table" events)")" "$(commas "${rows:-0}")" \
            "$(committed "$table" files)" "$(commas "$(generated "$table" bytes)")" \
            "$(commas "${size:-0}")"
        events=$((events + $(generated "$table" events)))
        bytes_in=$((bytes_in + $(generated "$table" bytes)))
        bytes_out=$((bytes_out + ${size:-0}))
        if [ "${rows:-0}" != "$(generated "$table" rows)" ]; then
            echo "  WRONG: $(generated "$table" rows) rows were generated"
            wrong=1
        fi
    done
    seconds=$(calculate %.2f "($end_ms - $start_ms) / 1000")
    answers=$(sed 's/.*"latency_ms"//' "$dir/logs/gen.json")
    echo
    echo "$(commas "$events") events in $seconds s, from the first request to the committed" \
        "table; a durable answer took"
    echo "$(echo "$answers" | sed 's/.*"p50":\([0-9.]*\).*/\1/') ms (p50)," \
        "$(echo "$answers" | sed 's/.*"p99":\([0-9.]*\).*/\1/') ms (p99)"
    echo "$(commas "$bytes_in") bytes in, $(commas "$bytes_out") bytes out" \
        "($(calculate %.1f "$bytes_in / ($bytes_out > 0 ? $bytes_out : 1)") : 1)"
}

share() { # OF ALL
    calculate %.2f%% "$2 > 0 ? 100 * $1 / $2 : 0"
}

# What the tables hold, read by somebody else. Without such a reader the manifests' counts
# stand for it: the rates, and impressions by country as far as files hold one country each.
report_readback() {
    if [ -x "$python" ]; then
        "$python" -B "$here/demo_report.py" "$dir" 2>"$dir/logs/python.log" || {
            tail -n 5 "$dir/logs/python.log" >&2
            echo "  WRONG: an event is missing or there twice"
            wrong=1
        }
        return 0
    fi
    echo
    echo "funnel: fill rate $(share "$(generated bid_responses events)" \
        "$(generated bid_requests events)")," \
        "win rate $(share "$(committed impressions rows)" "$(generated bid_responses events)")," \
        "CTR $(share "$(committed clicks rows)" "$(committed impressions rows)")"
    echo
    "$bin/bidlake-table" count impressions --by device_geo_country \
        --warehouse "file://$dir/warehouse" --catalog "sqlite:$dir/catalog.db" \
        >"$dir/logs/countries" 2>/dev/null || true
    echo "impressions by country, from manifests:"
    head -n 12 "$dir/logs/countries" | sed 's/^/  /'
    echo "CPM, freshness and the count of events by their ids need a reader:" \
        "packaging/install-dependencies.sh test python, then once more, or the lines below."
}

report_lines_to_paste() {
    metadata=$("$bin/bidlake-table" show impressions --json --warehouse "file://$dir/warehouse" \
        --catalog "sqlite:$dir/catalog.db" |
        sed -n 's/.*"metadata_location": *"\([^"]*\)".*/\1/p' | sed 's|^file://||')
    cat <<END

PyIceberg (.cache/venv/bin/python has it):
  from pyiceberg.catalog.sql import SqlCatalog
  catalog = SqlCatalog("bidlake", uri="sqlite:///$dir/catalog.db")
  catalog.load_table("db.impressions").scan(limit=10).to_arrow()

DuckDB:
  INSTALL iceberg; LOAD iceberg;
  SELECT device_geo_country, count(*), avg(price) AS cpm
  FROM iceberg_scan('$metadata')
  GROUP BY ALL ORDER BY 2 DESC LIMIT 10;

bidlake:
  $bin/bidlake-table ls --warehouse 'file://$dir/warehouse' --catalog 'sqlite:$dir/catalog.db'
END
}

prepare_directory "${DEMO_DIR:-./demo}"
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
run_all
report_tables
report_readback
report_lines_to_paste
[ "$wrong" -eq 0 ] || fail "a table has not the rows that were generated"
