/* SPDX-License-Identifier: Apache-2.0
 *
 * How many requests a store is asked at a time, and when again.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/log.h"
#include "lib/objstore/throttle.h"

/* A clock that stands still, but for sleep. */
static int64_t now_ms;

static int64_t stub_wall_us(void *context)
{
    (void)context;
    return INT64_C(1790000000) * 1000000;
}

static int64_t stub_mono_ms(void *context)
{
    (void)context;
    return now_ms;
}

static void stub_sleep_ms(void *context, int64_t ms)
{
    (void)context;
    now_ms += ms;
}

static const struct clock stub = {stub_wall_us, stub_mono_ms, stub_sleep_ms, NULL};

static struct throttle *open_for(unsigned places, throttle_look *stop)
{
    struct throttle_options options = {.clock = &stub, .places_max = places, .stop = stop};
    now_ms = 1000;
    return throttle_open(&options);
}

static uint64_t enter(struct throttle *throttle)
{
    struct error err;
    uint64_t ticket;
    assert_int_equal(throttle_enter(throttle, NULL, NULL, &ticket, &err), OK);
    return ticket;
}

/* So many requests under way together, of which so many are refused. */
static void burst(struct throttle *throttle, size_t count, size_t refused, int64_t after_ms)
{
    uint64_t tickets[64];
    for (size_t i = 0; i < count; i++)
        tickets[i] = enter(throttle);
    for (size_t i = 0; i < count; i++)
        throttle_leave(throttle, tickets[i], i < refused ? THROTTLE_SLOW : THROTTLE_GOOD,
                       i < refused ? after_ms : 0);
}

static int64_t pause_ms(struct throttle *throttle)
{
    struct error err;
    int64_t start_ms = now_ms;
    assert_int_equal(throttle_await(throttle, NULL, NULL, &err), OK);
    return now_ms - start_ms;
}

static struct error slow(int64_t after_ms)
{
    struct error err;
    (void)error_set(&err, ERROR_RETRY, "slow down");
    err.cause = 503;
    err.retry_after_ms = after_ms;
    return err;
}

/* The harm: a store that is asked by too many hears as many the next time, for ever. */
static void the_number_is_halved_once_and_grows_back(void **state)
{
    (void)state;
    struct throttle *throttle = open_for(32, NULL);
    assert_int_equal(throttle_places(throttle), 32);
    burst(throttle, 20, 20, 0);
    assert_int_equal(throttle_places(throttle), 10); /* of those under way, and once for all */
    burst(throttle, 10, 1, 0);
    assert_int_equal(throttle_places(throttle), 5);
    for (size_t places = 5; places < 32; places++) {
        assert_int_equal(throttle_places(throttle), places);
        burst(throttle, places, 0, 0);
    }
    burst(throttle, 32, 0, 0);
    assert_int_equal(throttle_places(throttle), 32); /* and no further */
    for (int i = 0; i < 10; i++)
        burst(throttle, 1, 1, 0);
    assert_int_equal(throttle_places(throttle), 1);
    throttle_close(throttle);
}

/* What was sent before a cut says nothing about what holds since. */
static void late_answers_count_for_nothing(void **state)
{
    (void)state;
    struct throttle *throttle = open_for(8, NULL);
    uint64_t tickets[8];
    for (size_t i = 0; i < 8; i++)
        tickets[i] = enter(throttle);
    throttle_leave(throttle, tickets[0], THROTTLE_SLOW, 0);
    for (size_t i = 1; i < 8; i++)
        throttle_leave(throttle, tickets[i], i % 2 == 0 ? THROTTLE_GOOD : THROTTLE_SLOW, 0);
    assert_int_equal(throttle_places(throttle), 4);
    throttle_leave(throttle, enter(throttle), THROTTLE_NONE, 0);
    assert_int_equal(throttle_places(throttle), 4);
    throttle_close(throttle);
}

