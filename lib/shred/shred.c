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
#include "lib/shred/coerce.h"
#include "lib/shred/instant.h"
#include "lib/shred/plan.h"
#include "lib/shred/text.h"
#include "lib/shred/walk.h"

enum {
    EVENT_BYTES_DEFAULT = 1 << 20,
    EVENT_BYTES_LIMIT = 256 << 20, /* a slot's offsets, an exponent's digits */
    EVENT_ROWS_MAX = 65536,
    EVENT_ROW_BYTES_MAX = 64 << 20, /* what a batch of the spool can hold */
};
_Static_assert((int)EVENT_ROWS_MAX == (int)WALK_INSTANCES_MAX, "each row is an instance");

/* A column as the row builder sees it. */
struct build_column {
    struct coercion_rule rule;
    bool text; /* plain strings are taken as they stand */
    bool required;
    bool has_default;
    struct cell fallback;
};

struct shredder {
    const struct mapping *mapping;
    struct shred_options options;
    struct plan plan;
    struct walk walk;
    struct row_layout layout;
    struct build_column *columns;
    uint32_t *by_level; /* columns in the order of their level */
    uint32_t level_from[PLAN_LEVELS + 1];
    struct coercer coercer;
    struct coercer defaults; /* its scratch holds the defaults' bytes */
    struct cell *cells;      /* of the row that is being built */
    struct slot *nothing;    /* the instance of a level that has none */
    uint8_t *text;           /* the event and its zeros */
    size_t text_cap;
    struct shred_statistics statistics;

