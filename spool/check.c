/* SPDX-License-Identifier: Apache-2.0
 *
 * check.c: reads every record and block, and holds them against each other.
 */
#include <stdarg.h>
#include <stdio.h>

#include "spool/store.h"

struct check {
    struct spool *spool;
    MDB_txn *txn;
    spool_report *report;
    void *context;
    size_t damaged;
};

static void damage(struct check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void damage(struct check *check, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    check->damaged++;
    if (check->report != NULL)
        check->report(check->context, line);
}

static int check_blocks(struct check *check, const struct stream_record *stream, struct error *err)
{
    struct range_walk walk = {0};
    uint64_t bytes = 0;
    uint64_t expected = 0;
    int rc = range_open(&walk, check->spool, check->txn, DB_BLOCKS, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, 0, err);
    while (rc == OK && walk.valid) {
        struct block_header header;
        struct slice rows;
        struct error bad;
        uint64_t end = 0;
        bool unread = !store_can_read(walk.value);
        if (unread)
            error_set(&bad, ERROR_CORRUPT, "the disk does not give its bytes");
        if (unread || block_header_decode(walk.key, walk.value, &header, &bad) != OK ||
            block_payload(&header, walk.value, &rows, &bad) != OK)
            damage(check,
                   "%s: block at %llu: %s; the agent will set it aside in quarantine/ and announce "
                   "its events as lost when it builds that segment: look at the disk",
                   stream->name, (unsigned long long)walk.from, bad.text);
        if (walk.from < expected)
            damage(check, "%s: block at %llu: it overlaps the one before", stream->name,
                   (unsigned long long)walk.from);
        bytes += walk.value.len;
        rc = range_block_end(&walk, stream->end, &end, err);
        expected = end;
        if (rc == OK)
            rc = range_next(&walk, err);
    }
    if (rc == OK && expected > stream->end)
        damage(check, "%s: blocks go to %llu, the stream to %llu", stream->name,
               (unsigned long long)expected, (unsigned long long)stream->end);
    if (rc == OK && bytes != stream->bytes)
        damage(check, "%s: %llu bytes of blocks, %llu are counted", stream->name,
               (unsigned long long)bytes, (unsigned long long)stream->bytes);
    range_close(&walk);
    return rc;
}

static int check_segments(struct check *check, const struct stream_record *stream,
                          struct error *err)
{
    struct range_walk walk = {0};
    uint64_t expected = stream->begin;
    int rc = range_open(&walk, check->spool, check->txn, DB_SEGMENTS, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, 0, err);
    while (rc == OK && walk.valid) {
        struct segment_record record;
        struct error bad;
        if (segment_record_decode(walk.from, walk.value, &record, &bad) != OK) {
            damage(check, "%s: segment at %llu: %s", stream->name, (unsigned long long)walk.from,
                   bad.text);
        } else {
            if (walk.from != expected)
                damage(check, "%s: segment at %llu where one at %llu should follow", stream->name,
                       (unsigned long long)walk.from, (unsigned long long)expected);
            expected = record.to;
        }
        rc = range_next(&walk, err);
    }
    if (rc == OK && expected != stream->sealed)
        damage(check, "%s: segments end at %llu, sealed is %llu", stream->name,
               (unsigned long long)expected, (unsigned long long)stream->sealed);
    range_close(&walk);
    return rc;
}

static int check_lost(struct check *check, const struct stream_record *stream, struct error *err)
{
    struct range_walk walk = {0};
    int rc = range_open(&walk, check->spool, check->txn, DB_LOST, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, 0, err);
    while (rc == OK && walk.valid) {
        struct lost_record record;
        struct error bad;
        if (lost_record_decode(walk.from, walk.value, &record, &bad) != OK)
            damage(check, "%s: lost range at %llu: %s", stream->name, (unsigned long long)walk.from,
                   bad.text);
        rc = range_next(&walk, err);
    }
    range_close(&walk);
    return rc;
}

static int check_stream(struct check *check, const struct stream_record *stream, struct error *err)
{
    int rc = check_blocks(check, stream, err);
    if (rc == OK)
        rc = check_segments(check, stream, err);
    if (rc == OK)
        rc = check_lost(check, stream, err);
    return rc;
}

int spool_check(struct spool *spool, spool_report *report, void *context, size_t *damaged,
                struct error *err)
{
    struct check check = {.spool = spool, .report = report, .context = context};
    MDB_cursor *cursor = NULL;
    MDB_val key = {0};
    MDB_val value = {0};
    int rc = store_begin_read(spool, &check.txn, err);
    int cause = MDB_SUCCESS;
    if (rc == OK)
        cause = mdb_cursor_open(check.txn, spool->dbi[DB_STREAMS], &cursor);
    if (rc == OK && cause == MDB_SUCCESS)
        cause = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    while (rc == OK && cause == MDB_SUCCESS) {
        struct stream_record stream;
        struct error bad;
        int bad_rc = stream_record_decode(slice_of(value.mv_data, value.mv_size), &stream, &bad);
        if (bad_rc != OK) {
            damage(&check, "a stream's record: %s", bad.text);
        } else if (check_stream(&check, &stream, &bad) != OK) {
            /* LMDB itself stumbled: the rest of this stream is not seen. */
            damage(&check, "%s: %s", stream.name, bad.text);
        }
        cause = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (rc == OK && cause != MDB_SUCCESS && cause != MDB_NOTFOUND)
        rc = store_error(err, "spool: list streams", cause);
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    store_end(spool, check.txn);
    *damaged = check.damaged;
    return rc;
}