struct crowd {
    struct throttle *throttle;
    atomic_uint inside;
    atomic_uint most;
};

static void *crowd_work(void *context)
{
    struct crowd *crowd = context;
    for (int i = 0; i < 200; i++) {
        struct error err;
        uint64_t ticket;
        if (throttle_enter(crowd->throttle, NULL, NULL, &ticket, &err) != OK)
            abort();
        unsigned inside = atomic_fetch_add(&crowd->inside, 1) + 1;
        unsigned most = atomic_load(&crowd->most);
        while (inside > most && !atomic_compare_exchange_weak(&crowd->most, &most, inside))
            continue;
        sched_yield();
        atomic_fetch_sub(&crowd->inside, 1);
        throttle_leave(crowd->throttle, ticket, THROTTLE_NONE, 0);
    }
    return NULL;
}

static void no_more_than_the_number_are_inside(void **state)
{
    enum { CROWD = 8 };
    (void)state;
    struct crowd crowd = {.throttle = open_for(CROWD, NULL)};
    pthread_t threads[CROWD];
    burst(crowd.throttle, 4, 4, 0);
    for (size_t i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_work, &crowd), 0);
    for (size_t i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(crowd.most, 1, 2);
    throttle_close(crowd.throttle);
}

struct waiter {
    struct throttle *throttle;
    pthread_t thread;
    unsigned gives_up_at;
    atomic_uint asked;
    int rc;
    uint64_t ticket;
};

static bool waiter_look(void *context)
{
    struct waiter *waiter = context;
    return atomic_fetch_add(&waiter->asked, 1) + 1 == waiter->gives_up_at;
}

static void *waiter_work(void *context)
{
    struct waiter *waiter = context;
    struct error err;
    waiter->rc = throttle_enter(waiter->throttle, waiter_look, waiter, &waiter->ticket, &err);
    return NULL;
}

/* The harm: who is told to end waits for all that was begun before; who stands behind one that
 * gave up waits for ever. */
static void who_gives_up_a_place_takes_none(void **state)
{
    (void)state;
    struct throttle *throttle = open_for(1, NULL);
    struct waiter waiters[2] = {{.throttle = throttle, .gives_up_at = 3}, {.throttle = throttle}};
    uint64_t ticket = enter(throttle);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, waiter_work, &waiters[i]), 0);
        while (atomic_load(&waiters[i].asked) == 0)
            sched_yield();
    }
    pthread_join(waiters[0].thread, NULL); /* while the place is taken */
    assert_int_equal(waiters[0].rc, ERROR_RETRY);
    assert_int_equal(waiters[0].asked, 3);
    throttle_leave(throttle, ticket, THROTTLE_NONE, 0);
    pthread_join(waiters[1].thread, NULL);
    assert_int_equal(waiters[1].rc, OK);
    throttle_leave(throttle, waiters[1].ticket, THROTTLE_NONE, 0);
    throttle_close(throttle);
}

/* The harm: a store that names two minutes at each refusal, one in fifty, takes an hour for what
 * takes a minute; one that refuses all is asked by all the time. */
static void a_pause_grows_as_the_store_goes_on_refusing(void **state)
{
    (void)state;
    struct throttle *throttle = open_for(8, NULL);
    assert_int_equal(pause_ms(throttle), 0);
    int64_t before_ms = 0;
    for (int i = 0; i < 20; i++) {
        burst(throttle, 1, 1, 120000);
        int64_t now = pause_ms(throttle);
        assert_in_range(now, i == 0 ? 1 : before_ms, i == 0 ? 500 : 30000);
        before_ms = now;
    }
    assert_int_equal(before_ms, 30000);
    burst(throttle, 1, 1, 700); /* no longer than was named */
    assert_int_equal(pause_ms(throttle), 700);
    burst(throttle, 1, 0, 0);
    burst(throttle, 1, 1, 120000);
    assert_in_range(pause_ms(throttle), 1, 500);
    throttle_close(throttle);
}