    /* of the event at hand, until it is accepted */
    struct slice event;
    const struct shred_context *context;
    struct shred_batch *batch;
    struct row_writer writer;
    struct slot *instances[PLAN_LEVELS];
    uint32_t *lost; /* by column */
    uint32_t *lost_columns;
    size_t lost_column_count;
    uint64_t clamped;
    uint32_t row_count;
    int64_t time_min_us, time_max_us;
    size_t missing; /* the required column without a value, or SIZE_MAX */
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

/* A default is coerced as if it stood in the event as a string. */
static int prepare_default(struct shredder *shredder, size_t i, struct error *err)
{
    const struct mapping_column *from = &shredder->mapping->columns[i];
    struct build_column *column = &shredder->columns[i];
    uint32_t lost = 0;
    if (from->default_text == NULL)
        return OK;
    struct value value = {
        .kind = VALUE_STRING, .flags = STRING_HIGH, .bytes = slice_cstr(from->default_text)};
    if (column->rule.list && slice_is(value.bytes, "[]"))
        value = (struct value){.kind = VALUE_ARRAY, .bytes = slice_cstr("[]")};
    column->has_default =
        coerce(&shredder->defaults, &column->rule, &value, &column->fallback, &lost);
    if (lost > 0)
        return error_set(err, ERROR_INPUT, "%s: the default of %s is no value of its type",
                         shredder->mapping->schema.table,
                         shredder->mapping->schema.columns[i].name);
    return OK;
}

static int prepare_columns(struct shredder *shredder, struct error *err)
{
    const struct mapping *mapping = shredder->mapping;
    size_t n = mapping->schema.column_count;
    shredder->columns = memory_alloc(n, sizeof *shredder->columns);
    shredder->by_level = memory_alloc(n, sizeof *shredder->by_level);
    uint32_t at = 0;
    for (uint8_t level = 0; level < PLAN_LEVELS; level++) {
        shredder->level_from[level] = at;
        for (size_t i = 0; i < n; i++)
            if (shredder->plan.columns[i].level == level)
                shredder->by_level[at++] = (uint32_t)i;
    }
    shredder->level_from[PLAN_LEVELS] = at;
    for (size_t i = 0; i < n; i++) {
        const struct column *column = &mapping->schema.columns[i];
        const struct mapping_column *from = &mapping->columns[i];
        shredder->columns[i].rule = (struct coercion_rule){.type = column->type,
                                                           .list = column->list,
                                                           .coercion = from->coercion,
                                                           .unit = from->unit,
                                                           .domain = from->domain,
                                                           .domain_count = from->domain_count};
        shredder->columns[i].text =
            column->type == TYPE_STRING && !column->list && from->coercion == COERCE_TYPE;
        shredder->columns[i].required = column->required && column->fill == FILL_NONE;
        int rc = prepare_default(shredder, i, err);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static void prepare_memory(struct shredder *shredder)
{
    size_t n = shredder->mapping->schema.column_count;
    uint32_t width = 0;
    for (size_t i = 0; i < PLAN_LEVELS; i++)
        if (shredder->plan.slot_counts[i] > width)
            width = shredder->plan.slot_counts[i];
    shredder->nothing = memory_alloc(width, sizeof *shredder->nothing);
    shredder->cells = memory_alloc(n, sizeof *shredder->cells);
    shredder->lost = memory_alloc(n, sizeof *shredder->lost);
    shredder->lost_columns = memory_alloc(n, sizeof *shredder->lost_columns);
    shredder->statistics.coerced_to_null = memory_alloc(n, sizeof(uint64_t));
    buf_init(&shredder->coercer.scratch, EVENT_ROW_BYTES_MAX);
    walk_init(&shredder->walk, &shredder->plan);
    row_layout_init(&shredder->layout, &shredder->mapping->schema);
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
    prepare_memory(shredder);
    rc = prepare_columns(shredder, err);
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
    row_layout_free(&shredder->layout);
    buf_free(&shredder->coercer.scratch);
    buf_free(&shredder->defaults.scratch);
    free(shredder->columns);
    free(shredder->by_level);
    free(shredder->nothing);
    free(shredder->cells);
    free(shredder->lost);
    free(shredder->lost_columns);
    free(shredder->statistics.coerced_to_null);
    free(shredder->text);
    free(shredder);
}

const struct row_layout *shredder_layout_borrow(const struct shredder *shredder)
{
    return &shredder->layout;
}

const struct shred_statistics *shredder_statistics_borrow(const struct shredder *shredder)
{
    return &shredder->statistics;
}

static void count_lost(struct shredder *shredder, size_t column, uint32_t lost)
{
    if (lost == 0)
        return;
    if (shredder->lost[column] == 0)
        shredder->lost_columns[shredder->lost_column_count++] = (uint32_t)column;
    shredder->lost[column] += lost;
}

/* A value of the text. What it loses is counted once, however many rows look at it. */
static bool cell_from_path(struct shredder *shredder, size_t column, struct plan_slot at,
                           struct cell *out)
{
    struct slot *slot = &shredder->instances[at.level][at.index];
    uint32_t lost = 0;
    if (slot->kind == VALUE_NONE)
        return false;
    if (slot->kind == VALUE_STRING && slot->flags == 0 && shredder->columns[column].text) {
        out->kind = CELL_BYTES; /* as coerce would have it */
        out->bytes = slice_of(shredder->text + slot->at, slot->len);
        return true;
    }
    struct value value = {.kind = slot->kind,
                          .flags = slot->flags,
                          .bytes = slice_of(shredder->text + slot->at, slot->len)};
    bool good = coerce(&shredder->coercer, &shredder->columns[column].rule, &value, out, &lost);
    if (slot->counted == 0)
        count_lost(shredder, column, lost);
    slot->counted = 1;
    return good;
}

/* Text from beside the event: bytes that nobody has checked. NULL data: not there. */
static bool cell_from_text(struct shredder *shredder, size_t column, struct slice text,
                           enum value_kind kind, struct cell *out)
{
    uint32_t lost = 0;
    if (text.data == NULL)
        return false;
    struct value value = {
        .kind = kind, .flags = kind == VALUE_STRING ? STRING_HIGH : 0, .bytes = text};
    bool good = coerce(&shredder->coercer, &shredder->columns[column].rule, &value, out, &lost);
    count_lost(shredder, column, lost);
    return good;
}

/* A number from beside the event goes by the rules as if it stood in the text. It is
 * written into scratch for that, because a string column keeps its text. */
static bool cell_from_number(struct shredder *shredder, size_t column, int64_t number,
                             struct cell *out)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)number);
    ASSERT(n > 0 && n < (int)sizeof digits);
    struct slice text = slice_of(digits, (size_t)n);
    bool good = cell_from_text(shredder, column, text, VALUE_NUMBER, out);
    if (good && out->kind == CELL_BYTES && out->bytes.data == text.data) {
        out->kind = CELL_SCRATCH;
        out->offset = shredder->coercer.scratch.len;
        buf_put_slice(&shredder->coercer.scratch, text);
    }
    return good;
}

