/* SPDX-License-Identifier: Apache-2.0
 *
 * A column is coerced once for each instance of its level: once an event, once an element
 * of the outer list, once a row. Its bytes lie in the image behind those of the levels
 * above, so that a row which shares these begins with a copy of them.
 */
#include "lib/shred/build.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/instant.h"
#include "lib/base/memory.h"
#include "lib/shred/decimal.h"
#include "lib/shred/scan.h"

/* A default is coerced as if it stood in the event as a string. */
static int prepare_default(struct builder *builder, struct build_column *column, struct error *err)
{
    const struct mapping_column *from = &builder->mapping->columns[column->column];
    uint32_t lost = 0;
    if (from->default_text == NULL)
        return OK;
    struct value value = {
        .kind = VALUE_STRING, .flags = STRING_HIGH, .bytes = slice_cstr(from->default_text)};
    if (column->rule.list && slice_is(value.bytes, "[]"))
        value = (struct value){.kind = VALUE_ARRAY, .bytes = slice_cstr("[]")};
    column->has_default =
        coerce(&builder->defaults, &column->rule, &value, &column->fallback, &lost);
    if (lost > 0)
        return error_set(err, ERROR_INPUT, "%s: the default of %s is no value of its type",
                         builder->mapping->schema.table,
                         builder->mapping->schema.columns[column->column].name);
    return OK;
}

static void prepare_quick(struct build_column *column)
{
    static const int64_t scales[] = {[UNIT_MS] = 1000, [UNIT_S] = 1000000, [UNIT_US] = 1};
    column->scale = 1;
    column->low = INT64_MIN;
    column->high = INT64_MAX;
    column->wide = column->rule.type != TYPE_INT && column->rule.type != TYPE_BOOLEAN;
    column->quick = QUICK_NONE;
    if (column->rule.list)
        return;
    switch (column->rule.type) {
    case TYPE_STRING:
        column->quick = column->rule.coercion == COERCE_TYPE      ? QUICK_TEXT
                        : column->rule.coercion == COERCE_COUNTRY ? QUICK_COUNTRY
                                                                  : QUICK_NONE;
        break;
    case TYPE_DOUBLE:
        column->quick = QUICK_DOUBLE;
        break;
    case TYPE_INT:
        column->quick = QUICK_INTEGER;
        column->low = INT32_MIN;
        column->high = INT32_MAX;
        break;
    case TYPE_TIMESTAMPTZ:
        column->quick = QUICK_INTEGER;
        column->scale = scales[column->rule.unit];
        column->low = 0;
        column->high = INSTANT_END_US - 1;
        break;
    case TYPE_BOOLEAN: /* 0 and 1; other numbers are coerced */
        column->quick = QUICK_INTEGER;
        column->low = 0;
        column->high = 1;
        break;
    case TYPE_LONG:
        column->quick = QUICK_INTEGER;
        break;
    }
}

static int prepare_column(struct builder *builder, size_t i, struct build_column *out,
                          struct error *err)
{
    const struct table_schema *schema = &builder->mapping->schema;
    const struct column *column = &schema->columns[i];
    const struct mapping_column *from = &builder->mapping->columns[i];
    *out = (struct build_column){.column = (uint32_t)i,
                                 .field = row_field(&builder->layout, i),
                                 .sources = builder->plan->columns[i].sources,
                                 .required = column->required && column->fill == FILL_NONE,
                                 .is_time = i == schema->time_column,
                                 .rule = {.type = column->type,
                                          .list = column->list,
                                          .coercion = from->coercion,
                                          .unit = from->unit,
                                          .domain = from->domain,
                                          .domain_count = from->domain_count}};
    prepare_quick(out);
    return prepare_default(builder, out, err);
}

#define PROBE_NONE UINT32_MAX

/* A column with one path and nothing else is null when its slot is empty. Tables have
 * hundreds of columns of which an event has few: so that is seen from a few bytes. */
static uint32_t probe_of(const struct builder *builder, const struct build_column *column,
                         uint8_t level)
{
    const struct plan_source *source = &builder->plan->sources[column->sources.from];
    if (column->sources.count != 1 || source->kind != SOURCE_PATH || source->slot.level != level ||
        column->has_default || column->required || column->is_time)
        return PROBE_NONE;
    return source->slot.index;
}