/* The harm: a Retry-After that is not obeyed, and one of an hour that is. */
static void what_is_named_is_waited_for_within_bounds(void **state)
{
    (void)state;
    struct throttle *throttle = open_for(8, NULL);
    struct error err = slow(5000);
    assert_true(throttle_again(throttle, 1, NULL, NULL, &err));
    assert_in_range(now_ms - 1000, 5000, 5500);
    int64_t start_ms = now_ms;
    err = slow(3600000);
    int tries = 1;
    while (throttle_again(throttle, tries, NULL, NULL, &err))
        tries++;
    assert_int_equal(tries, 8);
    assert_in_range(now_ms - start_ms, 7 * 30000, 7 * 30000 + 50000);
    start_ms = now_ms;
    (void)error_set(&err, ERROR_RETRY, "no connection");
    for (tries = 1; throttle_again(throttle, tries, NULL, NULL, &err);)
        tries++;
    assert_int_equal(tries, 4);
    assert_in_range(now_ms - start_ms, 0, 3000);
    (void)error_set(&err, ERROR_DENIED, "no");
    assert_false(throttle_again(throttle, 1, NULL, NULL, &err));
    throttle_close(throttle);
}

/* The harm: 2,000 agents that come back in the same millisecond. */
static void waits_are_spread(void **state)
{
    (void)state;
    struct throttle *throttle = open_for(8, NULL);
    struct error err = slow(1000);
    bool differ = false;
    int64_t first_ms = 0;
    for (int i = 0; i < 40; i++) {
        int64_t start_ms = now_ms;
        assert_true(throttle_again(throttle, 4, NULL, NULL, &err));
        assert_in_range(now_ms - start_ms, 1000, 1000 + 3200);
        differ = differ || (i > 0 && now_ms - start_ms != first_ms);
        first_ms = now_ms - start_ms;
    }
    assert_true(differ);
    throttle_close(throttle);
}

static int64_t stop_at_ms;

static bool is_to_stop(void *context)
{
    (void)context;
    return now_ms >= stop_at_ms;
}

/* The harm: who is told to end within ten seconds is killed. */
static void a_stop_ends_a_wait(void **state)
{
    (void)state;
    struct error err = slow(30000);
    struct throttle *throttle = open_for(8, is_to_stop);
    stop_at_ms = now_ms + 3000;
    assert_false(throttle_again(throttle, 1, NULL, NULL, &err));
    assert_in_range(now_ms, stop_at_ms, stop_at_ms + 200);
    assert_int_equal(throttle_await(throttle, NULL, NULL, &err), OK); /* nothing to wait for */
    burst(throttle, 1, 1, 0);
    assert_int_equal(throttle_await(throttle, NULL, NULL, &err), ERROR_RETRY);
    uint64_t ticket = enter(throttle); /* as there is one */
    uint64_t none;
    assert_int_equal(throttle_enter(throttle, NULL, NULL, &none, &err), ERROR_RETRY);
    throttle_leave(throttle, ticket, THROTTLE_NONE, 0);
    throttle_close(throttle);
    throttle = open_for(8, NULL);
    stop_at_ms = now_ms + 3000;
    err = slow(30000);
    assert_false(throttle_again(throttle, 1, is_to_stop, NULL, &err));
    assert_in_range(now_ms, stop_at_ms, stop_at_ms + 200);
    throttle_close(throttle);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_number_is_halved_once_and_grows_back),
        cmocka_unit_test(late_answers_count_for_nothing),
        cmocka_unit_test(no_more_than_the_number_are_inside),
        cmocka_unit_test(who_gives_up_a_place_takes_none),
        cmocka_unit_test(a_pause_grows_as_the_store_goes_on_refusing),
        cmocka_unit_test(what_is_named_is_waited_for_within_bounds),
        cmocka_unit_test(waits_are_spread),
        cmocka_unit_test(a_stop_ends_a_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
