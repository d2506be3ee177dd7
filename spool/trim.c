/* SPDX-License-Identifier: Apache-2.0
 *
 * trim.c: what goes, and why: committed (trim) or announced and in the way (let_go).
 * What is declared lost is in lose.c.
 *
 * The first transaction changes the register and removes the first blocks; the rest
 * follows in bounded ones, so that an append never waits long for the writer's place.
 */
#include "spool/trim.h"

#include "lib/base/assert.h"
#include "lib/base/fault.h"
#include "spool/room.h"
#include "spool/segment.h"

enum { SWEEP_BLOCKS_MAX = 512, SWEEP_BYTES_MAX = 16 << 20, SWEEP_BYTES_TIGHT = 1 << 20 };

/* LMDB notes the pages that a transaction frees in one record, eight bytes a page, and
 * puts it into pages that lie side by side. In a file that can't grow there may be only
 * single ones: then so little is removed at once that the record fits one page. */
static size_t sweep_bytes(struct spool *spool)
{
    MDB_envinfo info = {0};
    int cause = mdb_env_info(spool->env, &info);
    ASSERT(cause == MDB_SUCCESS);
    uint64_t file = (info.me_last_pgno + 1) * spool->page_size;
    return file + SWEEP_BYTES_MAX <= room_file_max(spool) ? SWEEP_BYTES_MAX : SWEEP_BYTES_TIGHT;
}

/* Removes the blocks that end within (from, to], a bounded number of them; *more when
 * some are left. Changes stream->bytes; the record is not written. */
static int trim_blocks(struct spool *spool, MDB_txn *txn, struct stream_record *stream,
                       uint64_t from, uint64_t to, bool *more, struct error *err)
{
    struct range_walk walk = {0};
    size_t count = 0;
    size_t bytes = 0;
    size_t bytes_max = sweep_bytes(spool);
    *more = false;
    int rc = range_open(&walk, spool, txn, DB_BLOCKS, stream->id, err);
    if (rc == OK)
        rc = range_seek_covering(&walk, from, err);
    while (rc == OK && walk.valid && walk.from < to) {
        uint64_t end = 0;
        rc = range_block_end(&walk, stream->end, &end, err);
        if (rc != OK || end > to)
            break;
        if (end <= from) {
            rc = range_next(&walk, err);
            continue;
        }
        *more = count == SWEEP_BLOCKS_MAX || bytes >= bytes_max;
        if (*more)
            break;
        count++;
        bytes += walk.value.len;
        stream->bytes -= stream->bytes < walk.value.len ? stream->bytes : walk.value.len;
        rc = range_delete(&walk, err);
    }
    range_close(&walk);
    return rc;
}

int trim_sweep(struct spool *spool, const char *name, uint64_t from, uint64_t to, struct error *err)
{
    bool more = true;
    int rc = OK;
    while (rc == OK && more) {
        MDB_txn *txn = NULL;
        struct stream_record stream;
        rc = store_begin_write(spool, &txn, err);
        if (rc != OK)
            return rc;
        rc = store_get_stream(spool, txn, name, &stream, err);
        uint64_t bytes = rc == OK ? stream.bytes : 0;
        if (rc == OK)
            rc = trim_blocks(spool, txn, &stream, from, to, &more, err);
        if (rc != OK || stream.bytes == bytes) {
            store_end(spool, txn);
            return rc;
        }
        rc = store_put_stream(spool, txn, &stream, err);
        if (rc == OK)
            rc = store_commit(spool, txn, err);
        else
            store_end(spool, txn);
        if (rc == OK)
            rc = fault_point("spool.sweep.committed", err);
    }
    return rc;
}

/* ---- trim ---- */

