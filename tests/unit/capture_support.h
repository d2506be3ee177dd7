/* SPDX-License-Identifier: Apache-2.0
 *
 * A capture over a spool of its own, and tickets that can be waited for.
 */
#ifndef TESTS_UNIT_CAPTURE_SUPPORT_H
#define TESTS_UNIT_CAPTURE_SUPPORT_H

#include "tests/unit/spool_support.h"

#include <pthread.h>
#include <stdatomic.h>

#include "agent/capture/state.h"

struct bench {
    struct fixture spool;
    struct mapping_set mappings;
    struct capture *capture;
    struct clock clock;
    _Atomic int64_t wall_us;
};

static inline int64_t bench_wall_us(void *context)
{
    return atomic_load(&((struct bench *)context)->wall_us);
}

static inline int64_t bench_mono_ms(void *context)
{
    (void)context;
    return clock_mono_ms(&clock_system);
}

/* What the options leave out is filled in. */
static inline void bench_open_sized(struct bench *bench, struct capture_options options,
                                    uint64_t spool_bytes)
{
    static const char *const names[] = {"openrtb"};
    struct error err;
    *bench = (struct bench){.clock = {.wall_us = bench_wall_us, .mono_ms = bench_mono_ms}};
    bench->clock.context = bench;
    atomic_store(&bench->wall_us, 1000000);
    fixture_init(&bench->spool);
    bench->spool.bytes_max = spool_bytes;
    fixture_open(&bench->spool);
    must(mapping_set_load(&bench->mappings, names, 1, &err), &err);
    options.spool = bench->spool.spool;
    options.mappings = &bench->mappings;
    options.agent_id = "a1";
    options.namespace = "db";
    options.clock = &bench->clock;
    must(capture_open(&bench->capture, &options, &err), &err);
}

static inline void bench_open_with(struct bench *bench, size_t open_bytes_max,
                                   size_t request_bytes_max)
{
    struct capture_options options = {.open_bytes_max = open_bytes_max,
                                      .request_bytes_max = request_bytes_max};
    bench_open_sized(bench, options, 512 << 20);
}

static inline void bench_open(struct bench *bench, size_t open_bytes_max)
{
    bench_open_with(bench, open_bytes_max, 0);
}

static inline void bench_close(struct bench *bench)
{
    capture_close(bench->capture);
    mapping_set_free(&bench->mappings);
    fixture_free(&bench->spool);
}

/* A ticket that can be waited for. */
struct waiter {
    struct ticket ticket; /* first */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    int rc;
};

static inline void on_done(struct ticket *ticket, int rc, const struct error *err)
{
    struct waiter *waiter = (struct waiter *)ticket;
    (void)err;
    pthread_mutex_lock(&waiter->lock);
    waiter->done = true;
    waiter->rc = rc;
    pthread_cond_signal(&waiter->changed);
    pthread_mutex_unlock(&waiter->lock);
}

static inline void waiter_init(struct waiter *waiter)
{
    *waiter = (struct waiter){.ticket = {.done = on_done}};
    pthread_mutex_init(&waiter->lock, NULL);
    pthread_cond_init(&waiter->changed, NULL);
}

static inline int waiter_wait(struct waiter *waiter)
{
    pthread_mutex_lock(&waiter->lock);
    while (!waiter->done)
        pthread_cond_wait(&waiter->changed, &waiter->lock);
    pthread_mutex_unlock(&waiter->lock);
    return waiter->rc;
}

static inline uint64_t end_of(struct bench *bench, const char *table)
{
    struct arena arena = {0};
    struct spool_streams streams = {0};
    struct error err;
    uint64_t end = 0;
    must(spool_list_streams(bench->spool.spool, &arena, &streams, &err), &err);
    for (size_t i = 0; i < streams.count; i++) {
        const char *name = strrchr(streams.streams[i].name, '.');
        if (strcmp(name + 1, table) == 0)
            end += streams.streams[i].end;
    }
    arena_free(&arena);
    return end;
}

#endif
