/* SPDX-License-Identifier: Apache-2.0
 *
 * Mappings made by hand from short texts, so that the shredder's tests and fuzzers
 * stand without the YAML parser; and rows as text, to be compared.
 */
#ifndef TESTS_UNIT_LIB_SHRED_SUPPORT_H
#define TESTS_UNIT_LIB_SHRED_SUPPORT_H

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/shred/shred.h"

/* `from`: alternatives between " | "; "$raw", "$header.name", or a path. */
struct test_column {
    const char *name;
    enum type type;
    const char *from;
    bool list;
    bool required;
    enum coercion coercion;
    enum time_unit unit;
    const char *default_text;
    const char *const *domain; /* NULL-terminated */
};

static inline void test_add_step(struct source *source, struct path_step step)
{
    source->steps = memory_resize(source->steps, source->step_count + 1, sizeof *source->steps);
    source->steps[source->step_count++] = step;
    source->each_count += step.kind == STEP_EACH;
}

static inline struct source test_path(const char *text)
{
    struct source out = {.kind = SOURCE_PATH};
    while (*text != 0) {
        size_t n = strcspn(text, ".[");
        if (n > 0)
            test_add_step(&out, (struct path_step){.kind = STEP_KEY,
                                                   .key = memory_copy_slice(slice_of(text, n))});
        text += n;
        if (text[0] == '[' && text[1] == ']') {
            test_add_step(&out, (struct path_step){.kind = STEP_EACH});
            text += 2;
        } else if (text[0] == '[') {
            char *end;
            unsigned long index = strtoul(text + 1, &end, 10);
            test_add_step(&out, (struct path_step){.kind = STEP_INDEX, .index = (uint32_t)index});
            text = end + 1;
        }
        text += *text == '.';
    }
    return out;
}

static inline struct source test_source(const char *text)
{
    static const struct {
        const char *name;
        enum source_kind kind;
    } names[] = {
        {"$received_at", SOURCE_RECEIVED_AT},
        {"$source_time", SOURCE_TIME},
        {"$stream", SOURCE_STREAM},
        {"$position", SOURCE_POSITION},
        {"$host", SOURCE_HOST},
        {"$topic", SOURCE_TOPIC},
        {"$partition", SOURCE_PARTITION},
        {"$offset", SOURCE_OFFSET},
        {"$key", SOURCE_KEY},
        {"$raw", SOURCE_RAW},
    };
    if (text[0] != '$')
        return test_path(text);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].name, text) == 0)
            return (struct source){.kind = names[i].kind};
    bool header = strncmp(text, "$header.", 8) == 0;
    ASSERT(header || strncmp(text, "$query.", 7) == 0);
    return (struct source){.kind = header ? SOURCE_HEADER : SOURCE_QUERY,
                           .name = memory_copy_cstr(strchr(text, '.') + 1)};
}

static inline void test_sources(struct mapping_column *column, const char *text)
{
    while (*text != 0) {
        const char *bar = strstr(text, " | ");
        size_t n = bar == NULL ? strlen(text) : (size_t)(bar - text);
        char *one = memory_copy_slice(slice_of(text, n));
        column->sources =
            memory_resize(column->sources, column->source_count + 1, sizeof *column->sources);
        column->sources[column->source_count++] = test_source(one);
        free(one);
        text += n + (bar == NULL ? 0 : 3);
    }
}

/* The column called event_timestamp is the time column. `explode` "": none. */
static inline void test_mapping_make(struct mapping *out, const struct test_column *columns,
                                     size_t count, const char *explode)
{
    *out = (struct mapping){.unmapped = UNMAPPED_COUNT};
    out->schema.table = memory_copy_cstr("test");
    out->schema.time_column = SIZE_MAX;
    out->schema.column_count = count;
    out->schema.columns = memory_alloc(count, sizeof *out->schema.columns);
    out->columns = memory_alloc(count, sizeof *out->columns);
    for (size_t i = 0; i < count; i++) {
        const struct test_column *from = &columns[i];
        out->schema.columns[i] = (struct column){.name = memory_copy_cstr(from->name),
                                                 .type = from->type,
                                                 .list = from->list,
                                                 .required = from->required,
                                                 .field_id = (int32_t)i + 1};
        if (strcmp(from->name, "event_timestamp") == 0)
            out->schema.time_column = i;
        struct mapping_column *to = &out->columns[i];
        *to = (struct mapping_column){.coercion = from->coercion, .unit = from->unit};
        if (from->default_text != NULL)
            to->default_text = memory_copy_cstr(from->default_text);
        for (size_t k = 0; from->domain != NULL && from->domain[k] != NULL; k++) {
            to->domain = memory_resize(to->domain, k + 1, sizeof *to->domain);
            to->domain[to->domain_count++] = memory_copy_cstr(from->domain[k]);
        }
        test_sources(to, from->from);
    }
    out->explode = test_path(explode);
    out->explode_level_count = out->explode.each_count;
}

