/* SPDX-License-Identifier: Apache-2.0
 *
 * An event goes through three steps: its text is copied to where zeros can stand
 * behind it (scan.h), the walk validates it and notes where the values lie, and rows
 * are built from the notes. A column is coerced once for each instance of its level:
 * once an event, once an element of the outer list, once a row.
 *
 * What an event does to batch and statistics is held back until all its rows are
 * there, so that a refused one leaves nothing behind.
 */
#include "lib/shred/shred.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/shred/build.h"
#include "lib/shred/plan.h"
#include "lib/shred/scan.h"
#include "lib/shred/walk.h"

enum {
    EVENT_BYTES_DEFAULT = 1 << 20,
    EVENT_BYTES_LIMIT = 256 << 20, /* a slot's offsets, an exponent's digits */
    EVENT_ROWS_MAX = 65536,
};
_Static_assert((int)EVENT_ROWS_MAX == (int)WALK_INSTANCES_MAX, "each row is an instance");
_Static_assert((uint32_t)EVENT_BYTES_LIMIT < QUOTE_POSITION, "a position leaves room for flags");

struct shredder {
    const struct mapping *mapping;
    struct shred_options options;
    struct plan plan;
    struct walk walk;
    struct builder builder;
    uint8_t *text; /* the event and its zeros */
    size_t text_cap;
    struct shred_statistics statistics;
};

void shred_batch_reset(struct shred_batch *batch)
{
    buf_reset(&batch->rows);
    batch->event_count = 0;
    batch->row_count = 0;
    batch->time_min_us = INT64_MAX;
    batch->time_max_us = INT64_MIN;
}

void shred_batch_free(struct shred_batch *batch)
{
    buf_free(&batch->rows);
    *batch = (struct shred_batch){.rows.max = batch->rows.max};
    shred_batch_reset(batch);
}

const char *refusal_reason_name(enum refusal_reason reason)
{
    static const char *const names[REFUSED_REASON_COUNT] = {
        [REFUSED_SYNTAX] = "syntax",     [REFUSED_NO_OBJECT] = "no_object",
        [REFUSED_TRAILING] = "trailing", [REFUSED_DEPTH] = "depth",
        [REFUSED_SIZE] = "size",         [REFUSED_BOM] = "bom",
        [REFUSED_REQUIRED] = "required", [REFUSED_ROWS] = "rows",
    };
    ASSERT(reason < REFUSED_REASON_COUNT);
    return names[reason];
}

int shredder_open(struct shredder **out, const struct mapping *mapping,
                  const struct shred_options *options, struct error *err)
{
    int rc;
    *out = NULL;
    if (options->bytes_max > EVENT_BYTES_LIMIT)
        return error_set(err, ERROR_INPUT, "an event may have at most %d bytes", EVENT_BYTES_LIMIT);
    struct shredder *shredder = memory_alloc(1, sizeof *shredder);
    shredder->mapping = mapping;
    shredder->options = *options;
    if (options->bytes_max == 0)
        shredder->options.bytes_max = EVENT_BYTES_DEFAULT;
    rc = plan_make(&shredder->plan, mapping, err);
    if (rc != OK)
        goto out;
    walk_init(&shredder->walk, &shredder->plan, options->variant);
    shredder->statistics.coerced_to_null =
        memory_alloc(mapping->schema.column_count, sizeof(uint64_t));
    rc = builder_init(&shredder->builder, mapping, &shredder->plan, &shredder->options,
                      &shredder->walk, err);
out:
    if (rc != OK) {
        shredder_close(shredder);
        return rc;
    }
    *out = shredder;
    return OK;
}

void shredder_close(struct shredder *shredder)
{
    if (shredder == NULL)
        return;
    walk_free(&shredder->walk);
    plan_free(&shredder->plan);
    builder_free(&shredder->builder);
    free(shredder->statistics.coerced_to_null);
    free(shredder->text);
    free(shredder);
}

const struct row_layout *shredder_layout_borrow(const struct shredder *shredder)
{
    return &shredder->builder.layout;
}

const struct shred_statistics *shredder_statistics_borrow(const struct shredder *shredder)
{
    return &shredder->statistics;
}

/* How many rows the event makes: an outer instance without inner ones makes one. */
static uint64_t rows_to_come(const struct walk *walk)
{
    uint32_t outer = walk->levels[1].count;
    uint32_t inner = walk->levels[2].count;
    if (outer > WALK_INSTANCES_MAX || inner > WALK_INSTANCES_MAX)
        return UINT64_MAX;
    uint64_t rows = outer == 0 ? 1 : 0;
    for (uint32_t i = 0; i < outer; i++) {
        uint32_t to = i + 1 < outer ? walk->inner_from[i + 1] : inner;
        rows += to > walk->inner_from[i] ? to - walk->inner_from[i] : 1;
    }
    return rows;
}

