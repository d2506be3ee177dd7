/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/clock.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

#include "lib/base/assert.h"

static int64_t read_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t system_wall_us(void *context)
{
    (void)context;
    return read_ns(CLOCK_REALTIME) / 1000;
}

static int64_t system_mono_ms(void *context)
{
    (void)context;
    return read_ns(CLOCK_BOOTTIME) / 1000000;
}

static void system_sleep_ms(void *context, int64_t ms)
{
    (void)context;
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    while (ms > 0 && clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
        continue;
}

const struct clock clock_system = {
    .wall_us = system_wall_us, .mono_ms = system_mono_ms, .sleep_ms = system_sleep_ms};

void clock_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    int failed = pthread_condattr_init(&attributes);
    if (failed == 0)
        failed = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (failed == 0)
        failed = pthread_cond_init(condition, &attributes);
    ASSERT(failed == 0);
    pthread_condattr_destroy(&attributes);
}

void clock_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t ms)
{
    int64_t until_ns = read_ns(CLOCK_MONOTONIC) + ms * 1000000;
    struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    pthread_cond_timedwait(condition, lock, &until);
}

int64_t clock_thread_cpu_ns(void)
{
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

int64_t clock_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}
