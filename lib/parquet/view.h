/* SPDX-License-Identifier: Apache-2.0
 *
 * view.h: the rows of one page: which of the column's entries are in it, their
 * levels, their PLAIN bytes and their range. Private to lib/parquet.
 */
#ifndef LIB_PARQUET_VIEW_H
#define LIB_PARQUET_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/parquet/bounds.h"
#include "lib/parquet/parquet.h"

/* Strings: what memory takes for one is a dozen copied. */
enum { VIEW_FETCH_AHEAD = 16 };

struct view {
    const struct parquet_field *field;
    const struct parquet_column *column;
    size_t row_begin;
    size_t row_end;
    size_t entry_count;        /* levels: values, nulls, empty lists */
    size_t value_count;        /* not null */
    size_t first;              /* of the values, where they are contiguous */
    const uint32_t *positions; /* of the values; NULL: contiguous from `first` */
    /* Memory of the two above and the levels, reused from page to page. */
    uint32_t *position_room;
    uint32_t *definition_levels;
    uint32_t *repetition_levels; /* lists only */
    size_t room;
};

void view_free(struct view *view);

/* Where a page that begins at `row` ends, so that it holds at most `bytes_max`
 * bytes (or a single row) and no row from `row_limit` on. An index takes four bytes
 * at most; `indexed`: count them instead of the values. *cost is the page's bytes,
 * never less than they will be. */
size_t view_find_end(const struct parquet_field *field, const struct parquet_column *column,
                     size_t row, size_t row_limit, size_t bytes_max, bool indexed, size_t *cost);

void view_set(struct view *view, const struct parquet_field *field,
              const struct parquet_column *column, size_t row_begin, size_t row_end);

void view_put_levels(const struct view *view, struct buf *out);
struct bloom;

/* Adds the values to the range (but NaN) and to the filter as well; NULL:
 * not wanted. Strings lie all over memory, so each is looked at just once. */
void view_put_plain(const struct view *view, struct buf *out, struct range *range,
                    struct bloom *bloom);
/* The length of what view_put_plain puts. */
size_t view_plain_len(const struct view *view);

/* Adds the values to the range, but NaN. */
void view_add_range(const struct view *view, struct range *range);
int64_t view_count_nan(const struct view *view);

static inline size_t view_at(const struct view *view, size_t k)
{
    return view->positions != NULL ? view->positions[k] : view->first + k;
}

static inline struct slice view_string(const struct parquet_column *column, size_t at)
{
    return column->strings != NULL ? column->strings[at] : column->distinct[column->codes[at]];
}

/* Bytes of a PLAIN number; 0: strings, booleans. */
static inline unsigned view_number_width(enum parquet_type type)
{
    switch (type) {
    case PARQUET_INT32:
        return 4;
    case PARQUET_INT64:
    case PARQUET_DOUBLE:
    case PARQUET_TIMESTAMP_MICROS_UTC:
        return 8;
    case PARQUET_BOOLEAN:
    case PARQUET_STRING:
        break;
    }
    return 0;
}

#endif
