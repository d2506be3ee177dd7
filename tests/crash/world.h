/* SPDX-License-Identifier: Apache-2.0
 *
 * world.h: agents, committers, a memory store and a memory catalog in one process, on a
 * simulated clock. One seed is one schedule: the same seed gives the same steps.
 *
 * The code under test is the real one: spool (LMDB without sync, on a memory file
 * system), shredder, roller, Parquet writer, uploader, commit service. Each actor runs
 * on a fiber; before every operation on store or catalog, and in every sleep, it hands
 * over, and the seed decides who goes on and what fails.
 */
#ifndef TESTS_CRASH_WORLD_H
#define TESTS_CRASH_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/pipeline.h"
#include "cloud/catalog/catalog.h"
#include "cloud/catalog/memory.h"
#include "cloud/commit.h"
#include "lib/announce/announce.h"
#include "lib/base/random.h"
#include "lib/objstore/memory.h"
#include "lib/schema/mapping.h"
#include "lib/shred/shred.h"
#include "spool/spool.h"
#include "tests/crash/fiber.h"

enum { ACTORS_MAX = 8, TABLES_MAX = 2, MAPPINGS_MAX = 2, WORLD_TEXT = 500, ALARMS_MAX = 64 };
enum { WORLD_REPEAT_MS = 60000 }; /* the agents' announce.repeat */

struct world;
struct agent_life;

enum actor_kind { ACTOR_AGENT, ACTOR_COMMITTER };

/* An alarm of a committer's last turn. */
struct alarm {
    char table[64];
    char stream[STREAM_NAME_MAX + 1]; /* "": about the table */
};

struct actor {
    struct world *world;
    enum actor_kind kind;
    size_t number;
    struct fiber *fiber;
    bool dead;    /* crashed: nothing it does reaches anybody any more */
    bool lives;   /* has a fiber that has not ended */
    bool retired; /* starts no new life */
    int64_t sleep_until_ms;
    unsigned frozen_steps; /* it doesn't run in them: a paused machine */
    int64_t leap_us;       /* of its wall clock against the world's */
    struct clock clock;
    struct objstore *store;
    struct catalog *catalog;
    struct objstore *inner_store; /* below a broken one; negative controls only */
    struct catalog *inner_catalog;
    unsigned lifetimes;
    /* Scenarios say themselves what fails, instead of the seed. */
    memory_hook *store_script;
    catalog_hook *catalog_script;
    /* agents: */
    struct agent_life *life; /* NULL when closed */
    char directory[256];
    int roller_level; /* zstd level: another one gives other bytes, as an upgrade would */
    size_t mapping;   /* which generation of the mappings it has */
    uint64_t alarms;  /* of the uploader */
    bool has_backup;  /* of its disk, for mischief */
    /* committers: */
    struct random random;
    bool in_turn;
    bool sending;   /* a commit is about to leave: its last look at the clock is behind it */
    unsigned turns; /* that ended well */
    size_t announcements_max; /* of a snapshot; 0: the default */
    size_t standing_count;
    struct alarm *standing;
};

/* A stream as far as anybody was answered, and as the ledger knows it. */
struct stream_fate {
    char *name;
    char hash[STREAM_HASH_SIZE];
    size_t table;
    size_t agent;
    uint64_t end;         /* behind the last position that was answered */
    uint64_t exempt_from; /* from here on a disk forgot what it had answered */
    uint64_t next;        /* the ledger's, as of the last look */
    uint64_t lost;        /* events that the ledger counts as lost */
};

/* Faults in one operation of a thousand. */
struct fault_rates {
    unsigned before, after, late, stale, duplicate, crash, disk;
};

/* What is broken on purpose, to see that the checks find it. */
enum world_control {
    CONTROL_NONE,
    CONTROL_STORE,    /* ignores "must not exist" */
    CONTROL_CATALOG,  /* ignores assert-ref-snapshot-id */
    CONTROL_RECEIPTS, /* somebody writes receipts that run ahead of the ledger */
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
    struct mapping mapping[MAPPINGS_MAX][TABLES_MAX]; /* the second has a column more */
    uint64_t schema_key[MAPPINGS_MAX][TABLES_MAX];
    bool grown[TABLES_MAX]; /* the table has that column, too */
    char table[TABLES_MAX][64];
    char *location[TABLES_MAX]; /* of the metadata last looked at */
    size_t table_count;
    size_t actor_count;
    struct actor actors[ACTORS_MAX];
    enum world_control control;
    struct actor *acting; /* outside of fibers: whose code runs */
    bool faults_on;
    bool quiet; /* agents take no more events */
    struct fault_rates rates;
    bool upgrades; /* programs change */
    /* Days pass, and clean-ups take what they had listed as orphans. */
    bool long_lived;
    unsigned hours;      /* that were skipped */
    size_t orphan_count; /* listed, not yet deleted */
    char **orphans;
    struct world_mess *mess; /* made with a table; a person will mend it. NULL: none */
    uint64_t spool_bytes;
    bool drop_oldest; /* when_full of the spools */
    bool priorities;  /* the first table's records go before the second's */
    size_t filler;    /* bytes in each event */
    size_t fate_count;
    struct stream_fate *fates;
    /* What has happened, and so what may be lost or may alarm: */
    bool disk_put_back;
    bool files_removed;
    bool blocks_damaged;
    char base[200]; /* directory of the spools */
    bool trace;
    bool failed;
    char failure[WORLD_TEXT];
    uint64_t events; /* answered */
    uint64_t operations;
    uint64_t crashes;
    uint64_t faults;
    uint64_t mischiefs;
};

