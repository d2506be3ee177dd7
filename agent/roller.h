/* SPDX-License-Identifier: Apache-2.0
 *
 * roller.h: from a sealed segment to sorted Parquet files and their announcement.
 *
 * One segment at a time, one partition's file at a time: an index of the segment
 * (a row pointer, a 64-bit sort key and a 32-bit number each) is grouped by partition,
 * each group is sorted, and its columns are gathered from the row images in the
 * spool's memory map, some columns at a time. Rows are never copied.
 *
 * Two specs: a partition's slice whose row images come to partition_bytes *
 * ROLLER_IMAGE_RATIO is a file of its own under spec 0; all smaller slices of a day
 * share one file under spec 1 (the day alone), sorted by the other partition columns
 * first. The ratio stands in for the encoded size, which is known only afterwards.
 *
 * Repeatable  the same range, schema, program and libraries give the same bytes.
 * Crash       files in <spool>/sealed/ are a cache without fsync; the register says
 *             BUILT only after all are written.
 * Memory      16 bytes a row for the index; above it, while files are formed 16 bytes a
 *             row, while one is sorted 24 bytes for each of its rows (28 and its distinct
 *             strings while keys are made), and while it is written what roller_gather.h
 *             states (16 MiB, and 4 where codes become slices; 16 more where lists are
 *             long) and what parquet.h states for the writer (12 MiB for the dictionary, 4
 *             for pages and filters). At the defaults (1,000,000 rows, groups of 250,000)
 *             ROLLER_MEMORY_MAX; lists besides. What a stage leaves free goes back to the
 *             system before the next.
 * Threads     the one that rolls.
 */
#ifndef AGENT_ROLLER_H
#define AGENT_ROLLER_H

#include <stdint.h>

#include "lib/announce/announce.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/histogram.h"
#include "spool/spool.h"

enum {
    /* Row images are about this many times their encoded size. */
    ROLLER_IMAGE_RATIO = 8,
    /* Of more partition tuples none has a file of its own, and of more files none has
     * metrics, so that the announcement of any segment fits into its bounds
     * (announce.h): there are 84,000 days that an event may name. */
    ROLLER_SLICES_MAX = 10000,
    /* Anonymous bytes of a build at the defaults, lists apart; see Memory. */
    ROLLER_MEMORY_MAX = 52 << 20,
};

struct roller_options {
    struct spool *spool;
    const struct clock *clock;
    const char *agent_id;
    uint64_t partition_bytes;    /* encoded; 0: each partition tuple a file */
    uint32_t row_group_rows_max; /* 0: 250,000 */
    int zstd_level;              /* 0: 1 */
};

/* CPU nanoseconds by stage, and counts, since the caller zeroed it. */
struct roller_statistics {
    int64_t index_ns; /* reading blocks, checking images, partitions */
    int64_t sort_ns;
    int64_t encode_ns; /* gather and pack, without zstd and write */
    int64_t zstd_ns;
    int64_t write_ns;
    uint64_t segments;
    uint64_t files;
    uint64_t rows;
    uint64_t bytes;
    uint64_t damaged_blocks;
    struct histogram spans; /* wall clock, a build each; by the pipeline */
};

/* Builds `segment` (SEALED) and sets it to BUILT in the register. `contract` gives
 * field ids and uuid; NULL: the spooled schema's own ids. Damaged blocks, and a segment
 * whose records were let go, are declared lost first. ERROR_CONFLICT: the contract doesn't fit the
 * spooled schema, or the segment was trimmed meanwhile; the records stay. */
int roller_build(const struct roller_options *options, const struct spool_segment *segment,
                 const struct contract *contract, struct roller_statistics *statistics,
                 struct error *err) MUST_USE;

#endif
