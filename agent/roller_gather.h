/* SPDX-License-Identifier: Apache-2.0
 *
 * roller_gather.h: rows of the index into columns as lib/parquet takes them.
 * Private to agent/.
 *
 * In a file's order each row lies somewhere else in the map. So rows are visited a few
 * at a time, the next ones fetched ahead, and all columns of a pass are taken from them
 * while they are in the cache. A pass is as many columns as GATHER_BYTES_MAX has room
 * for, one at least. Strings become codes into their distinct values, until these are
 * too many to be worth it; then slices into the map, four times as large: when they
 * leave no room, the last columns are given up and come in the next pass.
 *
 * Memory   GATHER_BYTES_MAX, or one column of a row group and its distinct values (one and a
 *          half megabytes at most) if that is more; while a column of codes becomes slices, its
 *          codes besides.
 * Threads  the one that rolls.
 */
#ifndef AGENT_ROLLER_GATHER_H
#define AGENT_ROLLER_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/roller_index.h"
#include "lib/base/slice.h"
#include "lib/parquet/parquet.h"

enum { GATHER_BYTES_MAX = 16 << 20 };

/* Different strings, numbered as they come. */
struct gather_distinct {
    size_t count;
    struct slice *values; /* in `texts`; room for half as many as there are slots */
    uint8_t *texts;       /* copies, close together: the images lie all over memory */
    size_t text_len;
    size_t text_cap;
    uint64_t *slots;   /* hash in the upper half, number + 1 in the lower; 0: free */
    size_t slot_count; /* a power of two */
    uint32_t last;     /* the number given last */
    size_t trial_seen; /* values that came before the trial's count was reached */
};

struct gather_column {
    uint8_t *valid;         /* one a row */
    uint32_t *list_offsets; /* lists: one a row and one more */
    uint8_t *values;        /* one a row, in lists one an element */
    size_t value_size;
    size_t capacity; /* of values */
    size_t count;    /* lists: elements so far */
    bool coded;      /* strings: values are codes into distinct, else slices */
    bool wide;       /* strings: were slices in the last pass that had them */
    struct gather_distinct distinct;
};

struct gather {
    const struct roller_index *index;
    struct slice stream; /* what FILL_STREAM puts */
    size_t rows_max;
    size_t image_lines; /* cache lines of an average image */
    uint64_t seed;
    size_t pass_bytes; /* of all columns of the pass */
    struct gather_column *columns;
};

/* For row groups of at most rows_max. The index and the stream's name must outlive it. */
void gather_init(struct gather *gather, const struct roller_index *index, const char *stream,
                 size_t rows_max);
void gather_free(struct gather *gather);

/* Gathers the columns from `column` on that a pass has room for; the result is the first
 * behind them. */
size_t gather_pass(struct gather *gather, const struct row_reference *rows, size_t count,
                   size_t column);

/* A column of the last pass; borrowed until the next. */
void gather_column_borrow(const struct gather *gather, size_t column, struct parquet_column *out);

#endif
