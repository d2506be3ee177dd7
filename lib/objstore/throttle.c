/* SPDX-License-Identifier: Apache-2.0
 *
 * Additive increase, multiplicative decrease, as TCP has it. Requests that were sent before the
 * number was halved say nothing about the half: each has a ticket, and what comes back with one
 * from before the last cut changes nothing.
 *
 * A pause that all share is short at first although the store may have named minutes: some name
 * the same two minutes at each refusal (MinIO), and a store that refuses one request in fifty
 * would else be asked fifty in that time. The refused request itself does wait for what was named.
 */
#include "lib/objstore/throttle.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"

enum {
    TRIES_MAX = 4,
    TRIES_SLOW_MAX = 8,
    AFTER_MS_MAX = 30000,
    WAIT_MS = 200,
    WAIT_MS_MAX = 20000,
    STEP_MS = 200,
    STRIKES_MAX = 16,
};

struct throttle {
    const struct clock *clock;
    throttle_look *stop;
    void *stop_context;
    unsigned places_max;

    pthread_mutex_t lock;
    pthread_cond_t given_back;
    /* guarded by lock */
    unsigned places;
    unsigned taken;
    unsigned good;          /* answers since `places` changed last */
    unsigned strikes;       /* cuts since the last good answer */
    uint64_t tickets;       /* given out so far */
    uint64_t cut_at;        /* tickets below it are from before the last cut */
    int64_t pause_until_ms; /* monotonic */
};

struct throttle *throttle_open(const struct throttle_options *options)
{
    ASSERT(options->clock != NULL && options->places_max > 0);
    struct throttle *throttle = memory_alloc(1, sizeof *throttle);
    throttle->clock = options->clock;
    throttle->stop = options->stop;
    throttle->stop_context = options->stop_context;
    throttle->places_max = options->places_max;
    throttle->places = options->places_max;
    throttle->pause_until_ms = INT64_MIN;
    pthread_mutex_init(&throttle->lock, NULL);
    clock_condition_init(&throttle->given_back);
    return throttle;
}

void throttle_close(struct throttle *throttle)
{
    if (throttle == NULL)
        return;
    ASSERT(throttle->taken == 0);
    pthread_cond_destroy(&throttle->given_back);
    pthread_mutex_destroy(&throttle->lock);
    free(throttle);
}

static int64_t draw_ms(int64_t bound)
{
    struct random random;
    uint64_t seed;
    random_system(&seed, sizeof seed);
    random_seed(&random, seed);
    return (int64_t)random_below(&random, (uint64_t)bound + 1);
}

/* WAIT_MS, doubled `times` times, up to a ceiling. */
static int64_t doubled_ms(unsigned times, int64_t ceiling_ms)
{
    int64_t ms = WAIT_MS;
    for (unsigned i = 0; i < times && ms < ceiling_ms; i++)
        ms *= 2;
    return ms < ceiling_ms ? ms : ceiling_ms;
}

bool throttle_gives_up(struct throttle *throttle, throttle_look *look, void *context)
{
    return (throttle->stop != NULL && throttle->stop(throttle->stop_context)) ||
           (look != NULL && look(context));
}

/* ---- places ---- */

int throttle_enter(struct throttle *throttle, throttle_look *look, void *context, uint64_t *ticket,
                   struct error *err)
{
    pthread_mutex_lock(&throttle->lock);
    while (throttle->taken >= throttle->places) {
        /* Asked without the lock: a look may wait. */
        pthread_mutex_unlock(&throttle->lock);
        if (throttle_gives_up(throttle, look, context))
            return error_set(err, ERROR_RETRY, "stopped before it was sent");
        pthread_mutex_lock(&throttle->lock);
        /* A place may have come free meanwhile: nobody would tell of it again. */
        if (throttle->taken >= throttle->places)
            clock_condition_wait(&throttle->given_back, &throttle->lock, STEP_MS);
    }
    throttle->taken++;
    *ticket = throttle->tickets++;
    pthread_mutex_unlock(&throttle->lock);
    return OK;
}

