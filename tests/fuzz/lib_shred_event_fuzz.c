/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an event. What is taken must be rows that row_check takes and whose
 * strings are UTF-8, the same each time; what jansson calls an object must be taken,
 * and what it refuses must be refused, as far as jansson is RFC 8259: it also refuses
 * invalid UTF-8, unpaired surrogates, U+0000 and numbers beyond its types, which are
 * no errors of ours, so inputs that hold such are not compared.
 */
#include <jansson.h>

#include "lib/shred/text.h"
#include "tests/unit/lib_shred_support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct test_column columns[] = {
    {.name = "id", .type = TYPE_STRING, .from = "id"},
    {.name = "seat", .type = TYPE_STRING, .from = "a[].s | s", .default_text = "d"},
    {.name = "bid", .type = TYPE_LONG, .from = "a[].b[].i | a[].b[].l[0].i"},
    {.name = "p", .type = TYPE_DOUBLE, .from = "a[].b[].p | a[].p"},
    {.name = "cat", .type = TYPE_STRING, .from = "a[].b[].c", .list = true},
    {.name = "ints", .type = TYPE_INT, .from = "n | n.n", .list = true},
    {.name = "ok", .type = TYPE_BOOLEAN, .from = "o"},
    {.name = "country", .type = TYPE_STRING, .from = "g.c", .coercion = COERCE_COUNTRY},
    {.name = "first", .type = TYPE_STRING, .from = "a[0].b[1].c[0] | l[2][0]"},
    {.name = "event_timestamp", .type = TYPE_TIMESTAMPTZ, .from = "ts | $received_at"},
    {.name = "raw", .type = TYPE_STRING, .from = "$raw"},
};
enum { COLUMNS = sizeof columns / sizeof columns[0] };

/* jansson's own limits, which it reports with the same code as bad syntax. */
static bool is_beyond_jansson(struct slice text)
{
    if (!text_is_utf8(text))
        return true;
    size_t digits = 0;
    unsigned depth = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        digits = c >= '0' && c <= '9' ? digits + 1 : 0;
        depth += c == '{' || c == '[';
        if (digits > 17 || depth > 60 || c == 'e' || c == 'E')
            return true;
        if (c == '\\' && i + 1 < text.len && text.data[i + 1] == 'u')
            return true;
    }
    return false;
}

static void check_strings(const struct row_layout *layout, struct slice rows)
{
    for (size_t at = 0; at < rows.len; at += row_size(rows.data + at))
        for (size_t i = 0; i < COLUMNS; i++)
            if (layout->types[i] == TYPE_STRING && !layout->lists[i] &&
                !row_is_null(rows.data + at, i))
                ASSERT(text_is_utf8(row_bytes(layout, rows.data + at, i)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    struct mapping mapping;
    struct shredder *shredder;
    struct shred_batch batch = {0};
    struct refusal refusal;
    struct buf text = {0};
    struct buf again = {0};
    struct slice json = slice_of(data, size);
    struct shred_context context = {.source_time_us = INT64_MIN, .partition = -1, .offset = -1};
    test_mapping_make(&mapping, columns, COLUMNS, "a[].b[]");
    int rc = shredder_open(&shredder, &mapping, &(struct shred_options){0}, &err);
    ASSERT(rc == OK);
    const struct row_layout *layout = shredder_layout_borrow(shredder);
    bool taken = shredder_event(shredder, json, &context, &batch, &refusal);
    if (taken) {
        test_put_rows(&text, layout, buf_slice(&batch.rows));
        check_strings(layout, buf_slice(&batch.rows));
        size_t len = batch.rows.len;
        taken = shredder_event(shredder, json, &context, &batch, &refusal);
        ASSERT(taken && batch.rows.len == 2 * len);
        test_put_rows(&again, layout, slice_of(batch.rows.data + len, len));
        ASSERT(slice_equal(buf_slice(&text), buf_slice(&again)));
    } else {
        ASSERT(batch.rows.len == 0 && batch.row_count == 0 && refusal.line > 0);
    }
    if (!is_beyond_jansson(json)) {
        json_error_t error;
        json_t *value = json_loadb((const char *)data, size, 0, &error);
        ASSERT(taken == json_is_object(value));
        json_decref(value);
    }
    buf_free(&text);
    buf_free(&again);
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
    return 0;
}