static bool cell_from_time(struct shredder *shredder, size_t column, int64_t us, struct cell *out)
{
    const struct coercion_rule *rule = &shredder->columns[column].rule;
    if (us == INT64_MIN)
        return false;
    if (rule->type != TYPE_TIMESTAMPTZ || rule->list)
        return cell_from_number(shredder, column, us, out);
    out->kind = CELL_NUMBER;
    out->number = us;
    if (instant_in_range(us))
        return true;
    count_lost(shredder, column, 1);
    return false;
}

static bool cell_from_lookup(struct shredder *shredder, size_t column,
                             const struct plan_source *source, struct cell *out)
{
    const struct shred_context *context = shredder->context;
    struct slice text = {0};
    if (context->lookup != NULL)
        context->lookup(context->lookup_context, source->kind, source->name, &text);
    return cell_from_text(shredder, column, text, VALUE_STRING, out);
}

static bool cell_from_beside(struct shredder *shredder, size_t column,
                             const struct plan_source *source, struct cell *out)
{
    const struct shred_context *context = shredder->context;
    switch (source->kind) {
    case SOURCE_RECEIVED_AT:
        return cell_from_time(shredder, column, context->received_at_us, out);
    case SOURCE_TIME:
        return cell_from_time(shredder, column, context->source_time_us, out);
    case SOURCE_PATH:
    case SOURCE_STREAM: /* the roller knows these */
    case SOURCE_POSITION:
        return false;
    case SOURCE_HOST:
        return cell_from_text(shredder, column, context->host, VALUE_STRING, out);
    case SOURCE_TOPIC:
        return cell_from_text(shredder, column, context->topic, VALUE_STRING, out);
    case SOURCE_PARTITION:
        return context->partition >= 0 &&
               cell_from_number(shredder, column, context->partition, out);
    case SOURCE_OFFSET:
        return context->offset >= 0 && cell_from_number(shredder, column, context->offset, out);
    case SOURCE_KEY:
        return cell_from_text(shredder, column, context->key, VALUE_STRING, out);
    case SOURCE_HEADER:
    case SOURCE_QUERY:
        return cell_from_lookup(shredder, column, source, out);
    case SOURCE_RAW:
        return cell_from_text(shredder, column, shredder->event, VALUE_STRING, out);
    }
    return false;
}

static void clamp_time(struct shredder *shredder, struct cell *cell)
{
    int64_t now = shredder->context->received_at_us;
    int64_t past = shredder->options.time_past_us;
    int64_t future = shredder->options.time_future_us;
    if ((past != 0 && cell->number < now - past) || (future != 0 && cell->number > now + future)) {
        cell->number = now;
        shredder->clamped++;
    }
}

static void fill_cell(struct shredder *shredder, size_t column)
{
    const struct plan_range sources = shredder->plan.columns[column].sources;
    const struct build_column *how = &shredder->columns[column];
    struct cell *cell = &shredder->cells[column];
    cell->kind = CELL_NULL;
    bool found = false;
    for (uint32_t i = 0; i < sources.count && !found; i++) {
        const struct plan_source *source = &shredder->plan.sources[sources.from + i];
        found = source->kind == SOURCE_PATH ? cell_from_path(shredder, column, source->slot, cell)
                                            : cell_from_beside(shredder, column, source, cell);
    }
    if (!found) {
        cell->kind = CELL_NULL;
        if (how->has_default) {
            *cell = how->fallback;
            cell->bytes = cell_bytes(&shredder->defaults, cell);
            cell->kind = cell->kind == CELL_SCRATCH ? CELL_BYTES : cell->kind;
        } else if (how->required && shredder->missing == SIZE_MAX) {
            shredder->missing = column;
        }
    }
    if (column == shredder->mapping->schema.time_column && cell->kind == CELL_NUMBER)
        clamp_time(shredder, cell);
}

