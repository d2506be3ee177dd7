/* SPDX-License-Identifier: Apache-2.0
 *
 * reader.c: a segment's blocks in order, out of one read transaction. The slices it
 * gives point into LMDB's map; the transaction keeps their pages from being used anew.
 */
#include "spool/store.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"

struct spool_reader {
    struct spool *spool;
    MDB_txn *txn;
    struct range_walk walk;
    struct range_ahead ahead;
    uint64_t from;
    uint64_t to;
    uint64_t stream_end;
    struct error failure; /* of the step behind the last block given; code 0: none */
};

static int begin(struct spool_reader *reader, struct spool *spool, const char *name,
                 struct error *err)
{
    struct stream_record stream;
    int rc = store_begin_read(spool, &reader->txn, err);
    if (rc == OK)
        rc = store_get_stream(spool, reader->txn, name, &stream, err);
    if (rc != OK)
        return rc;
    reader->stream_end = stream.end;
    rc = range_open(&reader->walk, spool, reader->txn, DB_BLOCKS, stream.id, err);
    if (rc == OK)
        rc = range_seek_block(&reader->walk, reader->from, stream.end, err);
    if (rc == OK)
        rc = range_ahead_open(&reader->ahead, &reader->walk, reader->txn, reader->to, err);
    return rc;
}

int spool_reader_open(struct spool_reader **out, struct spool *spool, const char *stream,
                      uint64_t from, uint64_t to, struct error *err)
{
    ASSERT(from <= to);
    struct spool_reader *reader = memory_alloc(1, sizeof *reader);
    reader->spool = spool;
    atomic_fetch_add(&spool->reader_count, 1);
    reader->from = from;
    reader->to = to;
    *out = NULL;
    int rc = begin(reader, spool, stream, err);
    if (rc != OK) {
        spool_reader_close(reader);
        return error_wrap(err, "read %s from %llu", stream, (unsigned long long)from);
    }
    *out = reader;
    return OK;
}

static int give(struct spool_reader *reader, struct spool_block *out, struct error *err)
{
    struct block_header header;
    struct slice rows = {0};
    *out = (struct spool_block){.first = reader->walk.from};
    if (!store_can_read(reader->walk.value))
        return error_set(err, ERROR_CORRUPT, "the disk does not give its bytes");
    int rc = block_header_decode(reader->walk.key, reader->walk.value, &header, err);
    if (rc == OK) {
        out->event_count = header.event_count;
        rc = block_payload(&header, reader->walk.value, &rows, err);
    }
    if (rc != OK)
        return rc;
    out->row_count = header.row_count;
    out->schema_key = header.schema_key;
    out->time_min_us = header.time_min_us;
    out->time_max_us = header.time_max_us;
    out->rows = rows;
    return OK;
}

int spool_reader_next(struct spool_reader *reader, struct spool_block *out, bool *more,
                      struct error *err)
{
    *out = (struct spool_block){0};
    *more = false;
    if (reader->failure.code != OK) {
        *err = reader->failure;
        return (int)err->code;
    }
    *more = reader->walk.valid && reader->walk.from < reader->to;
    if (!*more)
        return OK;
    int rc = give(reader, out, err);
    range_ahead_step(&reader->ahead, reader->walk.value.len);
    /* The tree itself does not read: that is no damaged block behind which one goes on. */
    if (range_next(&reader->walk, &reader->failure) != OK)
        reader->failure.code = ERROR_IO;
    if (rc != OK && out->event_count == 0) {
        /* Not even the header reads: it held what is missing up to the next block. */
        uint64_t end = reader->walk.valid ? reader->walk.from : reader->stream_end;
        uint64_t len = end > out->first ? end - out->first : 1;
        out->event_count = len < UINT32_MAX ? (uint32_t)len : UINT32_MAX;
    }
    return rc == OK ? OK
                    : error_wrap(err, "block at %llu, %u events", (unsigned long long)out->first,
                                 out->event_count);
}

void spool_reader_close(struct spool_reader *reader)
{
    if (reader == NULL)
        return;
    range_close(&reader->ahead.walk);
    range_close(&reader->walk);
    store_end(reader->spool, reader->txn);
    atomic_fetch_sub(&reader->spool->reader_count, 1);
    free(reader);
}
