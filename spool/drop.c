/* SPDX-License-Identifier: Apache-2.0
 *
 * drop.c: what goes when the spool is full and the newest events count more than the oldest.
 *
 * First what the store has already: the records of announced segments, whose announcements
 * stay in the register (spool_let_go). Only then unannounced blocks: those of the tables of the
 * lowest priority, of these the oldest epoch's, within it those of the segment that was sealed
 * first or the open range that began first.
 * They are declared lost in the same transaction that removes them; a segment that was
 * built or half uploaded is built again without them, under another generation, so that
 * no name stands for both. Thus the range is announced whatever it was, and the committer
 * takes what follows.
 *
 * A step removes what is asked for, but not less than a 64th of the budget (16 MiB at most):
 * a spool that stays full must not pay with a transaction for each append.
 */
#include "spool/drop.h"

#include <stdlib.h>

#include "lib/base/fault.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "spool/lose.h"
#include "spool/trim.h"

enum { STEP_SHARE = 64, STEP_BYTES_MAX = 16 << 20 };

/* The oldest unannounced blocks of one stream, as far as they lie in one segment or in the
 * open range. */
struct oldest {
    bool found;
    char name[SPOOL_STREAM_NAME_MAX + 1];
    uint64_t from; /* of the first block, or of what is left of it */
    uint64_t to;
    int priority;
    int64_t since_ms;
};

/* ---- priorities ---- */

static void free_priorities(struct spool_priority *priorities, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((char *)(uintptr_t)priorities[i].table);
    free(priorities);
}

void drop_free_priorities(struct spool *spool)
{
    free_priorities(spool->priorities, spool->priority_count);
}

void spool_set_priorities(struct spool *spool, const struct spool_priority *priorities,
                          size_t count)
{
    struct spool_priority *copy = memory_alloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = (struct spool_priority){.table = memory_copy_cstr(priorities[i].table),
                                          .priority = priorities[i].priority};
    pthread_mutex_lock(&spool->lock);
    struct spool_priority *before = spool->priorities;
    size_t before_count = spool->priority_count;
    spool->priorities = copy;
    spool->priority_count = count;
    pthread_mutex_unlock(&spool->lock);
    free_priorities(before, before_count);
}

int drop_priority(struct spool *spool, const char *stream)
{
    const char *slash = strrchr(stream, '/');
    const char *table = slash != NULL ? slash + 1 : stream;
    int priority = SPOOL_PRIORITY_OTHERS;
    pthread_mutex_lock(&spool->lock);
    for (size_t i = 0; i < spool->priority_count; i++) {
        if (strcmp(spool->priorities[i].table, table) == 0)
            priority = spool->priorities[i].priority;
    }
    pthread_mutex_unlock(&spool->lock);
    return priority;
}

/* ---- what goes ---- */

/* "<agent>/<epoch>/<table>": epochs are UUIDv7, whose text sorts by time. */
static int compare_epochs(const char *a, const char *b)
{
    const char *x = strchr(a, '/');
    const char *y = strchr(b, '/');
    return strncmp(x != NULL ? x : a, y != NULL ? y : b, UUID_TEXT_SIZE);
}

/* The first unannounced segment from `at` on that has blocks. */
static int oldest_segment(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                          uint64_t at, struct oldest *out, struct error *err)
{
    struct range_walk walk = {0};
    int rc = range_open(&walk, spool, txn, DB_SEGMENTS, stream->id, err);
    if (rc == OK)
        rc = range_seek_covering(&walk, at, err);
    while (rc == OK && walk.valid && !out->found) {
        struct segment_record record;
        rc = segment_record_decode(walk.from, walk.value, &record, err);
        if (rc == OK && record.state != SEGMENT_ANNOUNCED && !record.records_gone) {
            out->to = record.to;
            out->since_ms = record.sealed_at_ms;
            rc = range_first_block(spool, txn, stream, walk.from, record.to, &out->found,
                                   &out->from, err);
        }
        if (rc == OK && !out->found)
            rc = range_next(&walk, err);
    }
    range_close(&walk);
    return rc == OK ? OK : error_wrap(err, "%s: a segment", stream->name);
}

static int oldest_of_stream(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                            uint64_t at, struct oldest *out, struct error *err)
{
    out->found = false;
    if (stream->bytes == 0)
        return OK;
    int rc = oldest_segment(spool, txn, stream, at, out, err);
    if (rc == OK && !out->found && stream->sealed < stream->end) {
        out->to = stream->end;
        out->since_ms = stream->open_since_ms;
        rc = range_first_block(spool, txn, stream, stream->sealed, stream->end, &out->found,
                               &out->from, err);
    }
    memcpy(out->name, stream->name, sizeof out->name);
    return rc;
}