static int trim_segments(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                         uint64_t next, struct error *err)
{
    struct range_walk walk = {0};
    int rc = range_open(&walk, spool, txn, DB_SEGMENTS, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, 0, err);
    while (rc == OK && walk.valid && walk.from < next) {
        struct segment_record record;
        rc = segment_record_decode(walk.from, walk.value, &record, err);
        if (rc != OK) {
            error_wrap(err, "segment at %llu", (unsigned long long)walk.from);
            break;
        }
        record.payload = slice_of(NULL, 0);
        rc = range_delete(&walk, err);
        if (rc != OK || record.to <= next)
            continue;
        record.state = SEGMENT_SEALED;
        record.generation = 1;
        record.announced_at_ms = 0;
        segment_note_pending(spool, txn, stream->id, next);
        rc = store_put_segment(spool, txn, stream->id, next, &record, err);
        break;
    }
    range_close(&walk);
    return rc;
}

static int trim_lost(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                     uint64_t next, struct error *err)
{
    struct range_walk walk = {0};
    int rc = range_open(&walk, spool, txn, DB_LOST, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, 0, err);
    while (rc == OK && walk.valid && walk.from < next) {
        struct lost_record record;
        rc = lost_record_decode(walk.from, walk.value, &record, err);
        if (rc != OK) {
            error_wrap(err, "lost range at %llu", (unsigned long long)walk.from);
            break;
        }
        rc = range_delete(&walk, err);
        if (rc != OK || record.to <= next)
            continue;
        if (record.events > record.to - next)
            record.events = record.to - next;
        rc = store_put_lost(spool, txn, stream->id, next, &record, err);
        break;
    }
    range_close(&walk);
    return rc;
}

/* *done when there is nothing to do; *more when blocks are left to sweep. */
static int trim_once(struct spool *spool, MDB_txn *txn, const char *name, uint64_t next,
                     int64_t committed_at_ms, bool *done, bool *more, struct error *err)
{
    struct stream_record stream;
    int rc = store_get_stream(spool, txn, name, &stream, err);
    *done = rc == OK && next <= stream.next;
    if (rc != OK || *done)
        return rc;
    /* A segment is sealed before it is announced, and a crash may have come between its
     * announcement and the register: so `sealed`, not `announced`, is what may be out. */
    if (next > stream.sealed)
        return error_set(err, ERROR_CORRUPT, "next is %llu, but nothing beyond %llu was announced",
                         (unsigned long long)next, (unsigned long long)stream.sealed);
    stream.next = next;
    stream.committed_at_ms = committed_at_ms;
    stream.begin = next;
    rc = trim_segments(spool, txn, &stream, next, err);
    if (rc == OK)
        rc = trim_lost(spool, txn, &stream, next, err);
    if (rc == OK)
        rc = trim_blocks(spool, txn, &stream, 0, next, more, err);
    return rc == OK ? store_put_stream(spool, txn, &stream, err) : rc;
}

int spool_trim(struct spool *spool, const char *name, uint64_t next, int64_t committed_at_ms,
               struct error *err)
{
    MDB_txn *txn = NULL;
    bool done = false;
    bool more = false;
    int rc = store_begin_write(spool, &txn, err);
    if (rc == OK)
        rc = trim_once(spool, txn, name, next, committed_at_ms, &done, &more, err);
    if (rc == OK && !done)
        rc = fault_point("spool.trim.before_commit", err);
    if (rc != OK || done)
        goto out;
    rc = store_commit(spool, txn, err);
    txn = NULL;
    if (rc == OK)
        rc = fault_point("spool.trim.committed", err);
    if (rc == OK && more)
        rc = trim_sweep(spool, name, 0, next, err);
    store_measure_sealed(spool);
out:
    store_end(spool, txn);
    return rc == OK ? OK : error_wrap(err, "trim %s to %llu", name, (unsigned long long)next);
}

/* ---- let go ---- */

struct candidate {
    bool found;
    char name[SPOOL_STREAM_NAME_MAX + 1];
    uint32_t stream_id;
    uint64_t from;
    int64_t sealed_at_ms;
};

