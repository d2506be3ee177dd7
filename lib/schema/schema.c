/* SPDX-License-Identifier: Apache-2.0
 *
 * What every holder of a table_schema does with it: copy, look up, bind to a table's
 * contract, name a partition. Encoded forms are in codec.c.
 */
#include "lib/schema/schema.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/digest.h"
#include "lib/base/instant.h"
#include "lib/base/memory.h"

static void partition_spec_free(struct partition_spec *spec)
{
    for (size_t i = 0; i < spec->field_count; i++)
        free(spec->fields[i].name);
}

void table_schema_free(struct table_schema *schema)
{
    free(schema->table);
    for (size_t i = 0; i < schema->column_count; i++)
        free(schema->columns[i].name);
    free(schema->columns);
    for (size_t i = 0; i < schema->spec_count; i++)
        partition_spec_free(&schema->specs[i]);
    *schema = (struct table_schema){0};
}

void table_schema_copy(struct table_schema *out, const struct table_schema *from)
{
    *out = *from;
    out->table = memory_copy_cstr(from->table);
    out->columns = memory_alloc(from->column_count, sizeof *out->columns);
    for (size_t i = 0; i < from->column_count; i++) {
        out->columns[i] = from->columns[i];
        out->columns[i].name = memory_copy_cstr(from->columns[i].name);
    }
    for (size_t i = 0; i < from->spec_count; i++)
        for (size_t f = 0; f < from->specs[i].field_count; f++)
            out->specs[i].fields[f].name = memory_copy_cstr(from->specs[i].fields[f].name);
}

size_t table_schema_find(const struct table_schema *schema, const char *name)
{
    for (size_t i = 0; i < schema->column_count; i++)
        if (strcmp(schema->columns[i].name, name) == 0)
            return i;
    return SIZE_MAX;
}

uint64_t table_schema_key(const struct table_schema *schema)
{
    struct buf bytes = {0};
    table_schema_encode(schema, &bytes);
    uint8_t digest[SHA256_SIZE];
    sha256(buf_slice(&bytes), digest);
    buf_free(&bytes);
    /* Big endian, so that the number in hex reads as the digest does. */
    uint64_t key = 0;
    for (size_t i = 0; i < 8; i++)
        key = key << 8 | digest[i];
    return key;
}

const char *type_name(enum type type)
{
    static const char *const names[] = {"boolean", "int",    "long",
                                        "double",  "string", "timestamptz"};
    ASSERT((size_t)type < sizeof names / sizeof names[0]);
    return names[type];
}

/* ---- binding ---- */

static int bind_columns(struct table_schema *schema, const struct table_schema *contract,
                        struct error *err)
{
    for (size_t i = 0; i < contract->column_count; i++)
        if (contract->columns[i].required &&
            table_schema_find(schema, contract->columns[i].name) == SIZE_MAX)
            return error_set(err, ERROR_CONFLICT,
                             "table %.100s requires column \"%.100s\", which the mapping lacks",
                             contract->table, contract->columns[i].name);
    for (size_t i = 0; i < schema->column_count; i++) {
        struct column *column = &schema->columns[i];
        size_t at = table_schema_find(contract, column->name);
        if (at == SIZE_MAX)
            return error_set(err, ERROR_CONFLICT, "table %.100s has no column \"%.100s\"",
                             contract->table, column->name);
        const struct column *theirs = &contract->columns[at];
        if (theirs->type != column->type || theirs->list != column->list)
            return error_set(
                err, ERROR_CONFLICT, "column \"%.100s\" is %s%s here, %s%s in table %.100s",
                column->name, column->list ? "a list of " : "", type_name(column->type),
                theirs->list ? "a list of " : "", type_name(theirs->type), contract->table);
        if (theirs->required && !column->required)
            return error_set(err, ERROR_CONFLICT,
                             "table %.100s requires column \"%.100s\", the mapping does not",
                             contract->table, column->name);
        column->field_id = theirs->field_id;
        column->element_id = theirs->element_id;
    }
    return OK;
}

static bool spec_matches(const struct table_schema *ours, const struct partition_spec *spec,
                         const struct table_schema *contract, const struct partition_spec *theirs)
{
    if (spec->field_count != theirs->field_count)
        return false;
    for (size_t i = 0; i < spec->field_count; i++)
        if (spec->fields[i].transform != theirs->fields[i].transform ||
            strcmp(ours->columns[spec->fields[i].column].name,
                   contract->columns[theirs->fields[i].column].name) != 0)
            return false;
    return true;
}

