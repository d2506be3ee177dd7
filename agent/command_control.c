/* SPDX-License-Identifier: Apache-2.0
 *
 * status, flush, drain: they speak to a running agent over its operations port.
 */
#include <curl/curl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "agent/commands.h"
#include "agent/ending.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/json/json.h"

enum {
    TIMEOUT_MS = 10000,
    POLL_MS = 100,
    ANSWER_MAX = 1 << 20,
    END_MORE_MS = 90000, /* behind a drain's deadline: what is under way then is finished */
};

static size_t take(char *data, size_t size, size_t count, void *context)
{
    (void)size;
    buf_put(context, data, count);
    return buf_failed(context) ? 0 : count;
}

/* The answer's status; 0 and an error when there was none, its cause libcurl's code. */
static long request(const struct agent_config *config, const char *path, bool post,
                    struct buf *answer, struct error *err)
{
    char url[300];
    long status = 0;
    CURL *easy = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "X-Bidlake-Operation: 1");
    snprintf(url, sizeof url, "http://%s%s", config->operations, path);
    buf_init(answer, ANSWER_MAX);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    if (post)
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
    CURLcode code = curl_easy_perform(easy);
    if (code == CURLE_OK) {
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    } else {
        error_set(err, ERROR_RETRY, "no agent answers at %s (operations): %s", config->operations,
                  curl_easy_strerror(code));
        err->cause = (int)code;
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
    return status;
}

static int fail(const struct error *err)
{
    fprintf(stderr, "bidlake-agent: %s\n", err->text);
    return EXIT_FAILED;
}

static int refuse_status(const struct agent_config *config, long status, struct error *err)
{
    if (status == 503)
        error_set(err, ERROR_RETRY, "%s answers 503: too many ask it at once", config->operations);
    else
        error_set(err, ERROR_INPUT, "%s answers %ld: not an agent's port?", config->operations,
                  status);
    err->cause = (int)status;
    return (int)err->code;
}

static int get_json(const struct agent_config *config, const char *path, json_t **out,
                    struct error *err)
{
    struct buf answer = {0};
    long status = request(config, path, false, &answer, err);
    int rc = ERROR_RETRY;
    if (status == 200) {
        rc = json_decode(out, buf_slice(&answer), err);
        if (rc != OK)
            rc = error_wrap(err, "%s: not an agent's port?", config->operations);
    } else if (status != 0) {
        rc = refuse_status(config, status, err);
    }
    buf_free(&answer);
    return rc;
}

static int get_status(const struct agent_config *config, json_t **out, struct error *err)
{
    return get_json(config, "/v1/status", out, err);
}

/* ---- status ---- */

static int64_t number_at(const json_t *status, const char *object, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(status, object), key));
}

/* In the unit that keeps the number short: "1.23 GiB". */
static const char *bytes_text(char out[32], int64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1000 && unit < sizeof units / sizeof units[0] - 1; unit++)
        value /= 1024;
    snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.2f %s", value, units[unit]);
    return out;
}

