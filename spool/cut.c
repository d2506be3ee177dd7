/* SPDX-License-Identifier: Apache-2.0
 *
 * cut.c: a sealed segment becomes several smaller ones, before anything is built of it.
 *
 * It may have been announced before a crash, and even be committed: a receipt's next is then its
 * end, and the pieces go by it as it would have. No name stands for two contents, since names
 * have the range in them. The blocks are looked at in a read, so that no append waits for them; the
 * transaction that writes the pieces finds out whether the segment is still the one that was read.
 */
#include "lib/base/buf.h"
#include "lib/base/bytes.h"
#include "lib/base/fault.h"
#include "spool/segment.h"

enum { CUT_SIZE = sizeof(uint64_t) };

static bool is_over(const struct spool_seal_limits *limits, uint64_t bytes, uint64_t rows)
{
    return (limits->bytes_max > 0 && bytes > limits->bytes_max) ||
           (limits->rows_max > 0 && rows > limits->rows_max);
}

/* Appends to `cuts` where a piece ends and the next begins, each at a block. */
static int find_cuts(struct range_walk *walk, struct range_ahead *ahead,
                     const struct spool_segment *segment, const struct spool_seal_limits *limits,
                     struct buf *cuts, struct error *err)
{
    uint64_t bytes = 0;
    uint64_t rows = 0;
    bool any = false;
    int rc = OK;
    for (; rc == OK && walk->valid && walk->from < segment->to; rc = range_next(walk, err)) {
        struct block_header header;
        struct error damage;
        range_ahead_step(ahead, walk->value.len);
        /* A damaged block goes with those around it: the reader will name it. */
        if (range_block_header(walk, &header, &damage) != OK)
            continue;
        if (any && is_over(limits, bytes + header.payload_len, rows + header.row_count)) {
            buf_put_u64le(cuts, walk->from);
            bytes = 0;
            rows = 0;
        }
        any = true;
        bytes += header.payload_len;
        rows += header.row_count;
    }
    return rc;
}

static int look_for_cuts(struct spool *spool, const struct spool_segment *segment,
                         const struct spool_seal_limits *limits, struct buf *cuts,
                         struct error *err)
{
    MDB_txn *txn = NULL;
    struct stream_record stream;
    struct range_walk walk = {0};
    struct range_ahead ahead = {0};
    int rc = store_begin_read(spool, &txn, err);
    if (rc == OK)
        rc = store_get_stream(spool, txn, segment->stream, &stream, err);
    if (rc == OK)
        rc = range_open(&walk, spool, txn, DB_BLOCKS, stream.id, err);
    if (rc == OK)
        rc = range_seek_block(&walk, segment->from, stream.end, err);
    /* Whole, since most often all of it is built next. */
    if (rc == OK)
        rc = range_ahead_open(&ahead, &walk, txn, segment->to, err);
    if (rc == OK)
        rc = find_cuts(&walk, &ahead, segment, limits, cuts, err);
    range_close(&ahead.walk);
    range_close(&walk);
    store_end(spool, txn);
    return rc;
}

static int put_pieces(struct spool *spool, MDB_txn *txn, const struct spool_segment *segment,
                      struct slice cuts, struct error *err)
{
    struct stream_record stream;
    struct segment_record record = {0};
    uint64_t from = segment->from;
    int rc = segment_find_listed(spool, txn, segment, &stream, &record, err);
    if (rc == OK && (record.state != SEGMENT_SEALED || record.records_gone))
        rc = error_set(err, ERROR_CONFLICT, "the segment is not to be built any more");
    record.payload = slice_of(NULL, 0);
    for (size_t at = 0; rc == OK && at <= cuts.len; at += CUT_SIZE) {
        record.to = at < cuts.len ? get_u64le(cuts.data + at) : segment->to;
        rc = store_put_segment(spool, txn, stream.id, from, &record, err);
        from = record.to;
    }
    return rc;
}

int spool_cut_segment(struct spool *spool, const struct spool_segment *segment,
                      const struct spool_seal_limits *limits, bool *cut, struct error *err)
{
    MDB_txn *txn = NULL;
    struct buf cuts = {0};
    *cut = false;
    int rc = look_for_cuts(spool, segment, limits, &cuts, err);
    if (rc != OK || cuts.len == 0)
        goto out;
    rc = store_begin_write(spool, &txn, err);
    if (rc == OK)
        rc = put_pieces(spool, txn, segment, buf_slice(&cuts), err);
    if (rc == OK)
        rc = fault_point("spool.cut.before_commit", err);
    if (rc != OK)
        goto out;
    rc = store_commit(spool, txn, err);
    txn = NULL;
    *cut = rc == OK;
    if (rc == OK)
        rc = fault_point("spool.cut.committed", err);
out:
    store_end(spool, txn);
    buf_free(&cuts);
    return rc == OK ? OK
                    : error_wrap(err, "cut segment %llu of %s", (unsigned long long)segment->from,
                                 segment->stream);
}
