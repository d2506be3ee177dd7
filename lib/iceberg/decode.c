/* SPDX-License-Identifier: Apache-2.0
 *
 * What reading a manifest and a manifest list have in common.
 */
#include "lib/iceberg/internal.h"

#include <string.h>

#include "lib/base/memory.h"

enum { DECODE_MEMORY_MAX = 1 << 30 };

/* Counts bytes to be allocated; false, with the cursor failed, when there are too many. */
static bool charge(struct decode *decode, size_t count, size_t size)
{
    size_t bytes;
    if (!size_mul(count, size, &bytes) || bytes > decode->memory_left) {
        decode->over = true;
        avro_fail(&decode->cursor);
        return false;
    }
    decode->memory_left -= bytes;
    return true;
}

void *decode_alloc(struct decode *decode, size_t count, size_t size)
{
    return charge(decode, count, size) ? arena_alloc(decode->arena, count, size) : NULL;
}

void *decode_grow(struct decode *decode, void *old, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return old;
    size_t more = *cap == 0 ? 16 : *cap;
    if (!charge(decode, more, size))
        return NULL;
    *cap += more;
    return memory_resize(old, *cap, size);
}

bool decode_enter_array(struct decode *decode, const struct avro_type **type)
{
    *type = avro_read_branch(&decode->cursor, *type);
    if ((*type)->kind != AVRO_ARRAY && (*type)->kind != AVRO_NULL)
        avro_fail(&decode->cursor);
    return (*type)->kind == AVRO_ARRAY;
}

void decode_i32(struct decode *decode, const struct avro_type *type, int32_t *out)
{
    int64_t value;
    if (!avro_read_integer(&decode->cursor, type, &value))
        return;
    if (value < INT32_MIN || value > INT32_MAX)
        avro_fail(&decode->cursor);
    else
        *out = (int32_t)value;
}

const char *decode_avro_text(struct decode *decode, const struct avro_type *type)
{
    struct slice bytes;
    if (!avro_read_bytes(&decode->cursor, type, &bytes) ||
        (bytes.len > 0 && memchr(bytes.data, 0, bytes.len) != NULL)) {
        avro_fail(&decode->cursor);
        return "";
    }
    char *text = decode_alloc(decode, bytes.len + 1, 1);
    if (text == NULL)
        return "";
    if (bytes.len > 0)
        memcpy(text, bytes.data, bytes.len);
    return text;
}

int32_t decode_field_id(const struct avro_field *field, const struct field_name *names)
{
    if (field->id >= 0)
        return field->id;
    for (; names->name != NULL; names++) {
        if (strcmp(field->name, names->name) == 0)
            return names->id;
    }
    return -1;
}

int decode_rows(struct arena *arena, struct slice bytes, decode_row *row, void *context,
                struct error *err)
{
    struct decode decode = {.arena = arena, .memory_left = DECODE_MEMORY_MAX};
    struct avro_reader reader;
    int64_t rows;
    int64_t done = 0;
    if (bytes.len > MANIFEST_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "%zu bytes", bytes.len);
    int rc = avro_reader_init(&reader, arena, bytes, MANIFEST_BYTES_MAX, err);
    if (rc != OK)
        return rc;
    if (reader.type->kind != AVRO_RECORD)
        return error_set(err, ERROR_INPUT, "rows are no records");
    while ((rc = avro_reader_next(&reader, &decode.cursor, &rows, err)) == OK && rows > 0) {
        for (; rows > 0 && !decode.cursor.failed; rows--, done++) {
            avro_charge(&decode.cursor, 1);
            row(&decode, reader.type, context);
        }
        if (decode.over)
            return error_set(err, ERROR_LIMIT, "more than %d bytes of memory", DECODE_MEMORY_MAX);
        if (decode.cursor.failed)
            return error_set(err, ERROR_INPUT, "row %lld is damaged", (long long)done);
        if (decode.cursor.at != decode.cursor.end)
            return error_set(err, ERROR_INPUT, "a block is longer than its rows");
    }
    return rc;
}
