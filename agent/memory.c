/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/memory.h"

#include <string.h>

#include "agent/roller.h"

#define MIB ((uint64_t)1 << 20)

enum {
    PROGRAM_MIB = 12, /* code's data, LMDB's lists, what the allocator keeps */
    CONNECTION_BYTES = 1024,
    TEXTS_HTTP = 8, /* events' texts: any table, each with its own */
    TEXTS_OTHER = 4,
    ROLL_ROWS = 1000000, /* that ROLLER_MEMORY_MAX is for */
    OPEN_MIN_MIB = 1,
    REQUEST_MIN_MIB = 4,
    OPEN_MAX_MIB = 16,
    REQUEST_MAX_MIB = 64,
    HELD_MAX_MIB = 64,
    TWICE = 2, /* a buffer that grows doubles; a request is one event over its bound */
    EXTRA_PARTS = 8,
};

struct needs {
    uint64_t https;
    uint64_t roller;
    uint64_t connections;
    uint64_t expanded;
    uint64_t bodies;
    uint64_t texts;
    uint64_t rows;
    uint64_t sum;
};

static void sum_up(const struct agent_config *config, struct needs *out)
{
    uint64_t events = (uint64_t)config->event_bytes_max;
    *out = (struct needs){.roller = ROLLER_MEMORY_MAX,
                          .rows = (OPEN_MIN_MIB + TWICE * REQUEST_MIN_MIB) * MIB};
    if (config->roll_rows > ROLL_ROWS)
        out->roller = out->roller / ROLL_ROWS * (uint64_t)config->roll_rows;
    for (size_t i = 0; i < config->listener_count; i++) {
        bool http = strcmp(config->listeners[i].kind, "http") == 0;
        out->https += http;
        out->texts += events * (http ? TEXTS_HTTP : TEXTS_OTHER);
    }
    out->connections = out->https * (uint64_t)config->http_connections * CONNECTION_BYTES;
    out->expanded = out->https * (uint64_t)config->http_expanded_bytes;
    out->bodies = out->https * TWICE * (uint64_t)config->http_body_bytes;
    out->sum = PROGRAM_MIB * MIB + out->roller + out->connections + out->expanded + out->bodies +
               out->texts + out->rows;
}

static size_t at_most(uint64_t value, uint64_t mib)
{
    return (size_t)(value < mib * MIB ? value : mib * MIB);
}

int memory_share(const struct agent_config *config, struct memory_shares *out, struct error *err)
{
    struct needs needs;
    uint64_t max = (uint64_t)config->memory_max;
    *out = (struct memory_shares){0};
    if (max == 0)
        return OK;
    sum_up(config, &needs);
    if (max < needs.sum)
        return error_set(
            err, ERROR_INPUT,
            "memory.max: %llu MiB are too little for %llu: rolling %llu (roll.rows), "
            "connections %llu (http.connections), bodies %llu (http.body_bytes) and "
            "%llu expanded (http.expanded_bytes), events %llu (limits.event_bytes), "
            "rows %llu, the program %d",
            (unsigned long long)(max / MIB), (unsigned long long)((needs.sum + MIB - 1) / MIB),
            (unsigned long long)(needs.roller / MIB), (unsigned long long)(needs.connections / MIB),
            (unsigned long long)(needs.bodies / MIB), (unsigned long long)(needs.expanded / MIB),
            (unsigned long long)(needs.texts / MIB), (unsigned long long)(needs.rows / MIB),
            PROGRAM_MIB);
    uint64_t part = (max - needs.sum) / EXTRA_PARTS;
    out->open_bytes = at_most(OPEN_MIN_MIB * MIB + part, OPEN_MAX_MIB);
    out->request_bytes = at_most(REQUEST_MIN_MIB * MIB + 4 * part / TWICE, REQUEST_MAX_MIB);
    if (needs.https > 0)
        out->held_bytes = at_most(
            (uint64_t)config->http_body_bytes + 2 * part / TWICE / needs.https, HELD_MAX_MIB);
    return OK;
}