static void fill_level(struct shredder *shredder, unsigned level, struct slot *instance)
{
    shredder->instances[level] = instance;
    for (uint32_t i = shredder->level_from[level]; i < shredder->level_from[level + 1]; i++)
        fill_cell(shredder, shredder->by_level[i]);
}

static void write_row(struct shredder *shredder)
{
    struct row_writer *writer = &shredder->writer;
    const struct row_layout *layout = &shredder->layout;
    row_begin(writer, shredder->batch->event_count);
    for (size_t i = 0; i < layout->column_count; i++) {
        const struct cell *cell = &shredder->cells[i];
        if (cell->kind == CELL_NULL)
            continue;
        if (layout->lists[i])
            row_set_list(writer, i, cell_bytes(&shredder->coercer, cell));
        else if (layout->types[i] == TYPE_STRING)
            row_set_string(writer, i, cell_bytes(&shredder->coercer, cell));
        else if (layout->types[i] == TYPE_DOUBLE)
            row_set_double(writer, i, cell->real);
        else if (layout->types[i] == TYPE_BOOLEAN || layout->types[i] == TYPE_INT)
            row_set_int(writer, i, (int32_t)cell->number);
        else
            row_set_long(writer, i, cell->number);
    }
    row_end(writer);
    shredder->row_count++;
    size_t time_column = shredder->mapping->schema.time_column;
    if (time_column == SIZE_MAX || shredder->cells[time_column].kind != CELL_NUMBER)
        return;
    int64_t time_us = shredder->cells[time_column].number;
    if (time_us < shredder->time_min_us)
        shredder->time_min_us = time_us;
    if (time_us > shredder->time_max_us)
        shredder->time_max_us = time_us;
}

/* False: no room for more, or a required column has no value. */
static bool may_go_on(const struct shredder *shredder, size_t start)
{
    return shredder->missing == SIZE_MAX && !buf_failed(&shredder->coercer.scratch) &&
           !buf_failed(shredder->writer.rows) &&
           shredder->writer.rows->len - start <= EVENT_ROW_BYTES_MAX;
}

/* The rows of one instance of level 1: its instances of level 2, or one with nulls. */
static bool build_inner(struct shredder *shredder, uint32_t from, uint32_t to, size_t start)
{
    const struct walk_level *inner = &shredder->walk.levels[2];
    size_t mark = shredder->coercer.scratch.len;
    for (uint32_t i = from; i < to || i == from; i++) {
        fill_level(shredder, 2,
                   i < to ? inner->slots + (size_t)i * inner->width : shredder->nothing);
        if (!may_go_on(shredder, start))
            return false;
        write_row(shredder);
        if (!may_go_on(shredder, start))
            return false;
        shredder->coercer.scratch.len = mark;
    }
    return true;
}

