/* SPDX-License-Identifier: Apache-2.0
 *
 * lose.c: a range is declared lost: its blocks go, its reason stays until it is trimmed.
 *
 * One transaction, however long the range: a roller must never see rows that are also
 * counted as lost. Only whole blocks can be lost, since the spool can't cut one.
 */
#include "spool/lose.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/digest.h"
#include "lib/base/fault.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "spool/segment.h"

/* ---- blocks ---- */

static int quarantine(struct spool *spool, const struct stream_record *stream,
                      const struct range_walk *walk, struct error *err)
{
    uint8_t hash[STREAM_KEY_SIZE];
    char hex[2 * STREAM_KEY_SIZE + 1];
    stream_key_encode(stream->name, hash);
    hex_encode(slice_of(hash, sizeof hash), hex);
    char *path = memory_printf("%s/%s-%020llu.block", spool->quarantine_directory, hex,
                               (unsigned long long)walk->from);
    /* Page by page: zeros stand for what the disk does not give. */
    uint8_t *bytes = memory_alloc(walk->value.len, 1);
    size_t step = 0;
    for (size_t at = 0; at < walk->value.len; at += step) {
        const uint8_t *from = walk->value.data + at;
        step = spool->page_size - (size_t)((uintptr_t)from % spool->page_size);
        if (step > walk->value.len - at)
            step = walk->value.len - at;
        if (store_can_read(slice_of(from, step)))
            memcpy(bytes + at, from, step);
    }
    int rc = file_make_directories(spool->quarantine_directory, 0750, err);
    if (rc == OK)
        rc = file_replace(path, slice_of(bytes, walk->value.len), 0640, err);
    free(bytes);
    free(path);
    if (rc != OK)
        err->cause = 0; /* not data.mdb's fault: nothing is set aside for it */
    return rc;
}

static bool reads(const struct range_walk *walk)
{
    struct block_header header;
    struct slice rows;
    struct error err;
    return store_can_read(walk->value) &&
           block_header_decode(walk->key, walk->value, &header, &err) == OK &&
           block_payload(&header, walk->value, &rows, &err) == OK;
}

static int remove_blocks(struct spool *spool, MDB_txn *txn, struct stream_record *stream,
                         uint64_t from, uint64_t to, struct error *err)
{
    struct range_walk walk = {0};
    int rc = range_open(&walk, spool, txn, DB_BLOCKS, stream->id, err);
    if (rc == OK)
        rc = range_seek_covering(&walk, from, err);
    while (rc == OK && walk.valid && walk.from < to) {
        uint64_t end = 0;
        uint64_t first = walk.from > stream->begin ? walk.from : stream->begin;
        rc = range_block_end(&walk, stream->end, &end, err);
        if (rc == OK && end <= from) {
            rc = range_next(&walk, err);
            continue;
        }
        bool readable = rc == OK && reads(&walk);
        /* A damaged header's end is a guess: then it is enough that the range begins. */
        if (rc == OK && (first < from || (readable && end > to)))
            rc = error_set(err, ERROR_INPUT, "[%llu, %llu) cuts the block [%llu, %llu)",
                           (unsigned long long)from, (unsigned long long)to,
                           (unsigned long long)walk.from, (unsigned long long)end);
        if (rc == OK && !readable)
            rc = quarantine(spool, stream, &walk, err);
        if (rc != OK)
            break;
        stream->bytes -= stream->bytes < walk.value.len ? stream->bytes : walk.value.len;
        rc = range_delete(&walk, err);
    }
    range_close(&walk);
    return rc;
}

/* ---- the lost ranges ---- */

/* The range that ends where this one begins, lost for the same reason, becomes one with it:
 * a spool that stays full drops thousands of small ones. Only where each position is an
 * event, so that the sum can be parted again. */
static int merge_before(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                        uint64_t *from, struct lost_record *record, struct error *err)
{
    struct range_walk walk = {0};
    struct lost_record before = {0};
    if (record->events != record->to - *from)
        return OK;
    int rc = range_open(&walk, spool, txn, DB_LOST, stream->id, err);
    if (rc == OK)
        rc = range_seek_covering(&walk, *from, err);
    if (rc == OK && walk.valid && walk.from < *from) {
        rc = lost_record_decode(walk.from, walk.value, &before, err);
        if (rc == OK && before.to == *from && before.events == before.to - walk.from &&
            strcmp(before.reason, record->reason) == 0) {
            *from = walk.from;
            record->events += before.events;
        }
    }
    range_close(&walk);
    return rc;
}

/* Puts the part [from, to) that no older range covers yet. */
static int put_piece(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                     const struct spool_lost *lost, uint64_t from, uint64_t to, struct error *err)
{
    struct lost_record record = {.to = to, .events = lost->events};
    if (record.events > to - from)
        record.events = to - from;
    snprintf(record.reason, sizeof record.reason, "%s", lost->reason);
    int rc = merge_before(spool, txn, stream, &from, &record, err);
    return rc == OK ? store_put_lost(spool, txn, stream->id, from, &record, err) : rc;
}

/* The same range may be declared twice (a crash before the caller knew): events are
 * counted once, under the first reason. */
