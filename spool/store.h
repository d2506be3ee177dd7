/* SPDX-License-Identifier: Apache-2.0
 *
 * store.h: the spool's handle and its way to LMDB. Private to spool/.
 *
 * Threads  one process writes (lock file), one transaction at a time (LMDB's mutex). A
 *          write transaction belongs to the thread that began it. Read transactions are
 *          not tied to threads (MDB_NOTLS).
 * Errors   a commit whose outcome is not known (failed sync, EIO, LMDB's panic) marks
 *          the handle: store_begin_write refuses from then on, reads go on, until
 *          spool_reopen.
 * Gate     whoever is in a transaction, or looks at the environment, is counted in; the
 *          environment is exchanged while nobody is, and who comes meanwhile is sent
 *          away with ERROR_RETRY. Within, one may be counted in once more.
 */
#ifndef SPOOL_STORE_H
#define SPOOL_STORE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "spool/record.h"
#include "spool/spool.h"

enum store_db {
    DB_META,
    DB_STREAMS,
    DB_BLOCKS,
    DB_SEGMENTS,
    DB_LOST,
    DB_SCHEMAS,
    DB_CHECKPOINTS,
    DB_COUNT,
};

extern const char *const store_db_names[DB_COUNT];

struct append_call;

/* Never changed, and kept until close: somebody may have borrowed it. */
struct shown_epoch {
    struct shown_epoch *older;
    char text[UUID_TEXT_SIZE];
};

struct spool {
    char *directory;
    char *sealed_directory;
    char *quarantine_directory;
    char *agent_id;
    bool takes_any_agent;       /* agent_id is the stored one; until spool_open has ended */
    char epoch[UUID_TEXT_SIZE]; /* of the thread that opens, appends, renews */
    _Atomic(struct shown_epoch *) shown_epoch; /* the same for all others, once durable */
    const struct clock *clock;
    struct random *random;
    bool read_only;
    bool no_sync;
    bool drop_oldest;
    bool opened;      /* for writing, all of it */
    bool was_here;    /* a spool of ours, before it was opened */
    bool closed_well; /* by who had it open for writing before */
    uint64_t bytes_max;
    uint64_t bytes_reserve;
    uint64_t page_size;
    int lock_fd;
    int data_fd; /* LMDB's own descriptor: never closed here */
    MDB_env *env;
    MDB_dbi dbi[DB_COUNT];

    atomic_bool failed;
    atomic_uint inside;         /* transactions and calls that are counted in */
    atomic_bool shut;           /* the environment is being exchanged, or there is none */
    _Atomic pthread_t reopener; /* written before shut: who may come in all the same */
    atomic_bool hints_noted;
    atomic_uint_fast64_t live_bytes; /* of data.mdb, as of the last commit */
    atomic_uint_fast64_t sealed_bytes;
    atomic_uint_fast64_t allocated_bytes;    /* of data.mdb */
    atomic_uint_fast64_t disk_usable_bytes;  /* room.c: as of the last look at the disk */
    atomic_uint_fast64_t disk_reserve_bytes; /* of it, for what is built */
    atomic_uint_fast64_t disk_most_bytes;    /* usable, were it ours alone */
    atomic_bool disk_noted;
    atomic_uint_fast64_t commit_count;
    atomic_uint_fast64_t append_count;
    atomic_uint_fast64_t refused_events;
    atomic_uint_fast64_t dropped_events;
    atomic_uint reader_count; /* open spool_readers: what they see can't be used anew */

    /* belong to the leader of an append */
    uint64_t nudged_txnid; /* state of the file that an empty commit led to */

    uint64_t tight_end; /* of data.mdb, which may not be lengthened; 0: it may. Who writes has it */

    pthread_mutex_t lock;
    /* guarded by lock */
    struct append_call *head;
    struct append_call *tail;
    size_t queued;     /* calls between head and tail */
    size_t expected;   /* calls that were here when the last group ended */
    int64_t commit_ns; /* what the last group took */
    bool leading;
    struct pending_hint *hints;        /* segment.c */
    struct spool_priority *priorities; /* drop.c */
    size_t priority_count;
    uint64_t hint_changes;
};

/* Names an LMDB result; the code is chosen from it. */
int store_error(struct error *err, const char *what, int cause) MUST_USE;

/* Counted in until store_leave; ERROR_RETRY: the spool is being opened anew. */
int store_enter(struct spool *spool, struct error *err) MUST_USE;
void store_leave(struct spool *spool);
/* Nobody but the caller comes in any more, and nobody is in: ERROR_RETRY when somebody
 * stays for wait_ms. Shut already is fine. */
int store_shut(struct spool *spool, int64_t wait_ms, struct error *err) MUST_USE;
void store_let_in(struct spool *spool);

/* Both count the caller in; store_end or store_commit count it out. */
int store_begin_read(struct spool *spool, MDB_txn **out, struct error *err) MUST_USE;
int store_begin_write(struct spool *spool, MDB_txn **out, struct error *err) MUST_USE;
/* Ends a transaction without a commit; NULL is fine. */
void store_end(struct spool *spool, MDB_txn *txn);
/* Takes the transaction, whatever comes of it. */
int store_commit(struct spool *spool, MDB_txn *txn, struct error *err) MUST_USE;
/* No more writes through this handle: the outcome of one is not known. */
void store_fail(struct spool *spool);