/* The oldest announced segment of the stream whose records are here. */
static int oldest_of(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                     struct candidate *best, struct error *err)
{
    struct range_walk walk = {0};
    int rc = range_open(&walk, spool, txn, DB_SEGMENTS, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, 0, err);
    while (rc == OK && walk.valid) {
        struct segment_record record;
        rc = segment_record_decode(walk.from, walk.value, &record, err);
        if (rc != OK) {
            error_wrap(err, "%s: segment at %llu", stream->name, (unsigned long long)walk.from);
            break;
        }
        if (record.state == SEGMENT_ANNOUNCED && !record.records_gone) {
            if (!best->found || record.sealed_at_ms < best->sealed_at_ms) {
                *best = (struct candidate){.found = true,
                                           .stream_id = stream->id,
                                           .from = walk.from,
                                           .sealed_at_ms = record.sealed_at_ms};
                memcpy(best->name, stream->name, sizeof best->name);
            }
            break;
        }
        rc = range_next(&walk, err);
    }
    range_close(&walk);
    return rc;
}

static int find_oldest(struct spool *spool, MDB_txn *txn, struct candidate *best, struct error *err)
{
    struct arena arena = {0};
    struct stream_list list = {0};
    best->found = false;
    int rc = store_list_streams(spool, txn, &arena, &list, err);
    for (size_t i = 0; rc == OK && i < list.count; i++)
        rc = oldest_of(spool, txn, &list.records[i], best, err);
    arena_free(&arena);
    return rc;
}

static int mark_gone(struct spool *spool, MDB_txn *txn, const struct candidate *candidate,
                     uint64_t *to, bool *more, struct error *err)
{
    uint8_t key[RANGE_KEY_SIZE];
    struct slice value = {0};
    struct segment_record record = {0};
    struct stream_record stream;
    struct buf payload = {0};
    bool found = false;
    range_key_encode(candidate->stream_id, candidate->from, key);
    int rc = store_get(spool, txn, DB_SEGMENTS, slice_of(key, sizeof key), &value, &found, err);
    ASSERT(rc != OK || found);
    if (rc == OK)
        rc = segment_record_decode(candidate->from, value, &record, err);
    if (rc == OK)
        rc = store_get_stream(spool, txn, candidate->name, &stream, err);
    if (rc != OK)
        return rc;
    record.records_gone = true;
    *to = record.to;
    /* LMDB may move the page that the payload lies in while it writes the record. */
    buf_put_slice(&payload, record.payload);
    record.payload = buf_slice(&payload);
    rc = store_put_segment(spool, txn, stream.id, candidate->from, &record, err);
    buf_free(&payload);
    if (rc == OK)
        rc = trim_blocks(spool, txn, &stream, candidate->from, record.to, more, err);
    return rc == OK ? store_put_stream(spool, txn, &stream, err) : rc;
}

static bool has_room(const struct spool *spool, uint64_t bytes)
{
    uint64_t used = store_used_bytes(spool);
    uint64_t appendable = store_appendable_bytes(spool);
    return used <= appendable && appendable - used >= bytes;
}

int trim_let_go_one(struct spool *spool, bool *found, struct error *err)
{
    MDB_txn *txn = NULL;
    struct candidate candidate = {0};
    uint64_t to = 0;
    bool more = false;
    *found = false;
    int rc = store_begin_write(spool, &txn, err);
    if (rc == OK)
        rc = find_oldest(spool, txn, &candidate, err);
    if (rc == OK && candidate.found)
        rc = mark_gone(spool, txn, &candidate, &to, &more, err);
    if (rc == OK && candidate.found)
        rc = fault_point("spool.let_go.before_commit", err);
    if (rc != OK || !candidate.found)
        goto out;
    rc = store_commit(spool, txn, err);
    txn = NULL;
    if (rc == OK)
        rc = fault_point("spool.let_go.committed", err);
    if (rc == OK && more)
        rc = trim_sweep(spool, candidate.name, candidate.from, to, err);
    *found = rc == OK;
out:
    store_end(spool, txn);
    return rc;
}

int spool_let_go(struct spool *spool, uint64_t bytes, struct error *err)
{
    bool found = true;
    int rc = OK;
    store_measure_sealed(spool);
    while (rc == OK && found && !has_room(spool, bytes))
        rc = trim_let_go_one(spool, &found, err);
    return rc == OK ? OK : error_wrap(err, "spool: let go");
}