static void refuse(struct refusal *refusal, enum refusal_reason reason, struct slice json,
                   size_t offset, const char *text)
{
    *refusal = (struct refusal){.reason = reason, .line = 1, .column = 1};
    for (size_t i = 0; i < offset && i < json.len; i++) {
        refusal->column++;
        if (json.data[i] == '\n') {
            refusal->line++;
            refusal->column = 1;
        }
    }
    snprintf(refusal->text, sizeof refusal->text, "%s", text);
}

/* Takes back what the event at hand did to the batch. */
static void undo(struct builder *builder, struct buf *rows, size_t start)
{
    rows->len = start;
    rows->failed = false;
    for (size_t i = 0; i < builder->lost_column_count; i++)
        builder->lost[builder->lost_columns[i]] = 0;
}

static void accept(struct shredder *shredder, struct shred_batch *batch)
{
    struct builder *builder = &shredder->builder;
    struct shred_statistics *statistics = &shredder->statistics;
    if (batch->event_count++ == 0) {
        batch->time_min_us = INT64_MAX;
        batch->time_max_us = INT64_MIN;
    }
    batch->row_count += builder->row_count;
    if (builder->time_min_us < batch->time_min_us)
        batch->time_min_us = builder->time_min_us;
    if (builder->time_max_us > batch->time_max_us)
        batch->time_max_us = builder->time_max_us;
    statistics->event_count++;
    statistics->row_count += builder->row_count;
    statistics->replaced_utf8 += builder->coercer.replaced;
    statistics->clamped_time += builder->clamped;
    statistics->duplicate_keys += shredder->walk.duplicate_keys;
    if (shredder->mapping->unmapped == UNMAPPED_COUNT)
        statistics->unmapped_fields += shredder->walk.unmapped_fields;
    for (size_t i = 0; i < builder->lost_column_count; i++) {
        uint32_t column = builder->lost_columns[i];
        statistics->coerced_to_null[column] += builder->lost[column];
        builder->lost[column] = 0;
    }
}

/* The event's text without the blanks around it, copied to where zeros can follow. */
static struct slice take_text(struct shredder *shredder, struct slice text)
{
    size_t need = text.len + SCAN_PADDING;
    if (need > shredder->text_cap) {
        free(shredder->text);
        shredder->text = memory_alloc_raw(need, 1);
        shredder->text_cap = need;
    }
    if (text.len > 0)
        memcpy(shredder->text, text.data, text.len);
    memset(shredder->text + text.len, 0, SCAN_PADDING);
    return slice_of(shredder->text, text.len);
}

/* The reason stands in *refusal when this is false. */
static bool shred(struct shredder *shredder, struct slice event, struct slice json, size_t skipped,
                  const struct shred_context *context, struct shred_batch *batch,
                  struct refusal *refusal)
{
    struct walk *walk = &shredder->walk;
    struct builder *builder = &shredder->builder;
    size_t start = batch->rows.len;
    if (!walk_event(walk, event.data, event.len)) {
        size_t offset = (size_t)(walk->scan.fault.at - event.data);
        refuse(refusal, walk->scan.fault.reason, json, skipped + offset, walk->scan.fault.text);
        return false;
    }
    if (rows_to_come(walk) > EVENT_ROWS_MAX) {
        refuse(refusal, REFUSED_ROWS, json, skipped, "explodes into more than 65536 rows");
        return false;
    }
    if (builder_rows(builder, event, context, batch->event_count, &batch->rows))
        return true;
    if (builder->missing != SIZE_MAX) {
        char text[sizeof refusal->text];
        snprintf(text, sizeof text, "the required column %s gets no value",
                 shredder->mapping->schema.columns[builder->missing].name);
        refuse(refusal, REFUSED_REQUIRED, json, skipped, text);
    } else {
        refuse(refusal, REFUSED_ROWS, json, skipped, "its rows are too large");
    }
    undo(builder, &batch->rows, start);
    return false;
}

bool shredder_event(struct shredder *shredder, struct slice json,
                    const struct shred_context *context, struct shred_batch *batch,
                    struct refusal *refusal)
{
    ASSERT(!buf_failed(&batch->rows));
    size_t from = 0;
    size_t to = json.len;
    while (from < to && scan_is_blank(json.data[from]))
        from++;
    while (to > from && scan_is_blank(json.data[to - 1]))
        to--;
    bool good = false;
    if (to - from > shredder->options.bytes_max) {
        refuse(refusal, REFUSED_SIZE, json, from, "the event is larger than the limit");
    } else {
        struct slice event = take_text(shredder, slice_of(json.data + from, to - from));
        good = shred(shredder, event, json, from, context, batch, refusal);
    }
    if (good)
        accept(shredder, batch);
    else
        shredder->statistics.refused[refusal->reason]++;
    return good;
}