/* Live pages of data.mdb as this transaction sees them, in bytes: a sum over seven
 * counters that LMDB keeps, not a walk of its free list. */
uint64_t store_live_bytes(struct spool *spool, MDB_txn *txn);
/* What appends may fill: the budget or the disk, each without its reserve. */
uint64_t store_appendable_bytes(const struct spool *spool);
uint64_t store_used_bytes(const struct spool *spool);
/* Looks how much sealed/ holds now, and the disk has left. */
void store_measure_sealed(struct spool *spool);
/* Makes the file long enough for `bytes` more, so that a full disk is found out before
 * a page is written: LMDB answers a short write with EIO. Where the disk forbids it, free pages
 * will do (room_check). */
int store_reserve_file(struct spool *spool, MDB_txn *txn, uint64_t bytes,
                       struct error *err) MUST_USE;

int store_get(struct spool *spool, MDB_txn *txn, enum store_db db, struct slice key,
              struct slice *out, bool *found, struct error *err) MUST_USE;
int store_put(struct spool *spool, MDB_txn *txn, enum store_db db, struct slice key,
              struct slice value, struct error *err) MUST_USE;
/* One that isn't there is fine. */
int store_delete(struct spool *spool, MDB_txn *txn, enum store_db db, struct slice key,
                 struct error *err) MUST_USE;

int store_find_stream(struct spool *spool, MDB_txn *txn, const char *name,
                      struct stream_record *out, bool *found, struct error *err) MUST_USE;
/* ERROR_INPUT when there is none of that name. */
int store_get_stream(struct spool *spool, MDB_txn *txn, const char *name, struct stream_record *out,
                     struct error *err) MUST_USE;
int store_put_stream(struct spool *spool, MDB_txn *txn, const struct stream_record *record,
                     struct error *err) MUST_USE;
int store_put_segment(struct spool *spool, MDB_txn *txn, uint32_t stream_id, uint64_t from,
                      const struct segment_record *record, struct error *err) MUST_USE;
int store_put_lost(struct spool *spool, MDB_txn *txn, uint32_t stream_id, uint64_t from,
                   const struct lost_record *record, struct error *err) MUST_USE;

/* Whether the map's pages under `bytes` can be read: where the disk fails or the file is cut,
 * a look would end the process by SIGBUS. Asking also maps them at once. Where the kernel
 * doesn't know the question (before 5.14), they can. */
bool store_can_read(struct slice bytes);

/* Room for one more at array[count]: the array, or a larger copy of it. Lists grow so, since
 * the counts that LMDB keeps may be damaged like anything else. */
void *store_grow(struct arena *arena, const void *array, size_t count, size_t *cap, size_t size);

/* All streams, in the order of their names' hashes. */
struct stream_list {
    size_t count;
    struct stream_record *records; /* in the arena */
};
int store_list_streams(struct spool *spool, MDB_txn *txn, struct arena *arena,
                       struct stream_list *out, struct error *err) MUST_USE;

/* ---- a walk over one stream's entries of blocks, segments or lost ---- */

struct range_walk {
    MDB_cursor *cursor;
    const struct spool *spool;
    uint32_t stream_id;
    bool valid; /* false: behind the last entry */
    uint64_t from;
    struct slice key;
    struct slice value; /* until the transaction's next write */
};

int range_open(struct range_walk *walk, const struct spool *spool, MDB_txn *txn, enum store_db db,
               uint32_t stream_id, struct error *err) MUST_USE;
void range_close(struct range_walk *walk); /* all zero is fine */
/* The first entry whose `from` is at or above. */
int range_seek(struct range_walk *walk, uint64_t from, struct error *err) MUST_USE;
/* The last entry whose `from` is at or below, or else the first. */
int range_seek_covering(struct range_walk *walk, uint64_t from, struct error *err) MUST_USE;
int range_next(struct range_walk *walk, struct error *err) MUST_USE;
/* Of blocks: the first of which a part lies at or above. */
int range_seek_block(struct range_walk *walk, uint64_t from, uint64_t stream_end,
                     struct error *err) MUST_USE;
/* Removes the entry and stands on the one behind it. */
int range_delete(struct range_walk *walk, struct error *err) MUST_USE;

/* Of the block that the walk stands on. ERROR_CORRUPT: it is damaged, or does not read. */
int range_block_header(const struct range_walk *walk, struct block_header *out,
                       struct error *err) MUST_USE;
/* End of the block that the walk stands on: from its header, or when that is damaged
 * from the next key or the stream's end. The walk stays. */
int range_block_end(struct range_walk *walk, uint64_t stream_end, uint64_t *end,
                    struct error *err) MUST_USE;
/* Where the stream's blocks within [from, to) begin; *found false: there are none. */
int range_first_block(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                      uint64_t from, uint64_t to, bool *found, uint64_t *first,
                      struct error *err) MUST_USE;

/* The blocks that a walk comes to next are asked for from the disk before it does, some
 * megabytes at a time: or it would wait for each by itself. */
struct range_ahead {
    struct range_walk walk;
    uint64_t to;
    size_t bytes; /* asked for, and not passed by */
};

int range_ahead_open(struct range_ahead *ahead, const struct range_walk *behind, MDB_txn *txn,
                     uint64_t to, struct error *err) MUST_USE;
/* `passed` bytes are behind the walk now. */
void range_ahead_step(struct range_ahead *ahead, size_t passed);

#endif