static inline void test_source_free(struct source *source)
{
    for (size_t i = 0; i < source->step_count; i++)
        free(source->steps[i].key);
    free(source->steps);
    free(source->name);
}

static inline void test_mapping_free(struct mapping *mapping)
{
    for (size_t i = 0; i < mapping->schema.column_count; i++) {
        struct mapping_column *column = &mapping->columns[i];
        for (size_t k = 0; k < column->source_count; k++)
            test_source_free(&column->sources[k]);
        for (size_t k = 0; k < column->domain_count; k++)
            free(column->domain[k]);
        free(column->domain);
        free(column->sources);
        free(column->default_text);
        free(mapping->schema.columns[i].name);
    }
    free(mapping->columns);
    free(mapping->schema.columns);
    free(mapping->schema.table);
    test_source_free(&mapping->explode);
}

/* Printable ASCII as it is, the rest as \xNN: a string's every byte can be told. */
static inline void test_put_text(struct buf *out, struct slice text)
{
    buf_put_u8(out, '\'');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] >= 0x20 && text.data[i] < 0x7f && text.data[i] != '\\')
            buf_put_u8(out, text.data[i]);
        else
            buf_printf(out, "\\x%02x", text.data[i]);
    }
    buf_put_u8(out, '\'');
}

static inline void test_put_scalar(struct buf *out, enum type type, const uint8_t *at)
{
    double real;
    uint64_t bits = 0;
    switch (type) {
    case TYPE_BOOLEAN:
        buf_put_cstr(out, *at != 0 ? "true" : "false");
        break;
    case TYPE_INT:
        buf_printf(out, "%d", (int32_t)get_u32le(at));
        break;
    case TYPE_DOUBLE:
        bits = get_u64le(at);
        memcpy(&real, &bits, sizeof real);
        buf_printf(out, "%.17g", real);
        break;
    default:
        buf_printf(out, "%lld", (long long)get_u64le(at));
    }
}

static inline void test_put_list(struct buf *out, enum type type, struct slice list)
{
    const uint8_t *at = list.data + 4;
    buf_put_u8(out, '[');
    for (uint32_t i = 0; i < row_list_count(list); i++) {
        if (i > 0)
            buf_put_u8(out, ',');
        if (type == TYPE_STRING) {
            test_put_text(out, row_list_next_string(&at));
            continue;
        }
        test_put_scalar(out, type, at);
        at += type == TYPE_BOOLEAN ? 1 : type == TYPE_INT ? 4 : 8;
    }
    buf_put_u8(out, ']');
}

/* One row: its columns' values, a blank between them. */
static inline void test_put_row(struct buf *out, const struct row_layout *layout,
                                const uint8_t *row)
{
    for (size_t i = 0; i < layout->column_count; i++) {
        if (i > 0)
            buf_put_u8(out, ' ');
        if (row_is_null(row, i))
            buf_put_cstr(out, "null");
        else if (layout->lists[i])
            test_put_list(out, layout->types[i], row_bytes(layout, row, i));
        else if (layout->types[i] == TYPE_STRING)
            test_put_text(out, row_bytes(layout, row, i));
        else
            test_put_scalar(out, layout->types[i], row + layout->slots[i]);
    }
}

/* All rows of a batch, " / " between them; each must be an image that row_check takes. */
static inline void test_put_rows(struct buf *out, const struct row_layout *layout,
                                 struct slice rows)
{
    for (size_t at = 0; at < rows.len;) {
        uint32_t size = 0;
        ASSERT(row_check(layout, slice_of(rows.data + at, rows.len - at), &size));
        if (at > 0)
            buf_put_cstr(out, " / ");
        test_put_row(out, layout, rows.data + at);
        at += size;
    }
}

#endif
