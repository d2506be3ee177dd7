/* SPDX-License-Identifier: Apache-2.0
 *
 * world.h: agents, committers, a memory store and a memory catalog in one process, on a
 * simulated clock. One seed is one schedule: the same seed gives the same steps.
 *
 * The code under test is the real one: spool (LMDB without sync, on a memory file
 * system), shredder, roller, Parquet writer, uploader, commit service, tools of the
 * announcement. Each actor runs on a fiber; before every operation on store or catalog,
 * and in every sleep, it hands over, and the seed decides who goes on and what fails.
 */
#ifndef TESTS_CRASH_WORLD_H
#define TESTS_CRASH_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/pipeline.h"
#include "cloud/catalog.h"
#include "cloud/catalog_memory.h"
#include "cloud/commit.h"
#include "lib/base/random.h"
#include "lib/objstore/memory.h"
#include "lib/schema/mapping.h"
#include "lib/shred/shred.h"
#include "spool/spool.h"
#include "tests/crash/fiber.h"

enum { ACTORS_MAX = 8, TABLES_MAX = 2, WORLD_TEXT = 400 };

struct world;

enum actor_kind { ACTOR_AGENT, ACTOR_COMMITTER };

struct actor {
    struct world *world;
    enum actor_kind kind;
    size_t number;
    struct fiber *fiber;
    bool dead;    /* crashed: nothing it does reaches anybody any more */
    bool lives;   /* has a fiber that has not ended */
    bool retired; /* starts no new life */
    int64_t sleep_until_ms;
    int64_t leap_us; /* of its wall clock against the world's */
    struct clock clock;
    struct objstore *store;
    struct catalog *catalog;
    /* agents: */
    char directory[256];
    unsigned lifetimes;
    int roller_level; /* zstd level: another one gives other bytes, as an upgrade would */
    bool alarmed;
    bool has_backup;  /* of its disk, for mischief */
    size_t backup_at; /* answered_count then */
    /* committers: */
    struct random random;
    size_t alarms;
};

/* One event that an agent answered with success. */
struct answered {
    char *stream;
    uint64_t position;
    size_t agent;
    bool exempt; /* its disk forgot it before it left the machine */
};

/* Faults in one operation of a thousand. */
struct fault_rates {
    unsigned before, after, late, stale, duplicate, crash;
};

struct world {
    uint64_t seed;
    struct random random;
    int64_t wall_us;
    int64_t mono_ms;
    struct clock clock; /* the store's */
    struct memory_store *store;
    struct memory_catalog *catalog;
    struct objstore *plain_store; /* without faults, for checks and mischief */
    struct catalog *plain_catalog;
    struct mapping mapping[TABLES_MAX];
    char table[TABLES_MAX][64];
    size_t table_count;
    size_t actor_count;
    struct actor actors[ACTORS_MAX];
    bool faults_on;
    bool quiet; /* agents take no more events */
    struct fault_rates rates;
    size_t answered_count;
    size_t answered_capacity;
    struct answered *answered;
    char base[200]; /* directory of the spools */
    uint64_t spool_bytes;
    bool trace;
    bool failed;
    char failure[WORLD_TEXT];
    uint64_t operations;
    uint64_t crashes;
    uint64_t faults;
    bool break_conditions; /* negative control: the store ignores "must not exist" */
    bool forget_ledger;    /* negative control: committers read an empty ledger */
};

void world_open(struct world *world, uint64_t seed, bool trace);
void world_close(struct world *world);

/* Adds an actor; its fiber starts with the next steps. */
struct actor *world_add_agent(struct world *world);
struct actor *world_add_committer(struct world *world);

/* One actor goes on for one operation; time passes. */
void world_step(struct world *world);
/* Faults stop, everybody goes on until nothing is left to do or the steps run out. */
void world_settle(struct world *world);

/* The invariants of the design; the first that is broken is noted by world_fail. */
void world_check(struct world *world, bool settled);
void world_fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_note(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What a hand from outside may do: objects deleted or put back, disks copied. */
void world_mischief(struct world *world);

/* An agent's whole life, for scenarios that call it step by step. */
struct agent_life {
    struct actor *actor;
    struct spool *spool;
    struct pipeline *pipeline;
    struct shredder *shredder[TABLES_MAX];
    struct buf schema[TABLES_MAX];
    char stream[TABLES_MAX][SPOOL_STREAM_NAME_MAX + 1];
};
int agent_life_begin(struct agent_life *life, struct actor *actor, struct error *err);
void agent_life_end(struct agent_life *life);
/* Appends `count` events to a table; they are noted as answered when it succeeds. */
int agent_life_append(struct agent_life *life, size_t table, unsigned count, struct error *err);

/* A committer over the actor's handles. */
struct committer world_committer(struct actor *actor);

/* The spool's directory of one agent becomes a copy of another's, both closed. */
void world_copy_spool(const char *from, const char *to);

#endif
