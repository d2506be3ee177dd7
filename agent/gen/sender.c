/* SPDX-License-Identifier: Apache-2.0
 *
 * libcurl's multi interface drives the connections. Latencies go into buckets of 3 %
 * width, so that percentiles cost no memory however long it runs.
 */
#include "agent/gen/sender.h"

#include <curl/curl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { BUCKETS = 512, TABLES_MAX = 8, ANSWER_MAX = 4096, RETRY_MS = 200, TIMEOUT_MS = 60000 };
static const double bucket_growth = 1.03;
static const double bucket_first_ms = 0.01;

struct lane { /* of one table */
    char *url;
    const char *table;
    struct buf lines; /* not sent yet */
    size_t at;        /* of these, the ones before are with a connection */
    uint64_t accepted;
    uint64_t refused;
};

struct connection {
    CURL *easy;
    struct lane *lane; /* NULL: free */
    struct buf body;
    struct buf answer;
    uint32_t events;
    int64_t start_ns;
    int64_t retry_at_ms; /* 0: the request is under way */
};

struct sender {
    struct sender_options options;
    CURLM *multi;
    struct curl_slist *headers;
    struct connection *connections;
    struct lane lanes[TABLES_MAX];
    size_t lane_count;
    size_t next_lane;
    size_t busy;
    struct sender_statistics statistics;
    uint64_t buckets[BUCKETS];
    double largest_ms;
};

/* ---- latencies ---- */

static void count_latency(struct sender *sender, double ms)
{
    double place = ms <= bucket_first_ms ? 0 : log(ms / bucket_first_ms) / log(bucket_growth);
    size_t bucket = place < BUCKETS - 1 ? (size_t)place : BUCKETS - 1;
    sender->buckets[bucket]++;
    if (ms > sender->largest_ms)
        sender->largest_ms = ms;
}

static double percentile(const struct sender *sender, double share)
{
    uint64_t all = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        all += sender->buckets[i];
    uint64_t below = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        below += sender->buckets[i];
        if (below > 0 && (double)below >= share * (double)all)
            return bucket_first_ms * pow(bucket_growth, (double)i + 1);
    }
    return 0;
}

void sender_statistics(const struct sender *sender, struct sender_statistics *out)
{
    static const double shares[] = {0.5, 0.9, 0.99};
    *out = sender->statistics;
    for (size_t i = 0; i < 3; i++)
        out->latency_ms[i] = fmin(percentile(sender, shares[i]), sender->largest_ms);
    out->latency_ms[3] = sender->largest_ms;
}

void sender_counts(const struct sender *sender, const char *table, uint64_t *accepted,
                   uint64_t *refused)
{
    *accepted = 0;
    *refused = 0;
    for (size_t i = 0; i < sender->lane_count; i++) {
        if (strcmp(sender->lanes[i].table, table) == 0) {
            *accepted = sender->lanes[i].accepted;
            *refused = sender->lanes[i].refused;
        }
    }
}

/* ---- batches ---- */

static struct lane *lane_of(struct sender *sender, const char *table)
{
    for (size_t i = 0; i < sender->lane_count; i++) {
        if (strcmp(sender->lanes[i].table, table) == 0)
            return &sender->lanes[i];
    }
    ASSERT(sender->lane_count < TABLES_MAX);
    struct lane *lane = &sender->lanes[sender->lane_count++];
    lane->table = table;
    lane->url = memory_printf("%s/v1/events/%s", sender->options.url, table);
    return lane;
}

void sender_put(struct sender *sender, const char *table, struct slice lines)
{
    struct lane *lane = lane_of(sender, table);
    if (lane->at > 0) {
        memmove(lane->lines.data, lane->lines.data + lane->at, lane->lines.len - lane->at);
        lane->lines.len -= lane->at;
        lane->at = 0;
    }
    buf_put_slice(&lane->lines, lines);
}

