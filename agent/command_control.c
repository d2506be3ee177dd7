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
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/json/json.h"

enum { TIMEOUT_MS = 10000, POLL_MS = 100, ANSWER_MAX = 1 << 20 };

static size_t take(char *data, size_t size, size_t count, void *context)
{
    (void)size;
    buf_put(context, data, count);
    return buf_failed(context) ? 0 : count;
}

/* The answer's status; 0 and an error when there was none. */
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
    if (code == CURLE_OK)
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    else
        error_set(err, ERROR_RETRY, "no agent answers at %s (operations): %s", config->operations,
                  curl_easy_strerror(code));
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
    return status;
}

static int fail(const struct error *err)
{
    fprintf(stderr, "bidlake-agent: %s\n", err->text);
    return EXIT_FAILED;
}

static int get_status(const struct agent_config *config, json_t **out, struct error *err)
{
    struct buf answer = {0};
    long status = request(config, "/v1/status", false, &answer, err);
    int rc = status == 0     ? ERROR_RETRY
             : status == 200 ? json_decode(out, buf_slice(&answer), err)
                             : error_set(err, ERROR_INPUT, "%s answers %ld: not an agent's port?",
                                         config->operations, status);
    buf_free(&answer);
    return rc;
}

/* ---- status ---- */

static int64_t number_at(const json_t *status, const char *object, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(status, object), key));
}

static void print_status(const json_t *status)
{
    const char *table = NULL;
    json_t *counts = NULL;
    printf("agent %s, version %s: %s\n", json_string_value(json_object_get(status, "agent_id")),
           json_string_value(json_object_get(status, "version")),
           json_is_true(json_object_get(status, "ready")) ? "ready" : "not ready");
    if (!json_is_true(json_object_get(status, "ready")))
        fputs(json_string_value(json_object_get(status, "checks")), stdout);
    printf("spool: %" PRId64 " of %" PRId64 " bytes; %" PRId64 " segments to announce, %" PRId64
           " streams wait for a commit\n",
           number_at(status, "spool", "bytes"), number_at(status, "spool", "bytes_max"),
           number_at(status, "delivery", "unannounced"),
           number_at(status, "delivery", "uncommitted"));
    const char *failure =
        json_string_value(json_object_get(json_object_get(status, "delivery"), "last_failure"));
    if (failure != NULL && failure[0] != 0)
        printf("last failure: %s\n", failure);
    printf("%-16s %14s %14s %10s %10s %10s\n", "table", "received", "kept", "refused", "no room",
           "waiting");
    json_object_foreach(json_object_get(status, "tables"), table, counts)
    {
        static const char *const columns[] = {"received", "kept", "refused", "no_room", "waiting"};
        static const int widths[] = {14, 14, 10, 10, 10};
        printf("%-16s", table);
        for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
            printf(" %*" PRId64, widths[i],
                   (int64_t)json_integer_value(json_object_get(counts, columns[i])));
        putchar('\n');
    }
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
    return status == 202 ? OK
                         : error_set(err, ERROR_INPUT, "%s answers %ld: not an agent's port?",
                                     line->config.operations, status);
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

int command_drain(const struct command_line *line)
{
    struct error err;
    int64_t until_ms = clock_mono_ms(&clock_system) + line->config.deliver_deadline_ms;
    int rc = ask(line, "/v1/drain", &err);
    if (rc != OK)
        return fail(&err);
    for (;;) {
        json_t *status = NULL;
        clock_sleep_ms(&clock_system, POLL_MS);
        if (get_status(&line->config, &status, &err) == ERROR_RETRY)
            return EXIT_DONE; /* it is gone */
        json_decref(status);
        if (clock_mono_ms(&clock_system) >= until_ms) {
            error_set(&err, ERROR_RETRY, "the agent is still there");
            return fail(&err);
        }
    }
}
