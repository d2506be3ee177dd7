/* SPDX-License-Identifier: Apache-2.0
 *
 * jump.so: a wall clock that can be put wrong while a program runs, for LD_PRELOAD. The
 * file BIDLAKE_CLOCK holds the nanoseconds to be added, as 8 bytes; who writes there moves
 * CLOCK_REALTIME of all who have it mapped, and no other clock. A wait until a time of that
 * clock takes as long as the kernel would let it: until the clock has come there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { BILLION = 1000000000, SLICE_NS = 20000000 };

static const _Atomic long long none = 0;
static const _Atomic long long *offset_ns = &none;

static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_wait)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);

/* Other libraries read the clock before our constructor would run: first use attaches. */
static void attach(void)
{
    if (real_gettime != NULL)
        return;
    const char *path = getenv("BIDLAKE_CLOCK");
    real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real_wait = (int (*)(pthread_cond_t *, pthread_mutex_t *, clockid_t,
                         const struct timespec *))dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *found = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0);
    if (fd < 0 || found == MAP_FAILED || real_gettime == NULL || real_wait == NULL)
        abort(); /* a test that tests nothing */
    offset_ns = found;
    close(fd);
}

static long long wall_ns(void)
{
    struct timespec now;
    attach();
    real_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * (long long)BILLION + now.tv_nsec + atomic_load(offset_ns);
}

static struct timespec spec_of(long long ns)
{
    return (struct timespec){.tv_sec = ns / BILLION, .tv_nsec = ns % BILLION};
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    attach();
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return real_gettime(clock, out);
    *out = spec_of(wall_ns());
    return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    (void)zone;
    long long us = wall_ns() / 1000;
    *out = (struct timeval){.tv_sec = us / 1000000, .tv_usec = us % 1000000};
    return 0;
}

time_t time(time_t *out)
{
    time_t now = (time_t)(wall_ns() / BILLION);
    if (out != NULL)
        *out = now;
    return now;
}

/* Which clock a condition has is not to be seen from outside, but times since 1970 and
 * times since the machine's start can't be mixed up. */
int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict lock,
                           const struct timespec *restrict until)
{
    attach();
    if (until->tv_sec < BILLION)
        return real_wait(cond, lock, CLOCK_MONOTONIC, until);
    long long until_ns = until->tv_sec * (long long)BILLION + until->tv_nsec;
    for (;;) {
        struct timespec slice;
        long long left_ns = until_ns - wall_ns();
        if (left_ns <= 0)
            return ETIMEDOUT;
        real_gettime(CLOCK_MONOTONIC, &slice);
        slice = spec_of(slice.tv_sec * (long long)BILLION + slice.tv_nsec +
                        (left_ns < SLICE_NS ? left_ns : SLICE_NS));
        int rc = real_wait(cond, lock, CLOCK_MONOTONIC, &slice);
        if (rc != ETIMEDOUT)
            return rc;
    }
}
