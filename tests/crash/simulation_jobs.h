/* SPDX-License-Identifier: Apache-2.0
 *
 * simulation_jobs.h: many seeds over several processes. Which process runs a seed
 * changes nothing about it: a world has everything in itself.
 */
#ifndef TESTS_CRASH_SIMULATION_JOBS_H
#define TESTS_CRASH_SIMULATION_JOBS_H

#include <stdbool.h>
#include <stdint.h>

struct totals {
    uint64_t schedules;
    uint64_t events;
    uint64_t lost;
    uint64_t operations;
    uint64_t crashes;
    uint64_t faults;
    uint64_t mischiefs;
    uint64_t failures;
};

/* Runs one seed, adds to the totals, reports a failure on stdout. */
typedef void run_seed(uint64_t seed, struct totals *totals);

struct jobs_options {
    uint64_t first;
    uint64_t schedules;
    unsigned jobs;     /* processes; 0: as many as there are cores */
    const char *state; /* file that says where to go on; NULL: none. Progress is printed then */
    run_seed *run;
};

/* Runs the seeds [first, first + schedules); with a state file, those of them that it
 * doesn't name as done. False when a process died: what it had begun is not in the
 * totals. */
bool jobs_run(const struct jobs_options *options, struct totals *totals);

#endif
