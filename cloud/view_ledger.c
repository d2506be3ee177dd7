/* SPDX-License-Identifier: Apache-2.0
 *
 * ledger: what it says, and the skip by hand.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cloud/view.h"
#include "lib/base/plain.h"

static void stream_row(void *context, const char *stream, uint64_t next, int64_t at_ms,
                       const struct lost_range *lost, size_t lost_count)
{
    uint64_t events = 0;
    json_t *ranges = json_array();
    struct buf at = {0};
    for (size_t i = 0; i < lost_count; i++) {
        events += lost[i].events;
        json_array_append_new(
            ranges, json_pack("{s:I,s:I,s:I,s:o}", "from", (json_int_t)lost[i].from, "to",
                              (json_int_t)lost[i].to, "events", (json_int_t)lost[i].events,
                              "reason", view_text(lost[i].reason)));
    }
    view_time(at_ms, &at);
    json_t *row =
        json_pack("{s:o,s:I,s:s,s:I}", "stream", view_text(stream), "next", (json_int_t)next, "at",
                  buf_cstr(&at), "lost_events", (json_int_t)events);
    json_object_set_new(row, "lost", ranges);
    json_array_append_new(context, row);
    buf_free(&at);
}

static void print_text(json_t *rows)
{
    size_t i;
    size_t k;
    json_t *row;
    const json_t *lost;
    json_t *plain = json_array();
    json_array_foreach(rows, i, row)
    {
        json_t *copy = json_copy(row);
        json_object_del(copy, "lost");
        json_array_append_new(plain, copy);
    }
    view_print_rows(plain, false);
    json_array_foreach(rows, i, row) json_array_foreach(json_object_get(row, "lost"), k, lost)
    {
        fputs("lost ", stdout);
        plain_write(stdout, json_string_value(json_object_get(row, "stream")));
        printf(" [%" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT ") %" JSON_INTEGER_FORMAT,
               json_integer_value(json_object_get(lost, "from")),
               json_integer_value(json_object_get(lost, "to")),
               json_integer_value(json_object_get(lost, "events")));
        view_print_pair(" events:", json_string_value(json_object_get(lost, "reason")));
    }
}

static int ledger_print(struct view *view, struct error *err)
{
    const struct committer *committer = &view->service->committer;
    struct contract_state contract = {0};
    struct table_state state = {0};
    struct commit_report report = {0};
    int rc = contract_state_read(committer, view->table.full, &contract, err);
    if (rc == OK)
        rc = table_state_load(committer, &view->table, &contract, false, &state, &report, err);
    if (rc == OK) {
        json_t *rows = json_array();
        ledger_visit_streams(state.ledger, stream_row, rows);
        if (view->config->json)
            view_print_rows(json_incref(rows), true);
        else
            print_text(rows);
        if (!view->config->json && ledger_floor_borrow(state.ledger) != NULL)
            view_print_pair("floor", ledger_floor_borrow(state.ledger));
        json_decref(rows);
    }
    commit_report_free(&report);
    table_state_free(&state);
    contract_state_free(&contract);
    return rc;
}

static int ledger_skip(struct view *view, struct error *err)
{
    const struct config *config = view->config;
    struct commit_report report = {0};
    uint64_t from = 0;
    char *end = NULL;
    const char *stream = config->arguments[1];
    const char *text = config->arguments[2];
    errno = 0;
    unsigned long long to = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || errno != 0 || to > INT64_MAX)
        return error_set(err, ERROR_INPUT, "--skip STREAM TO: \"%s\" is no position", text);
    int rc =
        commit_skip(&view->service->committer, view->table.full, stream, to, &from, &report, err);
    if (rc == OK && config->json)
        printf("{\"stream\":\"%s\",\"from\":%" PRIu64 ",\"to\":%llu,\"snapshot_id\":%" PRId64 "}\n",
               stream, from, to, report.snapshot_id);
    else if (rc == OK)
        printf("skipped [%" PRIu64 ", %llu) of %s: %llu events are lost; snapshot %" PRId64 "\n",
               from, to, stream, to - from, report.snapshot_id);
    commit_report_free(&report);
    return rc;
}

int command_ledger(struct view *view, struct error *err)
{
    int rc = view->config->skip ? ledger_skip(view, err) : ledger_print(view, err);
    return rc == OK ? EXIT_DONE : EXIT_FAILED;
}