int builder_init(struct builder *out, const struct mapping *mapping, const struct plan *plan,
                 const struct shred_options *options, struct walk *walk, struct error *err)
{
    size_t n = mapping->schema.column_count;
    uint32_t width = 0;
    uint32_t at = 0;
    *out = (struct builder){.mapping = mapping, .plan = plan, .options = options, .walk = walk};
    for (size_t i = 0; i < PLAN_LEVELS; i++)
        if (plan->slot_counts[i] > width)
            width = plan->slot_counts[i];
    out->nothing = memory_alloc(width, sizeof *out->nothing);
    out->lost = memory_alloc(n, sizeof *out->lost);
    out->lost_columns = memory_alloc(n, sizeof *out->lost_columns);
    out->columns = memory_alloc(n, sizeof *out->columns);
    out->probes = memory_alloc(n, sizeof *out->probes);
    buf_init(&out->coercer.scratch, BUILD_ROW_BYTES_MAX);
    row_layout_init(&out->layout, &mapping->schema);
    for (size_t i = 0; i < PLAN_LEVELS - 1; i++)
        out->fixed[i] = memory_alloc(out->layout.fixed_size, 1);
    for (uint8_t level = 0; level < PLAN_LEVELS; level++) {
        out->level_from[level] = at;
        for (size_t i = 0; i < n; i++) {
            if (plan->columns[i].level != level)
                continue;
            int rc = prepare_column(out, i, &out->columns[at], err);
            if (rc != OK)
                return rc;
            out->probes[at] = probe_of(out, &out->columns[at], level);
            at++;
        }
    }
    out->level_from[PLAN_LEVELS] = at;
    return OK;
}

void builder_free(struct builder *builder)
{
    row_layout_free(&builder->layout);
    buf_free(&builder->coercer.scratch);
    buf_free(&builder->defaults.scratch);
    for (size_t i = 0; i < PLAN_LEVELS - 1; i++)
        free(builder->fixed[i]);
    free(builder->columns);
    free(builder->probes);
    free(builder->nothing);
    free(builder->lost);
    free(builder->lost_columns);
    *builder = (struct builder){0};
}

static void count_lost(struct builder *builder, size_t column, uint32_t lost)
{
    if (lost == 0)
        return;
    if (builder->lost[column] == 0)
        builder->lost_columns[builder->lost_column_count++] = (uint32_t)column;
    builder->lost[column] += lost;
}

/* A value of the text. What it loses is counted once, however many rows look at it. */
static bool cell_from_slot(struct builder *builder, const struct build_column *column,
                           struct slot *slot, struct cell *out)
{
    uint32_t lost = 0;
    struct value value = {.kind = slot->kind,
                          .flags = slot->flags,
                          .bytes = slice_of(builder->event.data + slot->at, slot->len),
                          .quote = walk_quote(builder->walk, slot)};
    bool good = coerce(&builder->coercer, &column->rule, &value, out, &lost);
    if (slot->counted == 0)
        count_lost(builder, column->column, lost);
    slot->counted = 1;
    return good;
}

/* Text from beside the event: bytes that nobody has checked. NULL data: not there. */
static bool cell_from_text(struct builder *builder, const struct build_column *column,
                           struct slice text, enum value_kind kind, struct cell *out)
{
    uint32_t lost = 0;
    if (text.data == NULL)
        return false;
    struct value value = {
        .kind = kind, .flags = kind == VALUE_STRING ? STRING_HIGH : 0, .bytes = text};
    bool good = coerce(&builder->coercer, &column->rule, &value, out, &lost);
    count_lost(builder, column->column, lost);
    return good;
}

/* A number from beside the event goes by the rules as if it stood in the text. It is
 * written into scratch for that, because a string column keeps its text. */
static bool cell_from_number(struct builder *builder, const struct build_column *column,
                             int64_t number, struct cell *out)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)number);
    ASSERT(n > 0 && n < (int)sizeof digits);
    struct slice text = slice_of(digits, (size_t)n);
    bool good = cell_from_text(builder, column, text, VALUE_NUMBER, out);
    if (good && out->kind == CELL_BYTES && out->bytes.data == text.data) {
        out->kind = CELL_SCRATCH;
        out->offset = builder->coercer.scratch.len;
        buf_put_slice(&builder->coercer.scratch, text);
    }
    return good;
}

