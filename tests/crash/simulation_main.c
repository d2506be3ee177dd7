/* SPDX-License-Identifier: Apache-2.0
 *
 * simulation: runs schedules of the world, one a seed, and checks the invariants.
 *
 *   simulation --schedules 2000 [--first SEED] [--jobs N] [--break store|catalog|receipts]
 *   simulation --schedules 1000000 --jobs 0 --state FILE    long, and goes on where it was
 *   simulation --seed SEED            one schedule, told step by step
 *   simulation --find SCHEDULES       until the first one fails; 1 when one did
 *   simulation --control SCHEDULES    the checks must find each broken part within so many
 */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "tests/crash/simulation_jobs.h"
#include "tests/crash/world.h"

enum { STEPS_MIN = 100, STEPS_MORE = 350, CHECK_EVERY = 250, REPORTED_MAX = 20 };
enum { FILLER_BYTES = 20000, SMALL_BUDGET = 1 << 20 };

static const char *const control_names[] = {"", "store", "catalog", "receipts"};

/* From calm to wild; each seed has its own mix. */
static void draw_rates(struct world *world)
{
    struct random *random = &world->random;
    unsigned wild = (unsigned)random_below(random, 4);
    world->rates = (struct fault_rates){.before = (unsigned)random_below(random, 15 * wild + 1),
                                        .after = (unsigned)random_below(random, 15 * wild + 1),
                                        .late = (unsigned)random_below(random, 10 * wild + 1),
                                        .stale = (unsigned)random_below(random, 10 * wild + 1),
                                        .duplicate = (unsigned)random_below(random, 20 * wild + 1),
                                        .crash = (unsigned)random_below(random, 6 * wild + 1),
                                        .disk = (unsigned)random_below(random, 4 * wild + 1)};
}

static void draw_actors(struct world *world)
{
    uint64_t agents = 1 + random_below(&world->random, 3);
    uint64_t committers = 1 + random_below(&world->random, 3);
    for (uint64_t i = 0; i < agents; i++) {
        struct actor *agent = world_add_agent(world);
        if (random_below(&world->random, 4) == 0)
            agent->leap_us = ((int64_t)random_below(&world->random, 40) - 20) * 1000000;
    }
    for (uint64_t i = 0; i < committers; i++)
        world_add_committer(world);
    if (random_below(&world->random, 8) == 0) { /* full disks */
        world->spool_bytes = SMALL_BUDGET;
        world->filler = FILLER_BYTES;
        world->drop_oldest = random_below(&world->random, 2) == 0;
    }
}

static char first_failure[WORLD_TEXT];

static bool run(uint64_t seed, bool trace, enum world_control control, struct totals *totals)
{
    struct world world;
    struct random random;
    random_seed(&random, seed);
    world_open(&world, seed, 1 + random_below(&random, TABLES_MAX), trace);
    world.control = control;
    world.faults_on = true;
    bool mischief = control != CONTROL_NONE || random_below(&world.random, 2) == 0;
    world.upgrades = random_below(&world.random, 2) == 0;
    world.long_lived = mischief && random_below(&world.random, 2) == 0;
    draw_rates(&world);
    draw_actors(&world);
    uint64_t steps = STEPS_MIN + random_below(&world.random, STEPS_MORE);
    for (uint64_t step = 1; step <= steps && !world.failed; step++) {
        world_step(&world);
        if (mischief)
            world_mischief(&world);
        if (step % CHECK_EVERY == 0)
            world_check(&world, false);
    }
    if (!world.failed)
        world_settle(&world);
    if (!world.failed)
        world_check(&world, true);
    totals->schedules++;
    totals->events += world.events;
    totals->lost += world_lost(&world);
    totals->operations += world.operations;
    totals->crashes += world.crashes;
    totals->faults += world.faults;
    totals->mischiefs += world.mischiefs;
    totals->failures += world.failed;
    if (world.failed && control == CONTROL_NONE && totals->failures <= REPORTED_MAX)
        printf("seed %" PRIu64 ": %s\n  replay: %s --seed %" PRIu64 "\n", seed, world.failure,
               program_invocation_name, seed);
    bool failed = world.failed;
    if (failed && first_failure[0] == 0)
        memcpy(first_failure, world.failure, sizeof first_failure);
    world_close(&world);
    return !failed;
}

