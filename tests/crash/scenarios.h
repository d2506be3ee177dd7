/* SPDX-License-Identifier: Apache-2.0
 *
 * scenarios.h: the world of the simulation with a fixed cast, played by hand: nothing
 * runs but what the scenario calls, nothing fails but what its scripts say.
 */
#ifndef TESTS_CRASH_SCENARIOS_H
#define TESTS_CRASH_SCENARIOS_H

#include "tests/crash/world.h"

enum { CLICKS, WINS, DAY_MS = 86400000 };

struct scene {
    struct world world;
    struct actor *agent;
    struct actor *twin; /* a second agent; starts when a scenario says so */
    struct actor *committer;
    struct actor *other;
    struct agent_life life; /* of the agent */
    struct commit_report report;
    unsigned answered;              /* events */
    int calls;                      /* for scripts: how often they were asked */
    char key[OBJSTORE_KEY_MAX + 1]; /* of the object kept */
    struct buf kept;
};

/* Scripts find their scene through the actor. */
struct scene *scene_of(void *actor);

void scene_open(struct scene *scene, size_t tables);
/* Everything must arrive and every invariant hold, then all is closed. */
void scene_close(struct scene *scene);
void scene_drop(struct scene *scene); /* for tables that a person has put wrong */

void scene_start(struct scene *scene);
void scene_stop(struct scene *scene);
/* The agent's process ends where it is; it starts again. */
void scene_restart(struct scene *scene);
void scene_append(struct scene *scene, size_t table, unsigned count);
/* Seals, builds, uploads, announces, reads receipts. */
void scene_flush(struct scene *scene);
int scene_turn(struct scene *scene, struct actor *committer);
/* Agent and committer take turns, time passes, until nothing is left to do. */
void scene_settle(struct scene *scene);

uint64_t scene_rows(struct scene *scene);               /* of all tables */
uint64_t scene_next(struct scene *scene, size_t table); /* of the agent's stream */

/* Keeps key and bytes of the only object below a prefix; false when it isn't one. */
bool scene_keep(struct scene *scene, const char *prefix);
void scene_put(struct scene *scene); /* the kept one, again */
void scene_remove_all(struct scene *scene, const char *prefix);

#endif
