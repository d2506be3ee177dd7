/* SPDX-License-Identifier: Apache-2.0
 *
 * build.h: from the values that a walk has noted to row images.
 *
 * Columns are written level by level, straight into the image: what belongs to the event
 * is written once, and a further row of the event begins as a copy of that. What most
 * values are, plain strings and short numbers, is taken at once; all else goes by the
 * coercions (coerce.h).
 */
#ifndef LIB_SHRED_BUILD_H
#define LIB_SHRED_BUILD_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/row/row.h"
#include "lib/schema/mapping.h"
#include "lib/shred/coerce.h"
#include "lib/shred/plan.h"
#include "lib/shred/shred.h"
#include "lib/shred/walk.h"

enum {
    BUILD_ROW_BYTES_MAX = 64 << 20, /* of one event: what a batch of the spool can hold */
    BUILD_COUNTRIES = 64,
};

/* Values that need no coercion: the rest of a column's values do. */
enum build_quick { QUICK_NONE, QUICK_TEXT, QUICK_COUNTRY, QUICK_INTEGER, QUICK_DOUBLE };

/* A column as the builder sees it. */
struct build_column {
    uint32_t column;
    struct row_field field;
    struct plan_range sources;
    enum build_quick quick;
    int64_t scale; /* of a QUICK_INTEGER: the value in the unit of the text */
    int64_t low;   /* the scaled value's bounds, both included */
    int64_t high;
    bool wide; /* the slot has 8 bytes */
    bool required;
    bool is_time;
    bool has_default;
    struct cell fallback;
    struct coercion_rule rule;
};

struct builder {
    const struct mapping *mapping;
    const struct plan *plan;
    const struct shred_options *options;
    struct walk *walk;
    struct row_layout layout;
    struct build_column *columns; /* in the order of their level */
    uint32_t *probes; /* by that order: the slot of the level that must have a value, if any */
    uint32_t level_from[PLAN_LEVELS + 1];
    struct coercer coercer;
    struct coercer defaults;         /* its scratch holds the defaults' bytes */
    uint8_t *fixed[PLAN_LEVELS - 1]; /* of images begun with the columns down to a level */
    struct slot *nothing;            /* the instance of a level that has none */
    struct {
        uint32_t code;    /* its letters and their count */
        const char *name; /* NULL: no country */
    } countries[BUILD_COUNTRIES];

    /* of the event at hand */
    struct slice event; /* with SCAN_PADDING zeros behind it */
    const struct shred_context *context;
    struct row_writer writer;
    size_t start; /* of the event's rows in the buffer */
    struct slot *instances[PLAN_LEVELS];
    uint32_t *lost; /* by column */
    uint32_t *lost_columns;
    size_t lost_column_count;
    uint64_t clamped;
    uint32_t row_count;
    int64_t time_us; /* of the row; INT64_MIN: none */
    int64_t time_min_us, time_max_us;
    size_t missing; /* the required column without a value, or SIZE_MAX */
};

/* All of these must outlive it. */
int builder_init(struct builder *out, const struct mapping *mapping, const struct plan *plan,
                 const struct shred_options *options, struct walk *walk,
                 struct error *err) MUST_USE;
void builder_free(struct builder *builder);

/* The rows of the event that was walked, as event number `event`, behind what `rows` holds.
 * False: a required column has no value (missing), or there is no room. */
bool builder_rows(struct builder *builder, struct slice event, const struct shred_context *context,
                  uint32_t number, struct buf *rows) MUST_USE;

#endif