static void cut(struct throttle *throttle, int64_t after_ms)
{
    unsigned under_way = throttle->taken < throttle->places ? throttle->taken : throttle->places;
    int64_t ceiling_ms = after_ms > 0 && after_ms < AFTER_MS_MAX ? after_ms : AFTER_MS_MAX;
    throttle->places = under_way > 1 ? under_way / 2 : 1;
    throttle->good = 0;
    throttle->cut_at = throttle->tickets;
    throttle->pause_until_ms =
        clock_mono_ms(throttle->clock) + doubled_ms(throttle->strikes, ceiling_ms);
    if (throttle->strikes < STRIKES_MAX)
        throttle->strikes++;
}

static void grow(struct throttle *throttle)
{
    throttle->strikes = 0;
    if (throttle->places == throttle->places_max || ++throttle->good < throttle->places)
        return;
    throttle->places++;
    throttle->good = 0;
}

void throttle_leave(struct throttle *throttle, uint64_t ticket, enum throttle_answer answer,
                    int64_t after_ms)
{
    pthread_mutex_lock(&throttle->lock);
    ASSERT(throttle->taken > 0 && ticket < throttle->tickets);
    bool counts = ticket >= throttle->cut_at;
    bool is_cut = counts && answer == THROTTLE_SLOW;
    if (is_cut)
        cut(throttle, after_ms);
    else if (counts && answer == THROTTLE_GOOD)
        grow(throttle);
    throttle->taken--;
    unsigned places = throttle->places;
    pthread_cond_broadcast(&throttle->given_back);
    pthread_mutex_unlock(&throttle->lock);
    if (is_cut)
        log_event(LOG_LEVEL_INFO, "store", "the store wants fewer requests at a time",
                  "at_most=%u retry_after_ms=%lld", places, (long long)after_ms);
}

unsigned throttle_places(struct throttle *throttle)
{
    pthread_mutex_lock(&throttle->lock);
    unsigned places = throttle->places;
    pthread_mutex_unlock(&throttle->lock);
    return places;
}

/* ---- waits ---- */

static int64_t pause_until_ms(struct throttle *throttle)
{
    pthread_mutex_lock(&throttle->lock);
    int64_t until_ms = throttle->pause_until_ms;
    pthread_mutex_unlock(&throttle->lock);
    return until_ms;
}

/* For wait_ms, and until the pause that all share is over, be it prolonged: up to AFTER_MS_MAX
 * more. False: given up. */
static bool wait_for(struct throttle *throttle, int64_t wait_ms, throttle_look *look, void *context)
{
    int64_t own_ms = clock_mono_ms(throttle->clock) + wait_ms;
    for (;;) {
        int64_t shared_ms = pause_until_ms(throttle);
        int64_t last_ms = own_ms + AFTER_MS_MAX;
        int64_t until_ms = shared_ms < own_ms ? own_ms : shared_ms < last_ms ? shared_ms : last_ms;
        int64_t now_ms = clock_mono_ms(throttle->clock);
        if (now_ms >= until_ms)
            return true;
        if (throttle_gives_up(throttle, look, context))
            return false;
        int64_t left_ms = until_ms - now_ms;
        clock_sleep_ms(throttle->clock, left_ms < STEP_MS ? left_ms : STEP_MS);
    }
}

int throttle_await(struct throttle *throttle, throttle_look *look, void *context, struct error *err)
{
    if (wait_for(throttle, 0, look, context))
        return OK;
    return error_set(err, ERROR_RETRY, "stopped while the store wanted a pause");
}

/* S3's answers alone have these causes: libcurl's codes are small. */
static bool is_slow(const struct error *err)
{
    return err->retry_after_ms > 0 || err->cause == 503 || err->cause == 429;
}

bool throttle_again(struct throttle *throttle, int tries, throttle_look *look, void *context,
                    const struct error *err)
{
    if (err->code != ERROR_RETRY || tries >= (is_slow(err) ? TRIES_SLOW_MAX : TRIES_MAX))
        return false;
    int64_t wait_ms = err->retry_after_ms < AFTER_MS_MAX ? err->retry_after_ms : AFTER_MS_MAX;
    wait_ms += draw_ms(doubled_ms((unsigned)tries, WAIT_MS_MAX));
    return wait_for(throttle, wait_ms, look, context);
}