static bool cell_from_time(struct builder *builder, const struct build_column *column, int64_t us,
                           struct cell *out)
{
    if (us == INT64_MIN)
        return false;
    if (column->rule.type != TYPE_TIMESTAMPTZ || column->rule.list)
        return cell_from_number(builder, column, us, out);
    out->kind = CELL_NUMBER;
    out->number = us;
    if (instant_in_range(us))
        return true;
    count_lost(builder, column->column, 1);
    return false;
}

static bool cell_from_lookup(struct builder *builder, const struct build_column *column,
                             const struct plan_source *source, struct cell *out)
{
    const struct shred_context *context = builder->context;
    struct slice text = {0};
    if (context->lookup != NULL)
        context->lookup(context->lookup_context, source->kind, source->name, &text);
    return cell_from_text(builder, column, text, VALUE_STRING, out);
}

static bool cell_from_beside(struct builder *builder, const struct build_column *column,
                             const struct plan_source *source, struct cell *out)
{
    const struct shred_context *context = builder->context;
    switch (source->kind) {
    case SOURCE_RECEIVED_AT:
        return cell_from_time(builder, column, context->received_at_us, out);
    case SOURCE_TIME:
        return cell_from_time(builder, column, context->source_time_us, out);
    case SOURCE_PATH:
    case SOURCE_STREAM: /* the roller knows these */
    case SOURCE_POSITION:
        return false;
    case SOURCE_HOST:
        return cell_from_text(builder, column, context->host, VALUE_STRING, out);
    case SOURCE_TOPIC:
        return cell_from_text(builder, column, context->topic, VALUE_STRING, out);
    case SOURCE_PARTITION:
        return context->partition >= 0 &&
               cell_from_number(builder, column, context->partition, out);
    case SOURCE_OFFSET:
        return context->offset >= 0 && cell_from_number(builder, column, context->offset, out);
    case SOURCE_KEY:
        return cell_from_text(builder, column, context->key, VALUE_STRING, out);
    case SOURCE_HEADER:
    case SOURCE_QUERY:
        return cell_from_lookup(builder, column, source, out);
    case SOURCE_RAW:
        return cell_from_text(builder, column, builder->event, VALUE_STRING, out);
    }
    return false;
}

static int64_t clamp_time(struct builder *builder, int64_t time_us)
{
    int64_t now = builder->context->received_at_us;
    int64_t past = builder->options->time_past_us;
    int64_t future = builder->options->time_future_us;
    if ((past == 0 || time_us >= now - past) && (future == 0 || time_us <= now + future))
        return time_us;
    builder->clamped++;
    return now;
}

static inline void put_number(struct builder *builder, const struct build_column *column,
                              int64_t number)
{
    if (column->is_time) {
        number = clamp_time(builder, number);
        builder->time_us = number;
    }
    uint8_t *slot =
        row_field_open(builder->writer.rows->data + builder->writer.start, column->field);
    if (column->wide)
        put_u64le(slot, (uint64_t)number);
    else
        put_u32le(slot, (uint32_t)number);
}

static inline void put_double(struct builder *builder, const struct build_column *column,
                              double real)
{
    uint64_t bits;
    memcpy(&bits, &real, sizeof bits);
    put_u64le(row_field_open(builder->writer.rows->data + builder->writer.start, column->field),
              bits);
}

/* At least COPY_WIDE bytes can be read at `from` and written at `to`. Most strings are
 * short, and no two of the same length: so three moves without a question. */
enum { COPY_WIDE = 48 };
_Static_assert((int)COPY_WIDE <= (int)SCAN_PADDING, "behind a string of the text");

static inline void copy_wide(uint8_t *to, const uint8_t *from, size_t len)
{
    if (len > COPY_WIDE) {
        memcpy(to, from, len);
    } else {
        memcpy(to, from, 16);
        memcpy(to + 16, from + 16, 16);
        memcpy(to + 32, from + 32, 16);
    }
}

