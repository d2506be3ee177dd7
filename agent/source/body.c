/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/body.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "lib/base/assert.h"

enum { EXPAND_STEP = 64 << 10, GZIP_WINDOW_BITS = 15 + 16 };

static const char blanks[] = " \t\n\r";

static size_t skip_blanks(struct slice text, size_t at)
{
    while (at < text.len && slice_byte_is(text.data[at], blanks))
        at++;
    return at;
}

/* Behind the string whose first quote is at `at`; the text's end if it is not closed. */
static size_t skip_string(struct slice text, size_t at)
{
    for (at++; at < text.len; at++) {
        if (text.data[at] == '\\')
            at++;
        else if (text.data[at] == '"')
            return at + 1;
    }
    return text.len;
}

/* Where the value that begins at `at` ends: at a comma or a closing bracket that is not
 * its own, or at the text's end. */
static size_t skip_value(struct slice text, size_t at)
{
    size_t depth = 0;
    while (at < text.len) {
        uint8_t byte = text.data[at];
        if (byte == '"') {
            at = skip_string(text, at);
            continue;
        }
        if (byte == '{' || byte == '[')
            depth++;
        else if (depth == 0 && (byte == ',' || byte == ']' || byte == '}'))
            return at;
        else if (byte == '}' || byte == ']')
            depth--;
        at++;
    }
    return at;
}

/* Behind the bracket that closes the one at `at`; SIZE_MAX if none does. */
static size_t skip_object(struct slice text, size_t at)
{
    size_t end = skip_value(text, at + 1);
    /* Within an object commas part members. */
    while (end < text.len && text.data[end] == ',')
        end = skip_value(text, end + 1);
    return end < text.len ? end + 1 : SIZE_MAX;
}

void body_begin(struct body *body, struct slice text)
{
    *body = (struct body){.text = text, .form = BODY_LINES};
    size_t at = skip_blanks(text, 0);
    body->at = at;
    if (at == text.len)
        return;
    if (text.data[at] == '[') {
        body->form = BODY_ARRAY;
        body->at = skip_blanks(text, at + 1);
        body->ended = body->at < text.len && text.data[body->at] == ']' &&
                      skip_blanks(text, body->at + 1) == text.len;
        body->unclosed = body->at == text.len;
    } else if (text.data[at] == '{') {
        size_t end = skip_object(text, at);
        if (end != SIZE_MAX && skip_blanks(text, end) == text.len)
            body->form = BODY_OBJECT;
    }
}

/* Without the blanks of JSON around it. */
static struct slice trim(struct slice text)
{
    return slice_trim(text, blanks);
}

/* What follows the ']' of an array belongs to its last piece, so that it is refused. */
static bool next_of_array(struct body *body, struct slice *piece)
{
    struct slice text = body->text;
    if (body->ended || body->unclosed)
        return false;
    size_t from = body->at;
    size_t end = skip_value(text, from);
    if (end < text.len && text.data[end] == ',') {
        body->at = end + 1;
    } else if (end < text.len && text.data[end] == ']' && skip_blanks(text, end + 1) == text.len) {
        body->ended = true;
    } else {
        body->unclosed = end == text.len;
        body->ended = true;
        end = text.len;
    }
    *piece = trim(slice_of(text.data + from, end - from));
    return true;
}

static bool next_of_lines(struct body *body, struct slice *piece)
{
    struct slice text = body->text;
    body->at = skip_blanks(text, body->at);
    if (body->at == text.len)
        return false;
    const uint8_t *from = text.data + body->at;
    const uint8_t *end = memchr(from, '\n', text.len - body->at);
    size_t len = end != NULL ? (size_t)(end - from) : text.len - body->at;
    body->at += len + (end != NULL);
    *piece = trim(slice_of(from, len));
    return true;
}

bool body_next(struct body *body, struct slice *piece)
{
    if (body->form == BODY_ARRAY)
        return next_of_array(body, piece);
    if (body->form == BODY_LINES)
        return next_of_lines(body, piece);
    if (body->ended)
        return false;
    body->ended = true;
    *piece = trim(body->text);
    return true;
}