static const char *span_text(char out[32], int64_t ms)
{
    if (ms < 0)
        snprintf(out, 32, "none yet");
    else if (ms < 90000)
        snprintf(out, 32, "%.1f s", (double)ms / 1e3);
    else if (ms < 5400000)
        snprintf(out, 32, "%.1f min", (double)ms / 6e4);
    else if (ms < 172800000)
        snprintf(out, 32, "%.1f h", (double)ms / 36e5);
    else
        snprintf(out, 32, "%.1f days", (double)ms / 864e5);
    return out;
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void print_checks(const json_t *status)
{
    size_t i = 0;
    json_t *check = NULL;
    json_array_foreach(json_object_get(status, "checks"), i, check)
    {
        const char *why = text_at(check, "why");
        printf("%-10s %-5s %s\n", i == 0 ? "checks" : "", text_at(check, "state"),
               text_at(check, "name"));
        if (why[0] != 0)
            printf("%-10s       %s\n", "", why);
    }
}

static void print_answers(const json_t *status)
{
    const json_t *answers = json_object_get(status, "answers");
    double p99 = json_number_value(json_object_get(answers, "p99_ms"));
    if (p99 < 0)
        puts("answers    none yet");
    else
        printf("answers    durable within %g ms (half of them), %g ms (99 %%); %" PRId64
               " turned away\n",
               json_number_value(json_object_get(answers, "p50_ms")), p99,
               number_at(status, "answers", "turned_away"));
}

static void print_spool(const json_t *status)
{
    char used[32];
    char budget[32];
    printf("spool      %s of %s\n", bytes_text(used, number_at(status, "spool", "bytes")),
           bytes_text(budget, number_at(status, "spool", "bytes_max")));
}

static void print_delivery(const json_t *status)
{
    char span[32];
    int64_t unannounced_ms = number_at(status, "freshness", "oldest_unannounced_ms");
    int64_t oldest_ms = number_at(status, "freshness", "oldest_ms");
    int64_t last_ms = number_at(status, "freshness", "last_ms");
    printf("uploads    segments that wait: %" PRId64, number_at(status, "delivery", "unannounced"));
    if (unannounced_ms > 0)
        printf("; the oldest event that is not uploaded came %s ago",
               span_text(span, unannounced_ms));
    printf("\ncommits    streams that wait: %" PRId64,
           number_at(status, "delivery", "uncommitted"));
    if (oldest_ms > 0)
        printf("; the oldest event that is not committed came %s ago", span_text(span, oldest_ms));
    if (last_ms >= 0)
        printf("; the newest was in its table after %s", span_text(span, last_ms));
    putchar('\n');
    const json_t *delivery = json_object_get(status, "delivery");
    const char *failure = text_at(delivery, "last_failure");
    if (failure[0] != 0 && json_is_true(json_object_get(delivery, "failing")))
        printf("last failure: %s\n", failure);
    else if (failure[0] != 0)
        printf("last failure, %s ago, mended since: %s\n",
               span_text(span, number_at(status, "delivery", "last_failure_age_ms")), failure);
}

static int64_t in_spool(const json_t *table)
{
    return number_at(table, "in_spool", "open") + number_at(table, "in_spool", "sealed") +
           number_at(table, "in_spool", "announced");
}

static int width_of(const json_t *tables, const char *column, bool sums)
{
    size_t width = strlen(column);
    const char *name = NULL;
    json_t *table = NULL;
    json_object_foreach((json_t *)(uintptr_t)tables, name, table)
    {
        char number[32];
        int64_t value =
            sums ? in_spool(table) : (int64_t)json_integer_value(json_object_get(table, column));
        int len = snprintf(number, sizeof number, "%" PRId64, value);
        width = (size_t)len > width ? (size_t)len : width;
    }
    return (int)width;
}

/* In the order of the law: received = refused + waiting + kept; kept + recovered = committed +
 * in spool + dropped. Each column as wide as its widest number. */
static void print_tables(const json_t *tables)
{
    static const char *const columns[] = {"received",  "refused",   "waiting",
                                          "kept",      "recovered", "uploaded",
                                          "committed", "in spool",  "dropped"};
    enum { COLUMNS = sizeof columns / sizeof columns[0], IN_SPOOL = 7 };
    int widths[COLUMNS];
    size_t name_width = strlen("table");
    const char *name = NULL;
    json_t *table = NULL;
    json_object_foreach((json_t *)(uintptr_t)tables, name, table) name_width =
        strlen(name) > name_width ? strlen(name) : name_width;
    printf("\n%-*s", (int)name_width, "table");
    for (size_t i = 0; i < COLUMNS; i++) {
        widths[i] = width_of(tables, columns[i], i == IN_SPOOL);
        printf("  %*s", widths[i], columns[i]);
    }
    putchar('\n');
    json_object_foreach((json_t *)(uintptr_t)tables, name, table)
    {
        printf("%-*s", (int)name_width, name);
        for (size_t i = 0; i < COLUMNS; i++)
            printf("  %*" PRId64, widths[i],
                   i == IN_SPOOL ? in_spool(table)
                                 : (int64_t)json_integer_value(json_object_get(table, columns[i])));
        putchar('\n');
    }
}

static void print_doors(const json_t *status)
{
    size_t i = 0;
    json_t *source = NULL;
    json_array_foreach(json_object_get(status, "sources"), i, source)
        printf("%s%-10s %s %s, %" PRId64 " connections, %" PRId64 " requests\n", i == 0 ? "\n" : "",
               i == 0 ? "doors" : "", text_at(source, "kind"), text_at(source, "address"),
               (int64_t)json_integer_value(json_object_get(source, "connections")),
               (int64_t)json_integer_value(json_object_get(source, "requests")));
}

static void print_log(const json_t *status)
{
    size_t i = 0;
    json_t *entry = NULL;
    json_array_foreach(json_object_get(status, "log"), i, entry)
    {
        char age[32];
        printf("%s%-5s %s ago, %" PRId64 " times: %s (%s) %s\n", i == 0 ? "\n" : "",
               text_at(entry, "level"),
               span_text(age, json_integer_value(json_object_get(entry, "age_ms"))),
               (int64_t)json_integer_value(json_object_get(entry, "count")), text_at(entry, "msg"),
               text_at(entry, "at"), text_at(entry, "fields"));
    }
}

static void print_files(const json_t *status)
{
    enum { SHOWN = 20 };
    const json_t *files = json_object_get(status, "files");
    size_t count = json_array_size(files);
    for (size_t i = 0; i < count && i < SHOWN; i++) {
        const json_t *file = json_array_get(files, i);
        if (i == 0)
            printf("%-10s %14s %14s %s\n", "file", "size", "offset", "path");
        printf("%-10s %14" PRId64 " %14" PRId64 " %s%s\n", text_at(file, "state"),
               (int64_t)json_integer_value(json_object_get(file, "size")),
               (int64_t)json_integer_value(json_object_get(file, "offset")), text_at(file, "path"),
               json_is_true(json_object_get(file, "safe_to_delete")) ? ", safe to delete" : "");
    }
    if (count > SHOWN)
        printf("and %zu files more: --json\n",
               count - SHOWN + (size_t)json_integer_value(json_object_get(status, "more_files")));
}

static void print_status(const json_t *status)
{
    char uptime[32];
    printf("agent      %s, version %s, up %s: %s\n", text_at(status, "agent_id"),
           text_at(status, "version"),
           span_text(uptime, json_integer_value(json_object_get(status, "uptime_ms"))),
           json_is_true(json_object_get(status, "ready")) ? "ready" : "not ready");
    print_checks(status);
    print_answers(status);
    print_spool(status);
    print_delivery(status);
    print_tables(json_object_get(status, "tables"));
    print_doors(status);
    print_files(status);
    print_log(status);
}

int command_status(const struct command_line *line)
{
    struct error err;
    json_t *status = NULL;
    if (get_status(&line->config, &status, &err) != OK)
        return fail(&err);
    bool ready = json_is_true(json_object_get(status, "ready"));
    if (line->json) {
        struct buf text = {0};
        json_encode(status, &text);
        puts(buf_cstr(&text));
        buf_free(&text);
    } else if (!line->ready) {
        print_status(status);
    }
    json_decref(status);
    return line->ready && !ready ? EXIT_FAILED : EXIT_DONE;
}

/* ---- flush and drain ---- */

static int ask(const struct command_line *line, const char *path, struct error *err)
{
    struct buf answer = {0};
    long status = request(&line->config, path, true, &answer, err);
    buf_free(&answer);
    if (status == 0)
        return ERROR_RETRY;
    return status == 202 ? OK : refuse_status(&line->config, status, err);
}

/* Each waits for what it asked for, as long as an ingest would. */
int command_flush(const struct command_line *line)
{
    struct error err;
    json_t *status = NULL;
    int64_t until_ms = clock_mono_ms(&clock_system) + line->config.deliver_deadline_ms;
    int rc = get_status(&line->config, &status, &err);
    int64_t wanted = rc == OK ? number_at(status, "flushes", "asked") + 1 : 0;
    json_decref(status);
    if (rc == OK)
        rc = ask(line, "/v1/flush", &err);
    for (bool done = false; rc == OK && !done;) {
        clock_sleep_ms(&clock_system, POLL_MS);
        rc = get_status(&line->config, &status, &err);
        if (rc != OK)
            break;
        done = number_at(status, "flushes", "done") >= wanted;
        json_decref(status);
        if (!done && clock_mono_ms(&clock_system) >= until_ms)
            rc = error_set(&err, ERROR_RETRY, "not all is announced yet; the agent goes on");
    }
    return rc == OK ? EXIT_DONE : fail(&err);
}

/* What a drained agent said of its end. */
struct outcome {
    bool told;
    bool complete;
    uint64_t events_left;
    char why[400];
};

/* *there false: it is gone. One that is too busy to answer in time isn't, and one that knows
 * nothing of a drain is the next one. Whoever answers otherwise will not tell what it came to. */
static int look_for_end(const struct agent_config *config, struct outcome *outcome, bool *there,
                        struct error *err)
{
    json_t *end = NULL;
    int rc = get_json(config, "/v1/drain", &end, err);
    if (rc != OK) {
        *there = rc == ERROR_RETRY && err->cause != CURLE_COULDNT_CONNECT;
        if (rc == ERROR_RETRY || outcome->told)
            return OK;
        return err->cause != 404
                   ? rc
                   : error_set(
                         err, ERROR_INPUT,
                         "%s answers 404: the agent drains, but is older than this command and "
                         "cannot say whether all is announced; bidlake-agent spool shows it",
                         config->operations);
    }
    bool ending = json_is_true(json_object_get(end, "ending"));
    if (ending && json_is_true(json_object_get(end, "over"))) {
        outcome->told = true;
        outcome->complete = json_is_true(json_object_get(end, "complete"));
        outcome->events_left = (uint64_t)json_integer_value(json_object_get(end, "events_left"));
        snprintf(outcome->why, sizeof outcome->why, "%s", text_at(end, "why"));
    }
    json_decref(end);
    *there = ending;
    return OK;
}

/* The agent has as long as an ingest would, whatever its own stop.deadline is. */
int command_drain(const struct command_line *line)
{
    struct error err;
    struct outcome outcome = {0};
    char path[64];
    int64_t within_ms = line->config.deliver_deadline_ms;
    int64_t until_ms = clock_mono_ms(&clock_system) + within_ms + END_MORE_MS;
    snprintf(path, sizeof path, "/v1/drain?within_ms=%" PRId64, within_ms);
    int rc = ask(line, path, &err);
    for (bool there = true; rc == OK && there;) {
        clock_sleep_ms(&clock_system, POLL_MS);
        rc = look_for_end(&line->config, &outcome, &there, &err);
        if (rc == OK && there && clock_mono_ms(&clock_system) >= until_ms)
            rc = error_set(&err, ERROR_RETRY, "the agent is still there");
    }
    if (rc == OK && !outcome.told)
        rc = error_set(&err, ERROR_RETRY,
                       "the agent is gone and did not say whether all is announced; "
                       "bidlake-agent spool shows it");
    else if (rc == OK && !outcome.complete)
        rc = ending_refuse(outcome.events_left, outcome.why, &err);
    return rc == OK ? EXIT_DONE : fail(&err);
}