/* `padded`: COPY_WIDE bytes can be read from bytes.data on. */
static inline void put_bytes(struct builder *builder, const struct build_column *column,
                             struct slice bytes, bool padded)
{
    struct buf *rows = builder->writer.rows;
    size_t offset = rows->len - builder->writer.start;
    size_t room = rows->cap - rows->len;
    if (offset > UINT32_MAX - 4 || bytes.len > UINT32_MAX - 4 - offset)
        rows->failed = true;
    if (room < bytes.len + COPY_WIDE && !buf_reserve(rows, bytes.len))
        return;
    uint8_t *to = rows->data + rows->len;
    if (padded && room >= bytes.len + COPY_WIDE)
        copy_wide(to, bytes.data, bytes.len);
    else if (bytes.len > 0)
        memcpy(to, bytes.data, bytes.len);
    rows->len += bytes.len;
    uint8_t *slot = row_field_open(rows->data + builder->writer.start, column->field);
    put_u64le(slot, (uint64_t)offset | (uint64_t)bytes.len << 32);
}

/* Events come from few countries: each is looked up once, and found here again. */
static const char *country_of(struct builder *builder, struct slice code)
{
    if (code.len != 2 && code.len != 3)
        return NULL;
    uint32_t key = (uint32_t)code.len << 24 | code.data[0] | (uint32_t)code.data[1] << 8;
    key |= code.len == 3 ? (uint32_t)code.data[2] << 16 : 0;
    size_t at = (key * 0x9e3779b1u) >> 26;
    _Static_assert(BUILD_COUNTRIES == 1 << (32 - 26), "places by the hash's top bits");
    if (builder->countries[at].code != key) {
        builder->countries[at].code = key;
        builder->countries[at].name = country_alpha3(code);
    }
    return builder->countries[at].name;
}

/* False: nothing was done, the value goes by the coercions. */
static inline bool put_quick(struct builder *builder, const struct build_column *column,
                             const struct slot *slot)
{
    const uint8_t *text = builder->event.data + slot->at;
    int64_t number;
    double real;
    const char *country;
    switch (column->quick) {
    case QUICK_TEXT:
        if (slot->kind != VALUE_STRING || slot->flags != 0)
            return false;
        put_bytes(builder, column, slice_of(text, slot->len), true);
        return true;
    case QUICK_INTEGER:
        if (slot->kind != VALUE_NUMBER || !decimal_quick_i64(text, slot->len, &number) ||
            __builtin_mul_overflow(number, column->scale, &number) || number < column->low ||
            number > column->high)
            return false;
        put_number(builder, column, number);
        return true;
    case QUICK_DOUBLE:
        if (slot->kind != VALUE_NUMBER || !decimal_quick_double(text, slot->len, &real))
            return false;
        put_double(builder, column, real);
        return true;
    case QUICK_COUNTRY:
        if (slot->kind != VALUE_STRING || slot->flags != 0)
            return false;
        country = country_of(builder, slice_of(text, slot->len));
        if (country != NULL)
            put_bytes(builder, column, slice_of(country, 3), false);
        return country != NULL;
    case QUICK_NONE:
        break;
    }
    return false;
}

static void put_cell(struct builder *builder, const struct build_column *column,
                     const struct coercer *owner, const struct cell *cell)
{
    if (cell->kind == CELL_NUMBER)
        put_number(builder, column, cell->number);
    else if (cell->kind == CELL_DOUBLE)
        put_double(builder, column, cell->real);
    else
        put_bytes(builder, column, cell_bytes(owner, cell), false);
}

static void put_fallback(struct builder *builder, const struct build_column *column)
{
    if (column->has_default)
        put_cell(builder, column, &builder->defaults, &column->fallback);
    else if (column->required && builder->missing == SIZE_MAX)
        builder->missing = column->column;
}

static void put_column(struct builder *builder, const struct build_column *column)
{
    const struct plan_source *source = &builder->plan->sources[column->sources.from];
    const struct plan_source *end = source + column->sources.count;
    if (column->is_time)
        builder->time_us = INT64_MIN;
    for (; source < end; source++) {
        struct cell cell = {0};
        bool found;
        if (source->kind == SOURCE_PATH) {
            struct slot *slot = &builder->instances[source->slot.level][source->slot.index];
            if (slot->kind == VALUE_NONE)
                continue;
            if (put_quick(builder, column, slot))
                return;
            found = cell_from_slot(builder, column, slot, &cell);
        } else {
            found = cell_from_beside(builder, column, source, &cell);
        }
        if (buf_failed(&builder->coercer.scratch)) {
            builder->writer.rows->failed = true;
            return;
        }
        if (found) {
            put_cell(builder, column, &builder->coercer, &cell);
            buf_reset(&builder->coercer.scratch);
            return;
        }
    }
    put_fallback(builder, column);
}