static bool build_rows(struct shredder *shredder, size_t start)
{
    const struct walk_level *outer = &shredder->walk.levels[1];
    uint32_t inner_count = shredder->walk.levels[2].count;
    fill_level(shredder, 0, shredder->walk.levels[0].slots);
    size_t mark = shredder->coercer.scratch.len;
    if (outer->count == 0) {
        fill_level(shredder, 1, shredder->nothing);
        return build_inner(shredder, 0, 0, start);
    }
    for (uint32_t i = 0; i < outer->count; i++) {
        fill_level(shredder, 1, outer->slots + (size_t)i * outer->width);
        uint32_t to = i + 1 < outer->count ? shredder->walk.inner_from[i + 1] : inner_count;
        if (!build_inner(shredder, shredder->walk.inner_from[i], to, start))
            return false;
        shredder->coercer.scratch.len = mark;
    }
    return true;
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
static void undo(struct shredder *shredder, size_t start)
{
    struct buf *rows = &shredder->batch->rows;
    rows->len = start;
    rows->failed = false;
    for (size_t i = 0; i < shredder->lost_column_count; i++)
        shredder->lost[shredder->lost_columns[i]] = 0;
}

static void accept(struct shredder *shredder)
{
    struct shred_batch *batch = shredder->batch;
    struct shred_statistics *statistics = &shredder->statistics;
    batch->event_count++;
    batch->row_count += shredder->row_count;
    if (shredder->time_min_us < batch->time_min_us)
        batch->time_min_us = shredder->time_min_us;
    if (shredder->time_max_us > batch->time_max_us)
        batch->time_max_us = shredder->time_max_us;
    statistics->event_count++;
    statistics->row_count += shredder->row_count;
    statistics->replaced_utf8 += shredder->coercer.replaced;
    statistics->clamped_time += shredder->clamped;
    statistics->duplicate_keys += shredder->walk.duplicate_keys;
    if (shredder->mapping->unmapped == UNMAPPED_COUNT)
        statistics->unmapped_fields += shredder->walk.unmapped_fields;
    for (size_t i = 0; i < shredder->lost_column_count; i++) {
        uint32_t column = shredder->lost_columns[i];
        statistics->coerced_to_null[column] += shredder->lost[column];
        shredder->lost[column] = 0;
    }
}

/* The event's text without the blanks around it, copied to where zeros can follow. */
static void take_text(struct shredder *shredder, struct slice text)
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
    shredder->event = slice_of(shredder->text, text.len);
}

static void begin_event(struct shredder *shredder, const struct shred_context *context,
                        struct shred_batch *batch)
{
    shredder->context = context;
    shredder->batch = batch;
    shredder->writer = (struct row_writer){.layout = &shredder->layout, .rows = &batch->rows};
    shredder->lost_column_count = 0;
    shredder->clamped = 0;
    shredder->row_count = 0;
    shredder->time_min_us = INT64_MAX;
    shredder->time_max_us = INT64_MIN;
    shredder->missing = SIZE_MAX;
    shredder->coercer.replaced = 0;
    if (batch->event_count == 0) {
        batch->time_min_us = INT64_MAX;
        batch->time_max_us = INT64_MIN;
    }
    buf_reset(&shredder->coercer.scratch);
}

/* The reason stands in *refusal when this is false. */
static bool shred(struct shredder *shredder, struct slice json, size_t skipped,
                  struct refusal *refusal)
{
    struct walk *walk = &shredder->walk;
    size_t start = shredder->batch->rows.len;
    if (!walk_event(walk, shredder->text, shredder->event.len)) {
        size_t offset = (size_t)(walk->scan.fault.at - shredder->text);
        refuse(refusal, walk->scan.fault.reason, json, skipped + offset, walk->scan.fault.text);
        return false;
    }
    if (rows_to_come(walk) > EVENT_ROWS_MAX) {
        refuse(refusal, REFUSED_ROWS, json, skipped, "explodes into more than 65536 rows");
        return false;
    }
    if (build_rows(shredder, start))
        return true;
    if (shredder->missing != SIZE_MAX) {
        char text[sizeof refusal->text];
        snprintf(text, sizeof text, "the required column %s gets no value",
                 shredder->mapping->schema.columns[shredder->missing].name);
        refuse(refusal, REFUSED_REQUIRED, json, skipped, text);
    } else {
        refuse(refusal, REFUSED_ROWS, json, skipped, "its rows are too large");
    }
    undo(shredder, start);
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
    begin_event(shredder, context, batch);
    bool good = false;
    if (to - from > shredder->options.bytes_max) {
        refuse(refusal, REFUSED_SIZE, json, from, "the event is larger than the limit");
    } else {
        take_text(shredder, slice_of(json.data + from, to - from));
        good = shred(shredder, json, from, refusal);
    }
    if (good)
        accept(shredder);
    else
        shredder->statistics.refused[refusal->reason]++;
    return good;
}