/* A check that no broken part ever fails checks nothing. */
static int run_controls(uint64_t schedules)
{
    int rc = 0;
    for (int control = CONTROL_STORE; control <= CONTROL_RECEIPTS; control++) {
        struct totals totals = {0};
        uint64_t seed = 1;
        while (seed <= schedules && run(seed, false, (enum world_control)control, &totals))
            seed++;
        if (seed > schedules)
            rc = 1;
        printf("with a broken %s: %s %" PRIu64 " schedules\n", control_names[control],
               seed > schedules ? "NOTHING FOUND in" : "found within", totals.schedules);
    }
    return rc;
}

/* For a product with a mistake in it: how long until it shows, and as what. */
static int find_first(uint64_t schedules)
{
    struct totals totals = {.failures = REPORTED_MAX}; /* says it once, here */
    uint64_t seed = 1;
    while (seed <= schedules && run(seed, false, CONTROL_NONE, &totals))
        seed++;
    if (seed > schedules)
        printf("nothing found in %" PRIu64 " schedules\n", schedules);
    else
        printf("found within %" PRIu64 ": %s\n", seed, first_failure);
    return seed > schedules ? 0 : 1;
}

static enum world_control broken; /* of run_one: a seed has no other argument */
static bool told;

static void run_one(uint64_t seed, struct totals *totals)
{
    run(seed, told, broken, totals);
}

static int run_many(const struct jobs_options *options)
{
    struct totals totals = {0};
    int64_t start_ns = clock_mono_ns();
    bool fine = true;
    if (options->jobs == 1 && options->state == NULL) {
        for (uint64_t i = 0; i < options->schedules; i++)
            run_one(options->first + i, &totals);
    } else {
        fine = jobs_run(options, &totals);
    }
    double seconds = (double)(clock_mono_ns() - start_ns) / 1e9;
    printf("%" PRIu64 " schedules in %.1f s (%.0f a minute): %" PRIu64 " events, %" PRIu64
           " of them counted as lost, %" PRIu64 " operations, %" PRIu64 " faults, %" PRIu64
           " crashes, %" PRIu64 " hands from outside; %" PRIu64 " failed\n",
           totals.schedules, seconds, 60.0 * (double)totals.schedules / seconds, totals.events,
           totals.lost, totals.operations, totals.faults, totals.crashes, totals.mischiefs,
           totals.failures);
    return fine && totals.failures == 0 ? 0 : 1;
}

static int usage(void)
{
    fprintf(stderr, "usage: simulation --schedules COUNT [--first SEED] [--jobs N] [--state FILE]\n"
                    "                  [--break store|catalog|receipts]\n"
                    "       simulation --seed SEED | --find SCHEDULES | --control SCHEDULES\n");
    return 2;
}

static bool control_parse(const char *name)
{
    for (int c = CONTROL_STORE; c <= CONTROL_RECEIPTS; c++)
        broken = strcmp(name, control_names[c]) == 0 ? (enum world_control)c : broken;
    return broken != CONTROL_NONE;
}

/* In libc's place: an agent gives back what it built a segment in, and thousands of small ones
 * spent a tenth of the time on taking it again. */
int malloc_trim(size_t pad)
{
    (void)pad;
    return 0;
}

int main(int argc, char **argv)
{
    struct jobs_options options = {.first = 1, .schedules = 1, .jobs = 1, .run = run_one};
    bool controls = false;
    bool find = false;
    if (argc % 2 == 0)
        return usage();
    mallopt(M_TRIM_THRESHOLD, 1 << 30); /* what one schedule gives back the next one takes */
    mallopt(M_MMAP_THRESHOLD, 1 << 20); /* but LMDB's lists need not be zeroed by hand */
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seed") == 0) {
            options.first = value;
            told = true;
        } else if (strcmp(argv[i], "--schedules") == 0) {
            options.schedules = value;
        } else if (strcmp(argv[i], "--first") == 0) {
            options.first = value;
        } else if (strcmp(argv[i], "--jobs") == 0) {
            options.jobs = (unsigned)value;
        } else if (strcmp(argv[i], "--state") == 0) {
            options.state = argv[i + 1];
        } else if (strcmp(argv[i], "--control") == 0) {
            controls = true;
            options.schedules = value;
        } else if (strcmp(argv[i], "--find") == 0) {
            find = true;
            options.schedules = value;
        } else if (strcmp(argv[i], "--break") != 0 || !control_parse(argv[i + 1])) {
            return usage();
        }
    }
    if (!told)
        log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    if (find)
        return find_first(options.schedules);
    return controls ? run_controls(options.schedules) : run_many(&options);
}