static bool bind_spec(struct table_schema *schema, struct partition_spec *spec,
                      const struct table_schema *contract)
{
    for (size_t i = 0; i < contract->spec_count; i++) {
        const struct partition_spec *theirs = &contract->specs[i];
        if (!spec_matches(schema, spec, contract, theirs))
            continue;
        spec->spec_id = theirs->spec_id;
        for (size_t f = 0; f < spec->field_count; f++) {
            spec->fields[f].field_id = theirs->fields[f].field_id;
            free(spec->fields[f].name);
            spec->fields[f].name = memory_copy_cstr(theirs->fields[f].name);
        }
        return true;
    }
    return false;
}

/* The table's order wins: a file may only name one that the table has. An order by
 * a column that the mapping lacks leaves the files unsorted. */
static void bind_sort(struct table_schema *schema, const struct table_schema *contract)
{
    struct sort_order sort = contract->sort;
    for (size_t i = 0; i < sort.column_count; i++) {
        size_t at = table_schema_find(schema, contract->columns[sort.columns[i]].name);
        if (at == SIZE_MAX || schema->columns[at].list || schema->columns[at].fill != FILL_NONE) {
            schema->sort = (struct sort_order){0};
            return;
        }
        sort.columns[i] = at;
    }
    schema->sort = sort;
}

int table_schema_bind(struct table_schema *schema, const struct table_schema *contract,
                      struct error *err)
{
    int rc = bind_columns(schema, contract, err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < schema->spec_count; i++) {
        if (bind_spec(schema, &schema->specs[i], contract))
            continue;
        if (i == 0)
            return error_set(err, ERROR_CONFLICT,
                             "table %.100s is partitioned otherwise than the mapping says",
                             contract->table);
        /* A table without the coarse spec gets a file for each partition. */
        partition_spec_free(&schema->specs[i]);
        schema->specs[i] = (struct partition_spec){0};
        schema->spec_count = i;
    }
    schema->schema_id = contract->schema_id;
    bind_sort(schema, contract);
    return OK;
}

/* ---- partition paths ---- */

/* java.net.URLEncoder.encode(text, UTF-8). */
static void put_url_encoded(struct slice text, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        if ((byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
            (byte >= '0' && byte <= '9') || byte == '.' || byte == '-' || byte == '*' ||
            byte == '_') {
            buf_put_u8(out, byte);
        } else if (byte == ' ') {
            buf_put_u8(out, '+');
        } else {
            buf_put_u8(out, '%');
            buf_put_u8(out, (uint8_t)digits[byte >> 4]);
            buf_put_u8(out, (uint8_t)digits[byte & 15]);
        }
    }
}

enum { PATH_TEXT_MAX = 64 };

/* Object keys end at 1,024 bytes, and a byte may become three. A cut text keeps a
 * digest behind it: two partitions of one segment must not share a file's name. */
static void put_partition_text(struct slice text, struct buf *out)
{
    if (text.len <= PATH_TEXT_MAX) {
        put_url_encoded(text, out);
        return;
    }
    uint8_t digest[SHA256_SIZE];
    char hex[2 * 8 + 1];
    sha256(text, digest);
    hex_encode(slice_of(digest, 8), hex);
    put_url_encoded(slice_of(text.data, PATH_TEXT_MAX), out);
    buf_printf(out, "-%s", hex);
}

void partition_path(const struct table_schema *schema, const struct partition_spec *spec,
                    const struct partition_value *values, struct buf *out)
{
    for (size_t i = 0; i < spec->field_count; i++) {
        const struct partition_field *field = &spec->fields[i];
        const struct partition_value *value = &values[i];
        if (i > 0)
            buf_put_u8(out, '/');
        put_partition_text(slice_cstr(field->name), out);
        buf_put_u8(out, '=');
        if (value->null)
            buf_put_cstr(out, "null");
        else if (value->is_text)
            put_partition_text(value->text, out);
        else if (field->transform == TRANSFORM_DAY)
            instant_put_day(value->number, out);
        else if (schema->columns[field->column].type == TYPE_BOOLEAN)
            buf_put_cstr(out, value->number != 0 ? "true" : "false");
        else
            buf_printf(out, "%lld", (long long)value->number);
    }
}
