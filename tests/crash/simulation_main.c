/* SPDX-License-Identifier: Apache-2.0
 *
 * simulation: runs schedules of the world, one a seed, and checks the invariants.
 *
 *   simulation --schedules 2000 [--first SEED]
 *   simulation --seed SEED            one schedule, told step by step
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "tests/crash/world.h"

enum { STEPS_MIN = 300, STEPS_MORE = 1500, CHECK_EVERY = 400 };

struct totals {
    uint64_t schedules;
    uint64_t events;
    uint64_t operations;
    uint64_t crashes;
    uint64_t faults;
};

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
                                        .crash = (unsigned)random_below(random, 6 * wild + 1)};
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
}

/* A newer program writes other bytes for the same range. */
static void upgrade_somebody(struct world *world)
{
    struct actor *actor = &world->actors[random_below(&world->random, world->actor_count)];
    actor->roller_level = 1 + (int)random_below(&world->random, 3);
}

static bool run(uint64_t seed, bool trace, struct totals *totals)
{
    struct world world;
    world_open(&world, seed, trace);
    bool mischief = random_below(&world.random, 2) == 0;
    draw_rates(&world);
    draw_actors(&world);
    uint64_t steps = STEPS_MIN + random_below(&world.random, STEPS_MORE);
    for (uint64_t step = 1; step <= steps && !world.failed; step++) {
        world_step(&world);
        if (mischief)
            world_mischief(&world);
        if (random_below(&world.random, 500) == 0)
            upgrade_somebody(&world);
        if (step % CHECK_EVERY == 0)
            world_check(&world, false);
    }
    if (!world.failed)
        world_settle(&world);
    if (!world.failed)
        world_check(&world, true);
    totals->schedules++;
    totals->events += world.answered_count;
    totals->operations += world.operations;
    totals->crashes += world.crashes;
    totals->faults += world.faults;
    bool failed = world.failed;
    if (failed)
        printf("seed %" PRIu64 ": %s\n  replay: build/release/crash/simulation --seed %" PRIu64
               "\n",
               seed, world.failure, seed);
    world_close(&world);
    return !failed;
}

int main(int argc, char **argv)
{
    uint64_t first = 1;
    uint64_t schedules = 1;
    bool trace = false;
    uint64_t failures = 0;
    struct totals totals = {0};
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seed") == 0) {
            first = value;
            trace = true;
        } else if (strcmp(argv[i], "--schedules") == 0) {
            schedules = value;
        } else if (strcmp(argv[i], "--first") == 0) {
            first = value;
        } else {
            fprintf(stderr, "usage: simulation --schedules COUNT [--first SEED] | --seed SEED\n");
            return 2;
        }
    }
    if (!trace)
        log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    int64_t start_ns = clock_mono_ns();
    for (uint64_t i = 0; i < schedules; i++)
        failures += !run(first + i, trace, &totals);
    double seconds = (double)(clock_mono_ns() - start_ns) / 1e9;
    printf("%" PRIu64 " schedules in %.1f s (%.0f a minute): %" PRIu64 " events, %" PRIu64
           " operations, %" PRIu64 " faults, %" PRIu64 " crashes; %" PRIu64 " failed\n",
           totals.schedules, seconds, 60.0 * (double)totals.schedules / seconds, totals.events,
           totals.operations, totals.faults, totals.crashes, failures);
    return failures == 0 ? 0 : 1;
}