static bool has_room(const struct builder *builder)
{
    return !buf_failed(builder->writer.rows) &&
           builder->writer.rows->len - builder->start <= BUILD_ROW_BYTES_MAX;
}

/* False: no room for more, or a required column has no value. */
static bool may_go_on(const struct builder *builder)
{
    return builder->missing == SIZE_MAX && has_room(builder);
}

/* Puts the level's columns behind what the image has. */
static bool put_level(struct builder *builder, unsigned level, struct slot *instance)
{
    builder->instances[level] = instance;
    for (uint32_t i = builder->level_from[level]; i < builder->level_from[level + 1]; i++) {
        uint32_t probe = builder->probes[i];
        if (probe != PROBE_NONE && instance[probe].kind == VALUE_NONE)
            continue;
        put_column(builder, &builder->columns[i]);
        if (!has_room(builder))
            return false;
    }
    return may_go_on(builder);
}

static bool end_row(struct builder *builder)
{
    row_end(&builder->writer);
    builder->row_count++;
    if (builder->time_us != INT64_MIN) {
        if (builder->time_us < builder->time_min_us)
            builder->time_min_us = builder->time_us;
        if (builder->time_us > builder->time_max_us)
            builder->time_max_us = builder->time_us;
    }
    return may_go_on(builder);
}

/* An image that has been begun, to begin others with: its fixed part is kept, since what
 * comes next goes into it; the bytes behind it stay as they are. */
static struct row_begun begun_now(struct builder *builder, unsigned level, bool again)
{
    const uint8_t *row = builder->writer.rows->data + builder->writer.start;
    if (again)
        memcpy(builder->fixed[level], row, builder->layout.fixed_size);
    return (struct row_begun){.fixed = builder->fixed[level],
                              .from = builder->writer.start,
                              .size = builder->writer.rows->len - builder->writer.start};
}

/* The rows of one instance of level 1: its instances of level 2, or one with nulls. */
static bool build_inner(struct builder *builder, uint32_t from, uint32_t to)
{
    const struct walk_level *inner = &builder->walk->levels[2];
    struct row_begun begun = begun_now(builder, 1, to - from > 1);
    for (uint32_t i = from; i < to || i == from; i++) {
        if (i > from)
            row_begin_like(&builder->writer, &begun);
        if (!put_level(builder, 2,
                       i < to ? inner->slots + (size_t)i * inner->width : builder->nothing) ||
            !end_row(builder))
            return false;
    }
    return true;
}

static bool build_rows(struct builder *builder)
{
    const struct walk_level *outer = &builder->walk->levels[1];
    uint32_t inner_count = builder->walk->levels[2].count;
    if (!put_level(builder, 0, builder->walk->levels[0].slots))
        return false;
    if (outer->count == 0)
        return put_level(builder, 1, builder->nothing) && build_inner(builder, 0, 0);
    struct row_begun begun = begun_now(builder, 0, outer->count > 1);
    for (uint32_t i = 0; i < outer->count; i++) {
        if (i > 0)
            row_begin_like(&builder->writer, &begun);
        uint32_t to = i + 1 < outer->count ? builder->walk->inner_from[i + 1] : inner_count;
        if (!put_level(builder, 1, outer->slots + (size_t)i * outer->width) ||
            !build_inner(builder, builder->walk->inner_from[i], to))
            return false;
    }
    return true;
}

bool builder_rows(struct builder *builder, struct slice event, const struct shred_context *context,
                  uint32_t number, struct buf *rows)
{
    builder->event = event;
    builder->start = rows->len;
    builder->context = context;
    builder->writer = (struct row_writer){.layout = &builder->layout, .rows = rows};
    builder->lost_column_count = 0;
    builder->clamped = 0;
    builder->row_count = 0;
    builder->time_us = INT64_MIN;
    builder->time_min_us = INT64_MAX;
    builder->time_max_us = INT64_MIN;
    builder->missing = SIZE_MAX;
    builder->coercer.replaced = 0;
    builder->coercer.scan.text = event.data;
    buf_reset(&builder->coercer.scratch);
    row_begin(&builder->writer, number);
    return may_go_on(builder) && build_rows(builder);
}