void body_place(struct body *body, struct slice piece, uint32_t *line, uint32_t *column)
{
    const uint8_t *text = body->text.data;
    ASSERT(piece.data >= text && piece.data <= text + body->text.len);
    size_t place = (size_t)(piece.data - text);
    if (place < body->line_at) {
        body->line_at = 0;
        body->lines = 0;
    }
    for (size_t at = body->line_at; at < place; at++) {
        if (text[at] == '\n') {
            body->lines++;
            body->line_at = at + 1;
        }
    }
    if (*line == 1)
        *column += (uint32_t)(place - body->line_at);
    *line += body->lines;
}

/* ---- compression ---- */

static int too_large(size_t max, struct error *err)
{
    return error_set(err, ERROR_LIMIT, "expands to more than %zu bytes", max);
}

/* Room for a step more, but one byte beyond `max` at most: that byte tells. */
static uint8_t *room(struct buf *out, size_t max, size_t *size)
{
    *size = max + 1 - out->len < EXPAND_STEP ? max + 1 - out->len : EXPAND_STEP;
    bool fine = buf_reserve(out, *size);
    ASSERT(fine);
    return out->data + out->len;
}

static int expand_gzip(struct slice bytes, size_t max, struct buf *out, struct error *err)
{
    z_stream stream = {0};
    if (inflateInit2(&stream, GZIP_WINDOW_BITS) != Z_OK)
        return error_set(err, ERROR_LIMIT, "no memory to expand the body");
    stream.next_in = (uint8_t *)(uintptr_t)bytes.data;
    stream.avail_in = (uInt)bytes.len;
    int rc = OK;
    for (int got = Z_OK; rc == OK;) {
        size_t size = 0;
        stream.next_out = room(out, max, &size);
        stream.avail_out = (uInt)size;
        got = inflate(&stream, Z_NO_FLUSH);
        out->len += size - stream.avail_out;
        if (out->len > max)
            rc = too_large(max, err);
        else if (got == Z_STREAM_END && stream.avail_in == 0)
            break;
        else if (got == Z_STREAM_END)
            got = inflateReset(&stream);
        else if (got == Z_BUF_ERROR ||
                 (got == Z_OK && stream.avail_in == 0 && stream.avail_out > 0))
            rc = error_set(err, ERROR_INPUT, "gzip body ends before its end");
        if (rc == OK && got != Z_OK)
            rc = error_set(err, ERROR_INPUT, "gzip body: %s",
                           stream.msg != NULL ? stream.msg : "corrupt");
    }
    inflateEnd(&stream);
    return rc;
}

static int expand_zstd(struct slice bytes, size_t max, struct buf *out, struct error *err)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    if (stream == NULL)
        return error_set(err, ERROR_LIMIT, "no memory to expand the body");
    ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, 23); /* 8 MiB: a stranger's frame */
    ZSTD_inBuffer in = {.src = bytes.data, .size = bytes.len};
    int rc = OK;
    for (size_t want = 1; rc == OK && (want != 0 || in.pos < in.size);) {
        size_t size = 0;
        ZSTD_outBuffer step = {.dst = room(out, max, &size)};
        step.size = size;
        want = ZSTD_decompressStream(stream, &step, &in);
        out->len += step.pos;
        if (ZSTD_isError(want) != 0)
            rc = error_set(err, ERROR_INPUT, "zstd body: %s", ZSTD_getErrorName(want));
        else if (out->len > max)
            rc = too_large(max, err);
        else if (want != 0 && in.pos == in.size && step.pos < step.size)
            rc = error_set(err, ERROR_INPUT, "zstd body ends before its end");
    }
    ZSTD_freeDStream(stream);
    return rc;
}

int body_expand(enum body_encoding encoding, struct slice bytes, size_t max, struct buf *out,
                struct error *err)
{
    if (bytes.len == 0)
        return error_set(err, ERROR_INPUT, "the body is empty");
    if (bytes.len > UINT32_MAX)
        return too_large(max, err);
    if (encoding == BODY_GZIP)
        return expand_gzip(bytes, max, out, err);
    ASSERT(encoding == BODY_ZSTD);
    return expand_zstd(bytes, max, out, err);
}
