/* SPDX-License-Identifier: Apache-2.0
 *
 * segment.h: steps on streams and segments within a transaction. Private to spool/.
 */
#ifndef SPOOL_SEGMENT_H
#define SPOOL_SEGMENT_H

#include "spool/store.h"

/* Cuts one segment from the open range, which must not be empty, and writes it and the
 * stream's record. */
int segment_seal(struct spool *spool, MDB_txn *txn, struct stream_record *stream,
                 const struct spool_seal_limits *limits, struct error *err) MUST_USE;

/* Counts what the open range holds from its blocks; the record is not written. */
int segment_count_open(struct spool *spool, MDB_txn *txn, struct stream_record *stream,
                       struct error *err) MUST_USE;

/* A segment's record, and its stream's. ERROR_CONFLICT: it is not the one that was listed. */
int segment_find_listed(struct spool *spool, MDB_txn *txn, const struct spool_segment *segment,
                        struct stream_record *stream, struct segment_record *record,
                        struct error *err) MUST_USE;

/* The transaction makes the segment at `from` one that is not announced. */
void segment_note_pending(struct spool *spool, MDB_txn *txn, uint32_t stream_id, uint64_t from);
void segment_committed(struct spool *spool, size_t txn_id);
void segment_free_hints(struct spool *spool);

#endif
