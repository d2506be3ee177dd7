/* SPDX-License-Identifier: Apache-2.0
 *
 * coerce.h: the rules by which a value in an event becomes a column's value, or null.
 *
 * A cell's bytes lie in the event's text, in constant storage, or in the scratch
 * buffer of the coercion; scratch moves when it grows, so there a cell has an offset.
 */
#ifndef LIB_SHRED_COERCE_H
#define LIB_SHRED_COERCE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/slice.h"
#include "lib/schema/mapping.h"
#include "lib/shred/walk.h"

/* A value to be coerced. */
struct value {
    enum value_kind kind;
    unsigned flags;        /* of a string: STRING_ESCAPED, STRING_HIGH */
    struct slice bytes;    /* of a string without its quotes */
    const uint32_t *quote; /* of an array: place.quote at its begin */
};

enum cell_kind { CELL_NULL, CELL_NUMBER, CELL_DOUBLE, CELL_BYTES, CELL_SCRATCH };

struct cell {
    enum cell_kind kind;
    int64_t number; /* boolean, int, long, timestamptz */
    double real;
    struct slice bytes; /* a string, or an encoded list (row.h) */
    size_t offset;      /* CELL_SCRATCH: in scratch; its length is bytes.len */
};

struct coercion_rule {
    enum type type;
    bool list;
    enum coercion coercion;
    enum time_unit unit;
    char *const *domain;
    size_t domain_count;
};

struct coercer {
    struct buf scratch;
    struct scan scan;  /* walks over lists that are known to be valid */
    uint64_t replaced; /* U+FFFD written */
};

/* False: the value is null by the rules. *lost counts values, and elements of lists,
 * that were there and became null. */
bool coerce(struct coercer *coercer, const struct coercion_rule *rule, const struct value *value,
            struct cell *out, uint32_t *lost);

static inline struct slice cell_bytes(const struct coercer *coercer, const struct cell *cell)
{
    return cell->kind == CELL_SCRATCH
               ? slice_of(coercer->scratch.data + cell->offset, cell->bytes.len)
               : cell->bytes;
}

#endif