/* Up to a batch's lines from the lane into the connection's body. */
static void fill_body(const struct sender *sender, struct connection *connection, struct lane *lane)
{
    struct slice rest = slice_of(lane->lines.data + lane->at, lane->lines.len - lane->at);
    size_t len = 0;
    connection->events = 0;
    while (len < rest.len && connection->events < sender->options.batch_events) {
        const uint8_t *end = memchr(rest.data + len, '\n', rest.len - len);
        ASSERT(end != NULL); /* whole lines were put */
        len = (size_t)(end - rest.data) + 1;
        connection->events++;
    }
    buf_reset(&connection->body);
    buf_put(&connection->body, rest.data, len);
    lane->at += len;
    connection->lane = lane;
}

static void start_request(struct sender *sender, struct connection *connection)
{
    buf_reset(&connection->answer);
    connection->retry_at_ms = 0;
    connection->start_ns = clock_mono_ns();
    curl_easy_setopt(connection->easy, CURLOPT_URL, connection->lane->url);
    curl_easy_setopt(connection->easy, CURLOPT_POSTFIELDS, connection->body.data);
    curl_easy_setopt(connection->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     (curl_off_t)connection->body.len);
    CURLMcode code = curl_multi_add_handle(sender->multi, connection->easy);
    ASSERT(code == CURLM_OK);
}

static struct lane *lane_with_work(struct sender *sender)
{
    for (size_t i = 0; i < sender->lane_count; i++) {
        struct lane *lane = &sender->lanes[(sender->next_lane + i) % sender->lane_count];
        if (lane->at < lane->lines.len) {
            sender->next_lane = (sender->next_lane + i + 1) % sender->lane_count;
            return lane;
        }
    }
    return NULL;
}

static void start_requests(struct sender *sender)
{
    int64_t now_ms = clock_mono_ms(&clock_system);
    for (size_t i = 0; i < sender->options.connections; i++) {
        struct connection *connection = &sender->connections[i];
        if (connection->lane != NULL) {
            if (connection->retry_at_ms != 0 && now_ms >= connection->retry_at_ms)
                start_request(sender, connection);
            continue;
        }
        struct lane *lane = lane_with_work(sender);
        if (lane == NULL)
            continue;
        fill_body(sender, connection, lane);
        sender->busy++;
        start_request(sender, connection);
    }
}

/* ---- answers ---- */

static size_t take_answer(char *data, size_t size, size_t count, void *context)
{
    struct connection *connection = context;
    (void)size;
    if (connection->answer.len + count <= ANSWER_MAX)
        buf_put(&connection->answer, data, count);
    return count;
}

