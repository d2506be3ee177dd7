/* SPDX-License-Identifier: Apache-2.0
 *
 * commit.h: from announcements in the inbox to one snapshot of the table: the commit
 * rule, the ledger, receipts (lib/announce/PROTOCOL.md); and `init`, which makes tables
 * ready for it.
 *
 * A committer is a plain value: store, catalog, clock, random numbers and limits.
 * It keeps nothing between two turns, everything is in the store and the catalog;
 * so any number of committers may run at once, in one process or in many, and each
 * may die at any point.
 *
 * Order of writes  manifests, manifest list, ledger file, catalog swap (data and
 *                  ledger pointer in one), receipts, deletion of dead inbox objects.
 *                  What an attempt wrote is never deleted by it, whatever the answer.
 * Errors           a failed turn has changed nothing or has made whole commits; run it
 *                  again. ERROR_CORRUPT, ERROR_DENIED, ERROR_INPUT want a person; what
 *                  is wrong stands in the report's notes too.
 * Stopping         once `stop` says so nothing new is begun: a turn ends, between two commits,
 *                  with ERROR_RETRY and report.stopped. Store and catalog are opened with the
 *                  same `stop`, to end what hangs.
 * Threads          a committer, and the store and catalog handles in it, belong to one
 *                  thread during a turn.
 */
#ifndef CLOUD_COMMIT_H
#define CLOUD_COMMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cloud/catalog/catalog.h"
#include "lib/announce/announce.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/objstore/objstore.h"
#include "lib/schema/mapping.h"

/* A limit of 0 takes the default behind it. */
struct committer {
    struct objstore *store;
    struct catalog *catalog;
    const struct clock *clock;  /* NULL: the system's */
    struct random *random;      /* NULL: the system's; a simulation gives its own */
    int64_t file_age_ms;        /* 1 day: an older file is copied before it is committed */
    int64_t attempt_ms;         /* 1 h: from the first HEAD to the send at most */
    int64_t retire_ms;          /* 30 days: a stream silent for longer leaves the ledger */
    int64_t ledger_keep_ms;     /* 7 days: unreferenced ledgers go after it */
    int64_t refused_keep_ms;    /* 30 days */
    int64_t clock_skew_ms;      /* 30 s: no commit when the store's clock is further off */
    size_t announcements_max;   /* 10,000 a snapshot, and no more */
    size_t bytes_max;           /* 32 MiB of announcements a snapshot (one is always taken) */
    unsigned attempts_max;      /* 10 loads a snapshot, then ERROR_RETRY */
    size_t merge_count;         /* 100 small manifests of a spec become one */
    size_t snapshots_keep;      /* 1,000 of our own */
    int64_t snapshots_age_ms;   /* 7 days, of our own */
    int64_t snapshots_grace_ms; /* 1 day from a snapshot's drop to its files' removal */
    bool anew;                  /* init: take over a name whose contract names another table */
    unsigned prune_every; /* 64: one of so many turns that commit also looks for old objects */
    /* Asked by any thread; once true it stays so. NULL: never. */
    bool (*stop)(void *context);
    void *stop_context;
};

enum commit_note_kind {
    NOTE_ALARM,   /* a person must look: nothing heals this by itself */
    NOTE_REFUSED, /* an announcement was refused, for this reason */
    NOTE_MISSING, /* a file that an announcement names is not in the store */
    NOTE_FAILED,  /* a table's turn ended for this reason; the next one tries again */
    NOTE_WARNING, /* a person should look; the turn goes on */
    NOTE_INFO,    /* a file copied, a table adopted: said, no action */
    NOTE_KINDS,
};

struct commit_note {
    enum commit_note_kind kind;
    char *table;
    char *stream; /* "" when it is about the table */
    uint64_t from;
    char *text;
};

/* Of one kind, of one table's turn: so nothing crowds out another's alarm. More are counted. */
enum { COMMIT_NOTES_MAX = 250 };

/* Counts add up over tables and turns. All zero is a valid empty one. */
struct commit_report {
    size_t seen;    /* inbox objects listed */
    size_t taken;   /* announcements committed */
    size_t dead;    /* below next: removed */
    size_t waiting; /* above next: left where they are */
    size_t refused;
    size_t missing;
    size_t retired; /* of a stream behind the floor: not taken */
    size_t copied;  /* files, because of their age */
    size_t files;
    uint64_t events;
    uint64_t rows;
    uint64_t bytes;
    uint64_t lost_events;
    size_t snapshots;
    size_t attempts;     /* catalog swaps tried */
    int64_t snapshot_id; /* the last one made; 0: none */
    size_t alarms;
    size_t tables_failed;
    bool stopped; /* the committer was asked to, and left something for the next turn */
    size_t notes_left_out;
    size_t note_count;
    size_t note_cap;
    struct commit_note *notes;
    size_t noted[NOTE_KINDS]; /* of the table in hand */
};
void commit_report_free(struct commit_report *report);

/* One pass over one table's inbox ("db.bid_requests"), to its end. */
int commit_turn_table(const struct committer *committer, const char *table,
                      struct commit_report *report, struct error *err) MUST_USE;

/* The same for all tables. One that fails doesn't hold up the others; its error is a
 * note, and the first is returned at the end. */
int commit_turn(const struct committer *committer, const char *const *tables, size_t count,
                struct commit_report *report, struct error *err) MUST_USE;

/* A contract that names another table than the catalog has (a catalog that was lost, or
 * isn't mounted, or a table dropped by hand) is ERROR_DENIED, nothing made, unless
 * committer->anew. Otherwise:
 * Makes namespace, table, partition specs, sort order, the first ledger and the contract
 * as far as they are not there, in this order, each step harmless to repeat. A table made
 * by others is adopted when it has the mapping's columns with the same types. */
int commit_init_table(const struct committer *committer, const char *ns,
                      const struct mapping *mapping, struct commit_report *report,
                      struct error *err) MUST_USE;

/* Closes a gap by hand: an empty snapshot in which the stream's next is `to` and the
 * skipped range is lost, with reason "skipped_by_operator". ERROR_INPUT when next is
 * already there or beyond. *from becomes the old next. */
int commit_skip(const struct committer *committer, const char *table, const char *stream,
                uint64_t to, uint64_t *from, struct commit_report *report,
                struct error *err) MUST_USE;

#endif
