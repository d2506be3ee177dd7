/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/memory.h"

#include <string.h>

#include "agent/capture/capture.h"
#include "agent/roller.h"

#define MIB ((uint64_t)1 << 20)

enum {
    PROGRAM_MIB = 12, /* code's data, LMDB's lists, what the allocator keeps */
    CONNECTION_BYTES = 1024,
    TEXTS_HTTP = 8, /* events' texts: any table, each with its own */
    TEXTS_OTHER = 4,
    ROLL_ROWS = 1000000, /* that ROLLER_MEMORY_MAX is for */
    LINES_MIN_MIB = 1,   /* of a unix socket's streams, beside the one line that always has room */
    SOCKET_READ_BYTES = 64 << 10,
    TAIL_READERS = 4, /* of a pattern; each has a window */
    WINDOW_MIB = 2,
    INPUT_MIB = 10, /* what is read of a compressed file or pipe, zstd's window */
    OPEN_MIN_MIB = 1,
    REQUEST_MIN_MIB = 4,
    OPEN_MAX_MIB = 16,
    REQUEST_MAX_MIB = 64,
    HELD_MAX_MIB = 64,
    LINES_MAX_MIB = 64,
    TWICE = 2, /* a buffer that grows doubles; a request is one event over its bound */
    EXTRA_PARTS = 8,
};

struct needs {
    uint64_t https;
    uint64_t streams;
    uint64_t roller;
    uint64_t connections;
    uint64_t expanded;
    uint64_t bodies;
    uint64_t texts;
    uint64_t lines;
    uint64_t rows;
    uint64_t sum;
};

/* What a door keeps of lines that are not whole, or not durable yet. */
static uint64_t lines_of(const char *kind, uint64_t line)
{
    if (strcmp(kind, "unix") == 0)
        return LINES_MIN_MIB * MIB + TWICE * (line + SOCKET_READ_BYTES);
    if (strcmp(kind, "unix_datagram") == 0)
        return TWICE * (line + SOCKET_READ_BYTES);
    if (strcmp(kind, "tail") == 0)
        return TAIL_READERS * (WINDOW_MIB * MIB + TWICE * line) + INPUT_MIB * MIB;
    if (strcmp(kind, "stdin") == 0)
        return WINDOW_MIB * MIB + TWICE * line + INPUT_MIB * MIB;
    return 0;
}

static void sum_up(const struct agent_config *config, uint64_t rows, struct needs *out)
{
    uint64_t events = (uint64_t)config->event_bytes_max;
    *out = (struct needs){.roller = ROLLER_MEMORY_MAX, .rows = rows};
    if (config->roll_rows > ROLL_ROWS)
        out->roller = out->roller / ROLL_ROWS * (uint64_t)config->roll_rows;
    for (size_t i = 0; i < config->listener_count; i++) {
        bool http = strcmp(config->listeners[i].kind, "http") == 0;
        unsigned threads = agent_listener_threads(&config->listeners[i]);
        out->https += http ? threads : 0;
        out->streams += strcmp(config->listeners[i].kind, "unix") == 0;
        out->lines += lines_of(config->listeners[i].kind, events + LINE_BLANKS_MAX);
        out->texts += events * (http ? threads * TEXTS_HTTP : TEXTS_OTHER);
    }
    out->connections = out->https * (uint64_t)config->http_connections * CONNECTION_BYTES;
    out->expanded = out->https * (uint64_t)config->http_expanded_bytes;
    out->bodies = out->https * TWICE * (uint64_t)config->http_body_bytes;
    out->sum = PROGRAM_MIB * MIB + out->roller + out->connections + out->expanded + out->bodies +
               out->texts + out->lines + out->rows;
}

static size_t at_most(uint64_t value, uint64_t mib)
{
    return (size_t)(value < mib * MIB ? value : mib * MIB);
}

static int check_sum(const struct agent_config *config, const struct needs *needs,
                     struct error *err)
{
    uint64_t max = (uint64_t)config->memory_max;
    if (max >= needs->sum)
        return OK;
    return error_set(
        err, ERROR_INPUT,
        "memory.max: %llu MiB are too little for %llu: rolling %llu (roll.rows), "
        "connections %llu (http.connections), bodies %llu (http.body_bytes) and "
        "%llu expanded (http.expanded_bytes), events %llu and lines %llu (limits.event_bytes), "
        "rows %llu, the program %d",
        (unsigned long long)(max / MIB), (unsigned long long)((needs->sum + MIB - 1) / MIB),
        (unsigned long long)(needs->roller / MIB), (unsigned long long)(needs->connections / MIB),
        (unsigned long long)(needs->bodies / MIB), (unsigned long long)(needs->expanded / MIB),
        (unsigned long long)(needs->texts / MIB), (unsigned long long)(needs->lines / MIB),
        (unsigned long long)(needs->rows / MIB), PROGRAM_MIB);
}

/* One body of the largest size always has its place, and `more` bytes over all listeners. */
static size_t share_bodies(const struct agent_config *config, const struct needs *needs,
                           uint64_t more)
{
    if (needs->https == 0)
        return 0;
    return at_most((uint64_t)config->http_body_bytes + more / TWICE / needs->https, HELD_MAX_MIB);
}

int memory_share(const struct agent_config *config, struct memory_shares *out, struct error *err)
{
    struct needs needs;
    *out = (struct memory_shares){0};
    if (config->memory_max == 0)
        return OK;
    sum_up(config, (OPEN_MIN_MIB + TWICE * REQUEST_MIN_MIB) * MIB, &needs);
    int rc = check_sum(config, &needs, err);
    if (rc != OK)
        return rc;
    uint64_t part = ((uint64_t)config->memory_max - needs.sum) / EXTRA_PARTS;
    out->open_bytes = at_most(OPEN_MIN_MIB * MIB + part, OPEN_MAX_MIB);
    out->request_bytes = at_most(REQUEST_MIN_MIB * MIB + 4 * part / TWICE, REQUEST_MAX_MIB);
    out->held_bytes = share_bodies(config, &needs, 2 * part);
    if (needs.streams > 0)
        out->line_bytes = at_most(LINES_MIN_MIB * MIB + part / needs.streams, LINES_MAX_MIB);
    return OK;
}

int memory_share_again(const struct agent_config *started, const struct agent_config *reloaded,
                       struct memory_shares *shares, struct error *err)
{
    struct agent_config config = *started;
    struct needs needs;
    if (config.memory_max == 0)
        return OK;
    config.event_bytes_max = reloaded->event_bytes_max;
    config.http_connections = reloaded->http_connections;
    config.http_body_bytes = reloaded->http_body_bytes;
    config.http_expanded_bytes = reloaded->http_expanded_bytes;
    sum_up(&config, shares->open_bytes + TWICE * (uint64_t)shares->request_bytes, &needs);
    if (needs.streams > 0) {
        uint64_t more = needs.streams * (shares->line_bytes - LINES_MIN_MIB * MIB);
        needs.lines += more;
        needs.sum += more;
    }
    int rc = check_sum(&config, &needs, err);
    if (rc != OK)
        return error_wrap(err, "what was shared out at the start stays until a restart");
    shares->held_bytes = share_bodies(&config, &needs, (uint64_t)config.memory_max - needs.sum);
    return OK;
}