static uint64_t number_behind(struct connection *connection, const char *key)
{
    const char *at = strstr(buf_cstr(&connection->answer), key);
    return at != NULL ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static int take_result(struct sender *sender, struct connection *connection, CURLcode code,
                       struct error *err)
{
    struct sender_statistics *statistics = &sender->statistics;
    long status = 0;
    curl_easy_getinfo(connection->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(sender->multi, connection->easy);
    bool never_sent = code == CURLE_COULDNT_CONNECT;
    if (never_sent || (code == CURLE_OK && status == 503)) {
        if (statistics->retried++ == 0)
            log_event(LOG_LEVEL_WARN, "gen", "turned away, trying again until it is taken",
                      "url=%s reason=\"%s\"", connection->lane->url,
                      never_sent ? curl_easy_strerror(code) : buf_cstr(&connection->answer));
        connection->retry_at_ms = clock_mono_ms(&clock_system) + RETRY_MS;
        return OK;
    }
    int rc = OK;
    if (code != CURLE_OK) {
        statistics->unanswered += connection->events;
    } else if (status == 200 || status == 207 || status == 400) {
        count_latency(sender, (double)(clock_mono_ns() - connection->start_ns) / 1e6);
        statistics->requests++;
        uint64_t accepted = number_behind(connection, "\"accepted\":");
        uint64_t refused = number_behind(connection, "\"refused\":");
        statistics->accepted += accepted;
        statistics->refused += refused;
        connection->lane->accepted += accepted;
        connection->lane->refused += refused;
    } else {
        rc = error_set(err, status == 401 || status == 403 ? ERROR_DENIED : ERROR_INPUT,
                       "%s answers %ld: %.200s", connection->lane->url, status,
                       buf_cstr(&connection->answer));
    }
    connection->lane = NULL;
    sender->busy--;
    return rc;
}

static int take_results(struct sender *sender, struct error *err)
{
    int rc = OK;
    int left = 0;
    for (CURLMsg *message; rc == OK && (message = curl_multi_info_read(sender->multi, &left));) {
        struct connection *connection = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&connection);
        rc = take_result(sender, connection, message->data.result, err);
    }
    return rc;
}

int sender_step(struct sender *sender, int64_t wait_ms, struct error *err)
{
    int64_t until_ms = clock_mono_ms(&clock_system) + wait_ms;
    int rc = OK;
    do {
        int running = 0;
        start_requests(sender);
        curl_multi_perform(sender->multi, &running);
        rc = take_results(sender, err);
        int64_t left_ms = until_ms - clock_mono_ms(&clock_system);
        if (rc != OK || left_ms <= 0)
            break;
        bool waits_for_work = sender->busy < sender->options.connections;
        for (size_t i = 0; waits_for_work && i < sender->lane_count; i++)
            waits_for_work = sender->lanes[i].at == sender->lanes[i].lines.len;
        if (waits_for_work || sender->busy == sender->options.connections)
            curl_multi_poll(sender->multi, NULL, 0, (int)left_ms, NULL);
        if (waits_for_work && sender->busy == 0)
            break;
    } while (true);
    return rc;
}

bool sender_is_full(const struct sender *sender)
{
    size_t waiting = 0;
    for (size_t i = 0; i < sender->lane_count; i++)
        waiting += sender->lanes[i].lines.len - sender->lanes[i].at;
    return sender->busy == sender->options.connections && waiting > 0;
}

bool sender_is_idle(const struct sender *sender)
{
    for (size_t i = 0; i < sender->lane_count; i++) {
        if (sender->lanes[i].at < sender->lanes[i].lines.len)
            return false;
    }
    return sender->busy == 0;
}

/* ---- open and close ---- */

int sender_open(struct sender **out, const struct sender_options *options, struct error *err)
{
    if (strncmp(options->url, "http://", 7) != 0 || options->connections == 0 ||
        options->batch_events == 0)
        return error_set(err, ERROR_INPUT, "%s is no http:// URL", options->url);
    struct sender *sender = memory_alloc(1, sizeof *sender);
    sender->options = *options;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    sender->multi = curl_multi_init();
    sender->headers = curl_slist_append(NULL, "Content-Type: application/x-ndjson");
    sender->headers = curl_slist_append(sender->headers, "Expect:");
    sender->connections = memory_alloc(options->connections, sizeof *sender->connections);
    ASSERT(sender->multi != NULL && sender->headers != NULL);
    for (size_t i = 0; i < options->connections; i++) {
        struct connection *connection = &sender->connections[i];
        connection->easy = curl_easy_init();
        ASSERT(connection->easy != NULL);
        curl_easy_setopt(connection->easy, CURLOPT_PRIVATE, connection);
        curl_easy_setopt(connection->easy, CURLOPT_HTTPHEADER, sender->headers);
        curl_easy_setopt(connection->easy, CURLOPT_WRITEFUNCTION, take_answer);
        curl_easy_setopt(connection->easy, CURLOPT_WRITEDATA, connection);
        curl_easy_setopt(connection->easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(connection->easy, CURLOPT_PROXY, "");
        curl_easy_setopt(connection->easy, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    }
    *out = sender;
    return OK;
}

void sender_close(struct sender *sender)
{
    if (sender == NULL)
        return;
    for (size_t i = 0; i < sender->options.connections; i++) {
        struct connection *connection = &sender->connections[i];
        if (connection->lane != NULL && connection->retry_at_ms == 0)
            curl_multi_remove_handle(sender->multi, connection->easy);
        curl_easy_cleanup(connection->easy);
        buf_free(&connection->body);
        buf_free(&connection->answer);
    }
    curl_multi_cleanup(sender->multi);
    curl_slist_free_all(sender->headers);
    for (size_t i = 0; i < sender->lane_count; i++) {
        free(sender->lanes[i].url);
        buf_free(&sender->lanes[i].lines);
    }
    free(sender->connections);
    free(sender);
}
