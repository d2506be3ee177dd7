/* SPDX-License-Identifier: Apache-2.0
 *
 * throttle.h: how many requests a store in a cloud is asked at a time, and when it is asked again.
 *
 * Places  A request takes a place and gives it back with what became of it. A store that says
 *         "slow down" leaves half as many as were under way, once for all requests that were under
 *         way together; each round of good answers gives one back. Who finds none free waits for
 *         one, in no order: who gives up holds nobody else up.
 * Waits   What failed may be tried again in place: after the time that the store named, but half a
 *         minute at most, and a jitter that doubles with each try. Meanwhile nothing new is begun
 *         by throttle_await: for a fraction of a second at first, for longer if the store goes on
 *         refusing, never for longer than the time that it named.
 * Bounds  Of one thing up to eight tries where the store says "slow down", four at other failures:
 *         its waits together take less than ten minutes.
 * Stop    Whoever waits, for a place too, asks five times a second at least whether it is to give
 *         up. What need not wait goes on: a request that hangs then is the HTTP client's to end.
 * Threads any number.
 */
#ifndef LIB_OBJSTORE_THROTTLE_H
#define LIB_OBJSTORE_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/clock.h"
#include "lib/base/error.h"

struct throttle;

/* True: whoever waits is to give up. */
typedef bool throttle_look(void *context);

struct throttle_options {
    const struct clock *clock;
    unsigned places_max;
    throttle_look *stop; /* NULL: never */
    void *stop_context;
};

/* What became of a request. */
enum throttle_answer {
    THROTTLE_NONE, /* nobody knows, or the store is ill: says nothing about how many it takes */
    THROTTLE_GOOD, /* it was answered, be it by a refusal */
    THROTTLE_SLOW, /* the store wants fewer */
};

struct throttle *throttle_open(const struct throttle_options *options);
void throttle_close(struct throttle *throttle);

/* Takes a place, for which it may wait, in real time; *ticket is to give it back with. Who holds
 * one must not ask for another. `look` (NULL: none) is asked while it waits. ERROR_RETRY: it was
 * given up, and there is no ticket. */
int throttle_enter(struct throttle *throttle, throttle_look *look, void *context, uint64_t *ticket,
                   struct error *err) MUST_USE;
/* after_ms: the time that the store named; 0: none. */
void throttle_leave(struct throttle *throttle, uint64_t ticket, enum throttle_answer answer,
                    int64_t after_ms);

/* Until something new may be begun. `look` (NULL: none) is asked while it waits.
 * ERROR_RETRY: it was given up. */
int throttle_await(struct throttle *throttle, throttle_look *look, void *context,
                   struct error *err) MUST_USE;
/* After the try number `tries` (from 1), which failed with `err`: waits and returns true where
 * another one makes sense. False: `err` stands. */
bool throttle_again(struct throttle *throttle, int tries, throttle_look *look, void *context,
                    const struct error *err);

/* Whether what goes on without a wait is to end: asks `stop` and `look` (NULL: none). */
bool throttle_gives_up(struct throttle *throttle, throttle_look *look, void *context);

/* How many there are now. */
unsigned throttle_places(struct throttle *throttle);

#endif