static int put_lost(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                    const struct spool_lost *lost, bool *news, struct error *err)
{
    uint64_t at = lost->from;
    *news = false;
    struct range_walk walk = {0};
    int rc = range_open(&walk, spool, txn, DB_LOST, stream->id, err);
    if (rc == OK)
        rc = range_seek_covering(&walk, at, err);
    while (rc == OK && walk.valid && walk.from < lost->to && at < lost->to) {
        struct lost_record record;
        uint64_t from = walk.from;
        rc = lost_record_decode(from, walk.value, &record, err);
        if (rc == OK && from > at) {
            *news = true;
            rc = put_piece(spool, txn, stream, lost, at, from, err);
        }
        if (rc == OK && record.to > at)
            at = record.to;
        /* The put may have moved what the cursor stood on. */
        if (rc == OK)
            rc = range_seek(&walk, from + 1, err);
    }
    range_close(&walk);
    if (rc != OK || at >= lost->to)
        return rc;
    *news = true;
    return put_piece(spool, txn, stream, lost, at, lost->to, err);
}

static int lost_covers(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                       uint64_t from, uint64_t to, bool *covers, struct error *err)
{
    struct range_walk walk = {0};
    uint64_t at = from;
    int rc = range_open(&walk, spool, txn, DB_LOST, stream->id, err);
    if (rc == OK)
        rc = range_seek_covering(&walk, from, err);
    while (rc == OK && walk.valid && walk.from <= at && at < to) {
        struct lost_record record;
        rc = lost_record_decode(walk.from, walk.value, &record, err);
        if (rc == OK && record.to > at)
            at = record.to;
        if (rc == OK)
            rc = range_next(&walk, err);
    }
    range_close(&walk);
    *covers = at >= to;
    return rc;
}

/* ---- the segments that the range touches ---- */

/* It is to be built anew, without what is lost and under another name. The generation
 * moves whatever the state: somebody may be building it from what was there. */
static int reset_segment(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                         uint64_t from, bool news, struct segment_record *record, struct error *err)
{
    bool any = false;
    bool covers = false;
    uint64_t first = 0;
    int rc = range_first_block(spool, txn, stream, from, record->to, &any, &first, err);
    if (rc == OK)
        rc = lost_covers(spool, txn, stream, from, record->to, &covers, err);
    if (rc != OK)
        return rc;
    record->generation += news || record->state != SEGMENT_SEALED;
    record->state = SEGMENT_SEALED;
    record->announced_at_ms = 0;
    record->payload = slice_of(NULL, 0);
    segment_note_pending(spool, txn, stream->id, from);
    if (!any)
        record->schema_key = 0;
    /* All of it is named as lost: there is nothing left that could be missing. */
    if (covers)
        record->records_gone = false;
    return store_put_segment(spool, txn, stream->id, from, record, err);
}

static int reset_segments(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                          uint64_t from, uint64_t to, bool news, struct error *err)
{
    struct range_walk walk = {0};
    int rc = range_open(&walk, spool, txn, DB_SEGMENTS, stream->id, err);
    if (rc == OK)
        rc = range_seek_covering(&walk, from, err);
    while (rc == OK && walk.valid && walk.from < to) {
        struct segment_record record;
        uint64_t at = walk.from;
        rc = segment_record_decode(at, walk.value, &record, err);
        if (rc == OK && record.to > from)
            rc = reset_segment(spool, txn, stream, at, news, &record, err);
        if (rc == OK)
            rc = range_seek(&walk, at + 1, err);
    }
    range_close(&walk);
    return rc;
}

int lose_range(struct spool *spool, MDB_txn *txn, const char *name, struct spool_lost lost,
               struct error *err)
{
    struct stream_record stream;
    bool news = false;
    int rc = store_get_stream(spool, txn, name, &stream, err);
    if (rc != OK)
        return rc;
    if (lost.to > stream.end)
        return error_set(err, ERROR_INPUT, "the stream ends at %llu",
                         (unsigned long long)stream.end);
    /* What is trimmed is committed: it is not lost. */
    if (lost.from < stream.begin)
        lost.from = stream.begin;
    if (lost.to <= lost.from)
        return OK;
    rc = remove_blocks(spool, txn, &stream, lost.from, lost.to, err);
    if (rc == OK)
        rc = put_lost(spool, txn, &stream, &lost, &news, err);
    if (rc == OK)
        rc = reset_segments(spool, txn, &stream, lost.from, lost.to, news, err);
    if (rc == OK && lost.to > stream.sealed)
        rc = segment_count_open(spool, txn, &stream, err);
    return rc == OK ? store_put_stream(spool, txn, &stream, err) : rc;
}

int spool_lose(struct spool *spool, const char *stream, const struct spool_lost *lost,
               struct error *err)
{
    MDB_txn *txn = NULL;
    size_t reason_len = strlen(lost->reason);
    if (lost->from >= lost->to || reason_len == 0 || reason_len > SPOOL_REASON_MAX)
        return error_set(err, ERROR_INPUT, "spool: a lost range of no length or reason");
    int rc = store_begin_write(spool, &txn, err);
    if (rc == OK)
        rc = lose_range(spool, txn, stream, *lost, err);
    if (rc == OK)
        rc = fault_point("spool.lose.before_commit", err);
    if (rc != OK)
        goto out;
    rc = store_commit(spool, txn, err);
    txn = NULL;
    if (rc == OK)
        rc = fault_point("spool.lose.committed", err);
out:
    store_end(spool, txn);
    return rc == OK ? OK
                    : error_wrap(err, "lose [%llu, %llu) of %s", (unsigned long long)lost->from,
                                 (unsigned long long)lost->to, stream);
}