void world_open(struct world *world, uint64_t seed, size_t table_count, bool trace);
void world_close(struct world *world);

/* Adds an actor; its fiber starts with the next steps. */
struct actor *world_add_agent(struct world *world);
struct actor *world_add_committer(struct world *world);

void world_pass_ms(struct world *world, int64_t ms);
/* One actor goes on for one operation; time passes. */
void world_step(struct world *world);
/* Faults stop, everybody goes on until nothing is left to do or the steps run out. */
void world_settle(struct world *world);

void world_fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_note(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- world_check.c: the protocol's invariants; the first broken one is kept ---- */

/* Reads the ledgers of tables that changed: next never falls. */
void world_watch_ledgers(struct world *world);
/* settled: faults have stopped, everything must have arrived. */
void world_check(struct world *world, bool settled);
/* Whether nothing is left to do: inbox and spools empty, or only what an alarm names. */
bool world_is_quiet(struct world *world);
/* Whether the removal of an object is one that the protocol allows. */
bool world_may_remove(struct world *world, const char *key);
struct stream_fate *world_fate(struct world *world, const char *stream);
uint64_t world_rows(struct world *world, size_t table); /* live, by the manifests */
/* Each manifest list, manifest and data file that a snapshot of the table names. */
typedef void world_named(void *context, const char *key);
void world_visit_named(struct world *world, size_t table, world_named *named, void *context);
uint64_t world_lost(const struct world *world); /* by the ledgers last looked at */

/* ---- world_mischief.c: hands from outside ---- */

/* Perhaps one of them: objects deleted or put back, disks copied, clocks that leap. */
void world_mischief(struct world *world);
bool world_remove_object(struct world *world, const char *prefix, const char *suffix);
void world_move_receipt(struct world *world, const char *stream, uint64_t next);
/* The spool's directory of one agent becomes a copy of another's, both closed. */
void world_copy_spool(const char *from, const char *to);
/* Notes which answered events the older disk of an agent may lose; before it is put back. */
void world_exempt_forgotten(struct world *world, struct actor *agent, const char *backup);
/* Flips a byte within one event's row in a closed spool; false when there is none. */
bool world_damage_block(struct world *world, struct actor *agent);
size_t world_count_objects(struct world *world, const char *prefix);

/* ---- world_days.c: days that pass, machines that are paused, orphan clean-ups ---- */

void world_days(struct world *world);
void world_days_free(struct world *world);

/* ---- world_mess.c: a table put wrong by hand, and mended by a person later ---- */

void world_make_mess(struct world *world);
void world_mend_mess(struct world *world); /* also when there is none */

/* ---- world_foreign.c: what another engine does to a table ---- */

/* A snapshot without files on a branch ("main" too). */
void world_foreign_snapshot(struct world *world, size_t table, const char *branch);
void world_foreign_update(struct world *world, size_t table, json_t *updates); /* takes it */
int64_t world_current_snapshot(struct world *world, size_t table);
/* The table gets the column that the second mapping has, the contract follows. */
void world_grow_table(struct world *world, size_t table);

/* ---- world_broken.c: parts that break their promise, for negative controls ---- */

struct objstore *world_broken_store(struct objstore *inner);
struct catalog *world_broken_catalog(struct catalog *inner);

/* ---- world_agent.c: an agent's life, also step by step for scenarios ---- */

struct agent_life {
    struct actor *actor;
    size_t mapping; /* the generation it started with */
    struct spool *spool;
    struct pipeline *pipeline;
    struct shredder *shredder[TABLES_MAX];
    struct buf schema[TABLES_MAX];
    char stream[TABLES_MAX][STREAM_NAME_MAX + 1];
};
void world_spool_options(struct actor *actor, struct spool_options *out);
int agent_life_begin(struct agent_life *life, struct actor *actor, struct error *err);
void agent_life_end(struct agent_life *life);
/* Appends `count` events to a table; they are noted as answered when it succeeds. */
int agent_life_append(struct agent_life *life, size_t table, unsigned count, struct error *err);
fiber_main agent_main;

/* ---- the committers' side, in world.c ---- */

void committer_attach(struct actor *actor);
void committer_detach(struct actor *actor);
struct committer world_committer(struct actor *actor);
/* One turn over all tables; the alarms in it become the standing ones. */
int world_turn(struct actor *actor, struct commit_report *report, struct error *err);

/* Hooks of store and catalog for an actor. */
enum memory_fault world_store_hook(void *context, enum memory_operation operation, const char *key);
enum catalog_fault world_catalog_hook(void *context, enum catalog_operation operation);
/* At named points between the steps of one process: there it may die, too. */
int world_point_hook(void *context, const char *name, struct error *err);

#endif