static bool goes_before(const struct oldest *one, const struct oldest *other)
{
    if (one->priority != other->priority)
        return one->priority < other->priority;
    int order = compare_epochs(one->name, other->name);
    return order < 0 || (order == 0 && one->since_ms < other->since_ms);
}

/* Below `announced` lies only what was sent back: it is looked at when nothing else is left,
 * since there may be thousands of segments. */
static int find_oldest(struct spool *spool, MDB_txn *txn, int priority_max, struct oldest *best,
                       struct error *err)
{
    struct arena arena = {0};
    struct stream_list list = {0};
    best->found = false;
    int rc = store_list_streams(spool, txn, &arena, &list, err);
    for (int pass = 0; rc == OK && pass < 2 && !best->found; pass++) {
        for (size_t i = 0; rc == OK && i < list.count; i++) {
            struct oldest one = {0};
            uint64_t at = pass == 0 ? list.records[i].announced : list.records[i].begin;
            rc = oldest_of_stream(spool, txn, &list.records[i], at, &one, err);
            if (rc != OK || !one.found)
                continue;
            one.priority = drop_priority(spool, one.name);
            if (one.priority <= priority_max && (!best->found || goes_before(&one, best)))
                *best = one;
        }
    }
    arena_free(&arena);
    return rc;
}

/* Ends the range behind the block with which it holds `bytes`. */
static int cut(struct spool *spool, MDB_txn *txn, struct oldest *oldest, uint64_t bytes,
               struct error *err)
{
    struct stream_record stream;
    struct range_walk walk = {0};
    uint64_t sum = 0;
    int rc = store_get_stream(spool, txn, oldest->name, &stream, err);
    if (rc == OK)
        rc = range_open(&walk, spool, txn, DB_BLOCKS, stream.id, err);
    if (rc == OK)
        rc = range_seek_covering(&walk, oldest->from, err);
    while (rc == OK && walk.valid && walk.from < oldest->to) {
        uint64_t end = 0;
        sum += walk.value.len;
        rc = range_block_end(&walk, stream.end, &end, err);
        if (rc == OK && sum >= bytes && end < oldest->to)
            oldest->to = end;
        if (rc == OK && sum < bytes)
            rc = range_next(&walk, err);
        else
            break;
    }
    range_close(&walk);
    return rc;
}

static int lose_oldest(struct spool *spool, uint64_t bytes, int priority_max, bool *dropped,
                       struct error *err)
{
    MDB_txn *txn = NULL;
    struct oldest oldest = {0};
    struct spool_lost lost = {.reason = "disk_full"};
    int rc = store_begin_write(spool, &txn, err);
    if (rc == OK)
        rc = find_oldest(spool, txn, priority_max, &oldest, err);
    if (rc != OK || !oldest.found)
        goto out;
    rc = cut(spool, txn, &oldest, bytes, err);
    lost.from = oldest.from;
    lost.to = oldest.to;
    lost.events = lost.to - lost.from;
    if (rc == OK)
        rc = lose_range(spool, txn, oldest.name, lost, err);
    if (rc == OK)
        rc = fault_point("spool.drop.before_commit", err);
    if (rc != OK)
        goto out;
    rc = store_commit(spool, txn, err);
    txn = NULL;
    if (rc != OK)
        goto out;
    *dropped = true;
    atomic_fetch_add(&spool->dropped_events, lost.events);
    log_event(LOG_LEVEL_WARN, "spool",
              "full: the oldest events are dropped and announced as lost (spool.when_full)",
              "spool=\"%s\" stream=%s from=%llu to=%llu", spool->directory, oldest.name,
              (unsigned long long)lost.from, (unsigned long long)lost.to);
    rc = fault_point("spool.drop.committed", err);
out:
    store_end(spool, txn);
    return rc == OK ? OK : error_wrap(err, "spool: drop the oldest");
}

int drop_oldest(struct spool *spool, uint64_t bytes, int priority_max, bool *dropped,
                struct error *err)
{
    uint64_t least = spool->bytes_max / STEP_SHARE;
    least = least < STEP_BYTES_MAX ? least : STEP_BYTES_MAX;
    *dropped = false;
    int rc = trim_let_go_one(spool, dropped, err);
    if (rc == OK && !*dropped)
        rc = lose_oldest(spool, bytes > least ? bytes : least, priority_max, dropped, err);
    return rc;
}
