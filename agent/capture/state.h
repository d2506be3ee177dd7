/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h: what the files of agent/capture share. Private to the folder.
 *
 *   tables.c     the generations: tables, their mappings and streams' names
 *   intake.c     from a source's request to the rows of an open batch
 *   lines.c      from a text of lines to requests
 *   committer.c  the thread that cuts, appends and answers
 *   capture.c    open, close, reload, statistics
 *
 * Locks, in this order: capture.lock, then several intakes' only with it; capture.wake_lock comes
 * last. The committer holds none of them while it appends or answers. A cut holds capture.lock for
 * as long as the longest request that is just handed in, so no door takes it on its usual way.
 */
#ifndef AGENT_CAPTURE_STATE_H
#define AGENT_CAPTURE_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "agent/capture/capture.h"
#include "lib/announce/announce.h"

/* Mappings of a reload: as long as a table of any generation goes by one of them. */
struct mapping_owner {
    unsigned tables;
    struct mapping_set set;
};

struct table {
    const struct mapping *mapping;
    struct mapping_owner *owner; /* NULL: who opened the capture */
    struct buf schema;           /* encoded */
    uint64_t schema_key;
    char stream[STREAM_NAME_MAX + 1];
};

/* Of the spool, as the log has them. */
struct refused_cuts {
    uint64_t count; /* since one was said */
    int rc;         /* of that */
    int64_t said_at_ms;
};

struct generation {
    struct generation *older; /* that is in use */
    unsigned lane_sets;       /* that go by it */
    struct capture_limits limits;
    size_t table_count;
    struct table *tables;
};

/* The tables' names, for those who hold no lock: never changed, and kept until the end. There
 * are as many as reloads that brought a new table. */
struct table_names {
    struct table_names *older;
    size_t count;
    char **names;
};

/* One that had no place for another event: a block is bounded. */
struct full_batch {
    struct full_batch *next;
    struct shred_batch batch;
};

/* An intake's part in one table. */
struct lane {
    struct shredder *shredder;
    struct full_batch *full;       /* came before `open`, newest first */
    struct shred_batch open;       /* not empty when there are full ones */
    struct full_batch *taken_full; /* oldest first */
    struct shred_batch taken;      /* the committer's between cut and answer */
    uint64_t received;
    uint64_t received_bytes;
    uint64_t refused[REFUSED_REASON_COUNT];
    _Atomic uint64_t turned_away; /* counted without the lock */
};

struct lane_set {
    struct lane_set *older;
    struct generation *generation;
    struct lane *lanes; /* one a table */
};

/* Where a request began in its lane. */
struct mark {
    const struct full_batch *full;
    size_t len;
    uint32_t event_count;
    uint32_t row_count;
    int64_t time_min_us;
    int64_t time_max_us;
};

struct intake {
    struct capture *capture;
    struct intake *next;
    size_t table; /* of the request that is being handed in */
    struct ticket *ticket;
    struct mark mark;     /* of the request */
    size_t request_bytes; /* its rows, without letters */
    struct buf letter;    /* the text of a dead letter */
    bool gives_way;       /* to a cut; never changes: the order of the locks follows it */
    pthread_mutex_t lock;
    /* guarded by lock */
    struct lane_set *set;   /* of the newest generation it has seen; older ones empty out */
    struct lane_set *cut;   /* the newest of the cut, for the committer */
    struct ticket *tickets; /* newest first */
    struct ticket *taken;   /* the committer's */
};

struct totals { /* of a table */
    uint64_t kept;
    uint64_t kept_rows;
    uint64_t rejected;
    struct capture_table_statistics closed; /* of intakes that are gone */
};

struct capture {
    struct capture_options options;
    size_t batch_bytes_max;                  /* a block's, or less where a request may have less */
    _Atomic(struct generation *) generation; /* the newest; changed with the lock held */
    _Atomic(struct table_names *) names;
    /* The received_at of the open cut; 0: nothing came yet. Set by the first intake,
     * cleared while all intakes are locked. */
    _Atomic int64_t cut_us;
    _Atomic int64_t cut_mono_us; /* when, by the monotonic clock */
    int64_t last_us;             /* read by intakes, written with all of them locked */
    _Atomic size_t waiting_bytes;
    _Atomic uint64_t full;
    _Atomic bool asked; /* there is something to commit */
    _Atomic bool stopping;
    _Atomic bool awaits_intakes; /* whoever has `lock` */
    /* The spool had no room: lower priorities are turned away until then (monotonic). */
    _Atomic int squeezed_below; /* enum priority */
    _Atomic int64_t squeezed_until_ms;
    _Atomic int64_t busy_since_ms; /* monotonic: the committer's cut began; 0: it waits */
    pthread_t committer;
    /* the committer's own */
    struct spool_epoch_watch watch;
    struct refused_cuts refused;
    bool epoch_is_due; /* also while making it fails */
    int64_t paid_ns;   /* monotonic: until then the commits made use up what a second may have */
    const char *epoch; /* the spool's, by which the streams are named */
    struct spool_batch *batches;
    uint64_t *firsts;
    struct spool_checkpoint *checkpoints;
    size_t batch_cap;
    size_t checkpoint_cap;
    pthread_mutex_t wake_lock; /* for `changed`: `asked` or `stopping` is set */
    pthread_cond_t changed;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    /* guarded by lock */
    bool committing; /* the committer walks the intakes: none may go */
    struct intake *intakes;
    size_t intake_count;
    struct totals *totals;
    struct capture_statistics statistics;
};

/* ---- tables.c: with capture.lock held, or nobody else there yet ---- */

/* SIZE_MAX: none of that name. */
size_t tables_find(const struct generation *generation, struct slice table);
/* The tables of the newest generation at their numbers, with their new mappings where there
 * are such, then the tables that are new. With an owner it takes the mappings over. */
int tables_make(struct capture *capture, const struct mapping_set *mappings,
                struct mapping_owner *owner, struct generation **out, struct error *err) MUST_USE;
/* The generation is the newest from now on. */
void tables_publish(struct capture *capture, struct generation *generation);
/* Frees those generations that nobody goes by any more. */
void tables_sweep(struct capture *capture);
void tables_free(struct generation *generation);
void tables_free_names(struct capture *capture);
/* Tells the spool which tables' records go first when it must drop some. */
void tables_tell_priorities(const struct capture *capture, const struct generation *generation);
/* Of the spool's epoch as it is now; the committer's, who appends under these names. capture.lock
 * is held. */
int tables_name_streams(struct capture *capture, struct error *err) MUST_USE;
/* Of a generation that is not published. */
int tables_name_new(const struct capture *capture, struct generation *generation,
                    struct error *err) MUST_USE;

/* ---- intake.c ---- */

void lane_count(struct capture_table_statistics *to, const struct lane *lane);
/* Frees a list of them. */
void full_batches_free(struct full_batch *batches);
/* Frees it; its counts stay. capture.lock is held. */
void lane_set_retire(struct capture *capture, struct lane_set *set);

/* ---- committer.c ---- */

void *commit_loop(void *capture);
/* There is something to commit. */
void committer_wake(struct capture *capture);

#endif
