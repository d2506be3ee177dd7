/* SPDX-License-Identifier: Apache-2.0
 *
 * Seeds are handed out in blocks, a block to whichever process asks first. Each finished
 * block comes back through a pipe as one record (less than PIPE_BUF: records of several
 * processes don't mix). The state file holds one line, "FIRST DONE FAILED": all seeds from
 * FIRST on below DONE are done. Blocks that are done beyond a gap are run again after a
 * break, so that the file never claims what was not run.
 */
#include "tests/crash/simulation_jobs.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { BLOCK_MAX = 100, JOBS_MAX = 256, PROGRESS_MS = 10000 };

struct record {
    uint64_t block;
    struct totals totals;
};
_Static_assert(sizeof(struct record) <= PIPE_BUF, "a record is written whole");

struct jobs {
    const struct jobs_options *options;
    uint64_t first;
    uint64_t end;
    uint64_t block_size;
    uint64_t block_count;
    atomic_uint_fast64_t *taken; /* blocks handed out; shared */
    bool *done;
    uint64_t whole; /* blocks from the first on that are done */
    uint64_t failed_before;
    int64_t start_ms;
    int64_t told_ms;
};

static void totals_add(struct totals *to, const struct totals *from)
{
    to->schedules += from->schedules;
    to->events += from->events;
    to->lost += from->lost;
    to->operations += from->operations;
    to->crashes += from->crashes;
    to->faults += from->faults;
    to->mischiefs += from->mischiefs;
    to->failures += from->failures;
}

static _Noreturn void work(const struct jobs *jobs, int out)
{
    for (;;) {
        struct record record = {.block = atomic_fetch_add(jobs->taken, 1)};
        if (record.block >= jobs->block_count)
            break;
        uint64_t seed = jobs->first + record.block * jobs->block_size;
        uint64_t end = seed + jobs->block_size < jobs->end ? seed + jobs->block_size : jobs->end;
        for (; seed < end; seed++)
            jobs->options->run(seed, &record.totals);
        fflush(stdout);
        if (write(out, &record, sizeof record) != (ssize_t)sizeof record)
            _exit(1);
    }
    _exit(0);
}

/* ---- the state file ---- */

static void state_read(struct jobs *jobs)
{
    uint64_t first;
    uint64_t done;
    uint64_t failed;
    struct error err;
    struct buf bytes = {0};
    if (jobs->options->state == NULL || access(jobs->options->state, F_OK) != 0)
        return;
    if (file_read(jobs->options->state, 1000, &bytes, &err) == OK &&
        sscanf(buf_cstr(&bytes), "%" SCNu64 " %" SCNu64 " %" SCNu64, &first, &done, &failed) == 3 &&
        first == jobs->options->first && done > first) {
        jobs->first = done < jobs->end ? done : jobs->end;
        jobs->failed_before = failed;
        printf("%s: seeds %" PRIu64 " to %" PRIu64 " are done, %" PRIu64 " of them failed\n",
               jobs->options->state, first, done - 1, failed);
    }
    buf_free(&bytes);
}

static void state_write(const struct jobs *jobs, const struct totals *totals)
{
    struct error err;
    struct buf text = {0};
    uint64_t done = jobs->first + jobs->whole * jobs->block_size;
    buf_printf(&text, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", jobs->options->first,
               done < jobs->end ? done : jobs->end, jobs->failed_before + totals->failures);
    if (file_replace(jobs->options->state, buf_slice(&text), 0644, &err) != OK)
        fprintf(stderr, "%s: %s\n", jobs->options->state, err.text);
    buf_free(&text);
}

static void tell(struct jobs *jobs, const struct totals *totals)
{
    int64_t now_ms = clock_mono_ms(&clock_system);
    while (jobs->whole < jobs->block_count && jobs->done[jobs->whole])
        jobs->whole++;
    if (jobs->options->state == NULL ||
        (now_ms - jobs->told_ms < PROGRESS_MS && jobs->whole < jobs->block_count))
        return;
    jobs->told_ms = now_ms;
    double minutes = (double)(now_ms - jobs->start_ms + 1) / 60000;
    printf("%" PRIu64 " of %" PRIu64 " schedules, %.0f a minute, %" PRIu64 " failed\n",
           totals->schedules + (jobs->first - jobs->options->first), jobs->options->schedules,
           (double)totals->schedules / minutes, totals->failures + jobs->failed_before);
    fflush(stdout);
    state_write(jobs, totals);
}

/* ---- */

static unsigned start_workers(const struct jobs *jobs, pid_t *workers, int pipe_ends[2])
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned count = jobs->options->jobs > 0 ? jobs->options->jobs
                     : cores > 0             ? (unsigned)cores
                                             : 1;
    count = count < JOBS_MAX ? count : JOBS_MAX;
    fflush(stdout);
    for (unsigned i = 0; i < count; i++) {
        workers[i] = fork();
        ASSERT(workers[i] >= 0);
        if (workers[i] == 0) {
            close(pipe_ends[0]);
            work(jobs, pipe_ends[1]);
        }
    }
    return count;
}

static bool wait_workers(const pid_t *workers, unsigned count)
{
    bool fine = true;
    for (unsigned i = 0; i < count; i++) {
        int status = 0;
        while (waitpid(workers[i], &status, 0) < 0 && errno == EINTR)
            continue;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            printf("a process of the simulation died, status %d\n", status);
            fine = false;
        }
    }
    return fine;
}

bool jobs_run(const struct jobs_options *options, struct totals *totals)
{
    struct jobs jobs = {.options = options,
                        .first = options->first,
                        .end = options->first + options->schedules,
                        .start_ms = clock_mono_ms(&clock_system)};
    pid_t workers[JOBS_MAX];
    int pipe_ends[2];
    struct record record;
    jobs.told_ms = jobs.start_ms;
    state_read(&jobs);
    uint64_t seeds = jobs.end - jobs.first;
    jobs.block_size = seeds / 64 + 1 < BLOCK_MAX ? seeds / 64 + 1 : BLOCK_MAX;
    jobs.block_count = (seeds + jobs.block_size - 1) / jobs.block_size;
    jobs.done = memory_alloc(jobs.block_count + 1, sizeof *jobs.done);
    jobs.taken =
        mmap(NULL, sizeof *jobs.taken, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(jobs.taken != MAP_FAILED);
    int rc = pipe(pipe_ends);
    ASSERT(rc == 0);
    unsigned count = start_workers(&jobs, workers, pipe_ends);
    close(pipe_ends[1]);
    while (read(pipe_ends[0], &record, sizeof record) == (ssize_t)sizeof record) {
        totals_add(totals, &record.totals);
        jobs.done[record.block] = true;
        tell(&jobs, totals);
    }
    close(pipe_ends[0]);
    bool fine = wait_workers(workers, count);
    totals->failures += jobs.failed_before;
    munmap(jobs.taken, sizeof *jobs.taken);
    free(jobs.done);
    return fine;
}
