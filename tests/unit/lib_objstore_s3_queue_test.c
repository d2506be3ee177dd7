/* SPDX-License-Identifier: Apache-2.0
 *
 * A request to S3 that waits for its place, behind one that has the only one.
 */
#include <limits.h>
#include <stdatomic.h>

#include "tests/unit/lib_objstore_s3_support.h"

enum { WITHIN_MS = 20000 };
static const struct slice hello = {(const uint8_t *)"hello", 5};

struct queue {
    struct bench bench;
    struct clock clock;
    _Atomic int64_t wall_us;
    atomic_uint asked; /* whether to give up */
    unsigned gives_up_at;
    bool by_pace; /* it is the body's pace that is asked and counts */

    pthread_t second;
    bool begun;
    atomic_bool ended;
    int rc;
    struct error err;
    unsigned asked_meanwhile; /* while the first had the place */
    bool ended_meanwhile;
};

static int64_t queue_wall_us(void *context)
{
    struct queue *queue = context;
    return atomic_load(&queue->wall_us);
}

static int64_t queue_mono_ms(void *context)
{
    (void)context;
    return 0;
}

static void queue_sleep_ms(void *context, int64_t ms)
{
    (void)context;
    (void)ms;
}

static bool is_enough(struct queue *queue)
{
    return atomic_fetch_add(&queue->asked, 1) + 1 >= queue->gives_up_at;
}

static bool queue_stop(void *context)
{
    struct queue *queue = context;
    return !queue->by_pace && is_enough(queue);
}

static int second_pace(void *context, size_t bytes, struct error *err)
{
    struct queue *queue = context;
    if (bytes == 0 && queue->by_pace && is_enough(queue))
        return error_set(err, ERROR_RETRY, "the end is near");
    return OK;
}

static void *second_put(void *context)
{
    struct queue *queue = context;
    struct objstore_body body = {.bytes = hello, .pace = second_pace, .pace_context = queue};
    queue->rc =
        objstore_put(queue->bench.store, "b", &body, crc32c(0, hello), PUT_ALWAYS, &queue->err);
    atomic_store(&queue->ended, true);
    return NULL;
}

/* The first one is under way: lets the second come and wait, and a third of an hour pass. */
static int first_pace(void *context, size_t bytes, struct error *err)
{
    struct queue *queue = context;
    (void)bytes;
    (void)err;
    if (queue->begun)
        return OK;
    queue->begun = true;
    int64_t until_ns = clock_mono_ns() + WITHIN_MS * INT64_C(1000000);
    bool gives_up = queue->gives_up_at != UINT_MAX;
    if (pthread_create(&queue->second, NULL, second_put, queue) != 0)
        abort();
    while (clock_mono_ns() < until_ns &&
           !(gives_up ? atomic_load(&queue->ended) : atomic_load(&queue->asked) > 0))
        clock_sleep_ms(&clock_system, 1);
    queue->asked_meanwhile = atomic_load(&queue->asked);
    queue->ended_meanwhile = atomic_load(&queue->ended);
    atomic_fetch_add(&queue->wall_us, INT64_C(1200) * 1000000);
    return OK;
}

#define PUT_B "PUT /lake/wh/b HTTP/1.1"

static void queue_run(struct queue *queue)
{
    struct objstore_body body = {.bytes = hello, .pace = first_pace, .pace_context = queue};
    struct bench *bench = &queue->bench;
    queue->clock = (struct clock){queue_wall_us, queue_mono_ms, queue_sleep_ms, queue};
    queue->wall_us = INT64_C(1790000000) * 1000000; /* 2026-09-21 14:13:20 */
    bench->clock = &queue->clock;
    bench->stop = queue_stop;
    bench->stop_context = queue;
    bench->steps[0] = (struct step)SLOW(PUT_A, NULL);
    bench->steps[1] = (struct step){PUT_A, "200 OK", NULL, ""};
    bench_open(bench);
    /* One alone was under way: one place is left. */
    assert_int_equal(objstore_put_bytes(bench->store, "a", hello, PUT_ALWAYS, &bench->err),
                     ERROR_RETRY);
    assert_int_equal(
        objstore_put(bench->store, "a", &body, crc32c(0, hello), PUT_ALWAYS, &bench->err), OK);
    assert_true(queue->begun);
    pthread_join(queue->second, NULL);
    assert_true(queue->asked_meanwhile > 0);
}

/* The harm: a request that stood in the queue for a quarter of an hour is refused for its old
 * signature, and a person is told that the clock is off. */
static void what_waited_is_signed_when_it_goes(void **state)
{
    (void)state;
    struct queue queue = {.gives_up_at = UINT_MAX,
                          .bench = {.steps = {[2] = {PUT_B, "200 OK", NULL, ""}}}};
    queue_run(&queue);
    assert_int_equal(queue.rc, OK);
    assert_true(was_said(&queue.bench, 1, "x-amz-date: 20260921T141320Z\r\n"));
    assert_true(was_said(&queue.bench, 2, "x-amz-date: 20260921T143320Z\r\n"));
    bench_close(&queue.bench);
}

/* The harm: who is told to end sends all that stands in the queue first, one after the other. */
static void a_stop_ends_the_wait_for_a_place(void **state)
{
    (void)state;
    for (int by_pace = 0; by_pace < 2; by_pace++) {
        struct queue queue = {.gives_up_at = 2, .by_pace = by_pace != 0};
        queue_run(&queue);
        assert_true(queue.ended_meanwhile);
        assert_int_equal(queue.rc, ERROR_RETRY);
        assert_non_null(strstr(queue.err.text, "stopped"));
        /* It left nothing behind it: the place is free. */
        queue.bench.steps[2] = (struct step){PUT_A, "200 OK", NULL, ""};
        assert_int_equal(
            objstore_put_bytes(queue.bench.store, "a", hello, PUT_ALWAYS, &queue.bench.err), OK);
        bench_close(&queue.bench);
    }
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_waited_is_signed_when_it_goes),
        cmocka_unit_test(a_stop_ends_the_wait_for_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
