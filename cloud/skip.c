/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "cloud/snapshot.h"
#include "lib/iceberg/iceberg.h"

enum { SKIP_ATTEMPTS = 10 };

/* A name that no ledger takes back would make the table's ledger unreadable. */
static int ledger_check_readable(const struct ledger *ledger, const char *stream, struct error *err)
{
    struct buf bytes = {0};
    struct ledger *back = NULL;
    ledger_encode(ledger, &bytes);
    int rc = ledger_decode(&back, buf_slice(&bytes), err);
    ledger_free(back);
    buf_free(&bytes);
    return rc == OK ? OK : error_set(err, ERROR_INPUT, "\"%.200s\" is no stream's name", stream);
}

static int skip_once(const struct committer *committer, const struct table_name *table,
                     const char *stream, uint64_t to, uint64_t *from, int64_t *sent,
                     struct commit_report *report, struct error *err)
{
    struct contract_state contract = {0};
    struct table_state state = {0};
    int64_t now_ms = clock_wall_ms(committer_clock(committer));
    int rc = contract_state_read(committer, table->full, &contract, err);
    if (rc == OK)
        rc = table_state_load(committer, table, &contract, false, &state, report, err);
    if (rc != OK)
        goto out;
    /* The answer to the attempt before was lost, but it was applied. */
    if (*sent != 0 && metadata_snapshot_borrow(state.loaded.metadata, *sent) != NULL)
        goto out;
    *from = ledger_next(state.ledger, stream, NULL);
    if (*from >= to) {
        rc = error_set(err, ERROR_INPUT, "stream %s: next is %" PRIu64 " already", stream, *from);
        goto out;
    }
    struct lost_range lost = {
        .from = *from, .to = to, .events = to - *from, .reason = "skipped_by_operator"};
    ledger_advance(state.ledger, stream, to, now_ms, &lost, 1);
    struct append append = {.ledger = state.ledger};
    rc = ledger_check_readable(state.ledger, stream, err);
    if (rc != OK)
        goto out;
    report->attempts++;
    rc = snapshot_append(committer, table, &state, &append, err);
    *sent = append.snapshot_id;
    if (rc == ERROR_INPUT)
        rc = snapshot_refusal_judge(committer, table, &state, err);
out:
    table_state_free(&state);
    contract_state_free(&contract);
    return rc;
}

int commit_skip(const struct committer *committer, const char *table, const char *stream,
                uint64_t to, uint64_t *from, struct commit_report *report, struct error *err)
{
    struct table_name name;
    int64_t sent = 0;
    const char *slash = strrchr(stream, '/');
    int rc = table_name_parse(&name, table, err);
    if (rc == OK && (slash == NULL || strcmp(slash + 1, table) != 0))
        rc = error_set(err, ERROR_INPUT, "\"%.200s\" is no stream of table %s", stream, table);
    for (unsigned i = 1; rc == OK; i++) {
        rc = skip_once(committer, &name, stream, to, from, &sent, report, err);
        if (rc == OK || (rc != ERROR_CONFLICT && rc != ERROR_RETRY) || i == SKIP_ATTEMPTS)
            break;
        committer_back_off(committer, i);
        rc = committer_go_on(committer, report, err);
    }
    if (rc == OK) {
        report->snapshots++;
        report->snapshot_id = sent;
        report->lost_events += to - *from;
    }
    return rc;
}
