/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.h: time as a parameter.
 *
 * Only loops read a clock, once a turn; decisions take the time they need. What
 * waits does so through the clock as well, so that a simulation has no waits.
 */
#ifndef LIB_BASE_CLOCK_H
#define LIB_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>

struct clock {
    int64_t (*wall_us)(void *context); /* since 1970, UTC; may jump */
    int64_t (*mono_ms)(void *context); /* CLOCK_BOOTTIME: counts sleep, never goes back */
    void (*sleep_ms)(void *context, int64_t ms);
    void *context;
};

extern const struct clock clock_system;

static inline int64_t clock_wall_us(const struct clock *clock)
{
    return clock->wall_us(clock->context);
}

static inline int64_t clock_wall_ms(const struct clock *clock)
{
    return clock_wall_us(clock) / 1000;
}

static inline int64_t clock_mono_ms(const struct clock *clock)
{
    return clock->mono_ms(clock->context);
}

static inline void clock_sleep_ms(const struct clock *clock, int64_t ms)
{
    clock->sleep_ms(clock->context, ms);
}

/* A condition to be waited on for a span. By the clock that can't be set: a wait until some
 * wall clock time lasts for hours once that clock goes back. */
void clock_condition_init(pthread_cond_t *condition);
/* Until it is signalled or `ms` have passed; as any wait it may also end early. */
void clock_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t ms);

/* For stage tables: nanoseconds of CPU time that this thread has used. */
int64_t clock_thread_cpu_ns(void);
/* For progress and stage tables: a monotonic time in nanoseconds. */
int64_t clock_mono_ns(void);

#endif
