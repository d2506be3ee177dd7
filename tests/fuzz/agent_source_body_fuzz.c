/* SPDX-License-Identifier: Apache-2.0
 *
 * A request's body. Any text: the pieces lie in it in order, without blanks around them,
 * and a place's line and column are those that one counts. Where jansson takes the text
 * for an array or an object, or each line for a value, the pieces are the same values. And
 * the first byte says in what it comes: as it stands as gzip or zstd, or gzip or zstd made
 * of it, which must give it back, or be refused when it is too long.
 */
#include <jansson.h>
#include <stdlib.h>

#include "agent/source/body.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "tests/unit/packed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void check_place(struct body *body, struct slice text, struct slice piece)
{
    uint32_t line = 1;
    uint32_t column = 1;
    uint32_t wanted_line = 1;
    uint32_t wanted_column = 1;
    const uint8_t *start = text.data;
    body_place(body, piece, &line, &column);
    for (const uint8_t *at = text.data; at < piece.data; at++) {
        wanted_line += *at == '\n';
        start = *at == '\n' ? at + 1 : start;
    }
    wanted_column += (uint32_t)(piece.data - start);
    ASSERT(line == wanted_line && column == wanted_column);
}

static json_t *parse(struct slice text)
{
    json_error_t ignored;
    if (memchr(text.data, 0, text.len) != NULL) /* jansson skips some of them */
        return NULL;
    return json_loadb((const char *)text.data, text.len, JSON_DECODE_ANY, &ignored);
}

/* The value that the text is, if jansson takes it for one; else its lines', if all are. */
static json_t *values_of(struct slice text)
{
    json_t *whole = parse(text);
    if (json_is_array(whole))
        return whole;
    json_t *list = json_array();
    if (json_is_object(whole)) {
        json_array_append_new(list, whole);
        return list;
    }
    json_decref(whole);
    for (size_t at = 0; at < text.len;) {
        const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
        size_t len = end != NULL ? (size_t)(end - text.data) - at : text.len - at;
        struct slice line = slice_of(text.data + at, len);
        at += len + (end != NULL);
        while (line.len > 0 && is_blank(line.data[line.len - 1]))
            line.len--;
        if (line.len == 0)
            continue;
        json_t *value = parse(line);
        /* What begins with '[' is an array that was cut, not lines. */
        if (value == NULL || (json_array_size(list) == 0 && json_is_array(value))) {
            json_decref(value);
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, value);
    }
    return list;
}

static void check_pieces(struct slice text)
{
    struct body body;
    struct slice piece = {0};
    const uint8_t *least = text.data;
    size_t count = 0;
    json_t *wanted = values_of(text);
    body_begin(&body, text);
    while (body_next(&body, &piece)) {
        ASSERT(piece.data >= least && piece.data + piece.len <= text.data + text.len);
        ASSERT(piece.len == 0 ||
               (!is_blank(piece.data[0]) && !is_blank(piece.data[piece.len - 1])));
        least = piece.data + piece.len;
        check_place(&body, text, piece);
        if (wanted != NULL) {
            json_t *value = parse(piece);
            ASSERT(value != NULL && json_equal(value, json_array_get(wanted, count)));
            json_decref(value);
        }
        count++;
    }
    ASSERT(wanted == NULL || count == json_array_size(wanted));
    ASSERT(wanted == NULL || !body.unclosed);
    json_decref(wanted);
}

/* ---- gzip, zstd ---- */

static void check_expand(uint8_t kind, struct slice text)
{
    struct buf packed = {0};
    struct buf plain = {0};
    struct error err;
    bool zstd = kind & 1;
    bool made = kind & 2;
    if (made) {
        struct slice half = slice_of(text.data, kind & 4 ? text.len / 2 : text.len);
        (zstd ? put_zstd : put_gzip)(half, &packed);
        if (kind & 4)
            (zstd ? put_zstd : put_gzip)(slice_of(text.data + half.len, text.len - half.len),
                                         &packed);
    } else {
        buf_put_slice(&packed, text);
    }
    enum body_encoding encoding = zstd ? BODY_ZSTD : BODY_GZIP;
    /* The exact size fits, one less does not. */
    size_t max = made ? text.len : 1 << 16;
    int rc = body_expand(encoding, buf_slice(&packed), max, &plain, &err);
    ASSERT(rc == OK || rc == ERROR_INPUT || rc == ERROR_LIMIT);
    ASSERT(rc != OK || plain.len <= max);
    ASSERT(!made || (rc == OK && slice_equal(buf_slice(&plain), text)));
    buf_reset(&plain);
    if (made && text.len > 0) {
        rc = body_expand(encoding, buf_slice(&packed), text.len - 1, &plain, &err);
        ASSERT(rc == ERROR_LIMIT);
        buf_reset(&plain);
        rc = body_expand(encoding, slice_of(packed.data, packed.len - 1), max, &plain, &err);
        ASSERT(rc == ERROR_INPUT);
    }
    buf_free(&packed);
    buf_free(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct slice text = slice_of(data + 1, size - 1);
    if (data[0] & 0x80)
        check_expand(data[0], text);
    else
        check_pieces(text);
    return 0;
}
