/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream of requests. What is taken for a head is written again in the one form that every
 * reader understands alike, and that says the same; no beginning of it was refused; it holds no
 * byte that parts lines but the CRLFs that part its own. A chunked body gives the same data
 * and ends at the same place, whole or byte by byte.
 */
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/http/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_lines(struct slice text, const struct http_head *head)
{
    size_t lines = 0;
    size_t blank = 0;
    while (text.len >= blank + 2 && text.data[blank] == '\r')
        blank += 2;
    for (size_t i = blank; i < text.len; i++) {
        ASSERT(text.data[i] != 0);
        ASSERT((text.data[i] == '\n') == (i > 0 && text.data[i - 1] == '\r'));
        lines += text.data[i] == '\n';
    }
    ASSERT(lines == head->field_count + 2);
}

static void write_again(const struct http_head *head, struct buf *out)
{
    buf_put_slice(out, head->method);
    buf_put_cstr(out, " http://h");
    if (!slice_is(head->path, "*"))
        buf_put_slice(out, head->path);
    if (head->query.data != NULL)
        buf_put_cstr(out, "?");
    buf_put_slice(out, head->query);
    buf_printf(out, " HTTP/1.%d\r\n", head->minor);
    for (size_t i = 0; i < head->field_count; i++) {
        buf_put_slice(out, head->fields[i].name);
        buf_put_cstr(out, ":");
        buf_put_slice(out, head->fields[i].value);
        buf_put_cstr(out, "\r\n");
    }
    buf_put_cstr(out, "\r\n");
}

static void check_again(const struct http_head *head)
{
    static struct http_head again;
    struct http_fault fault;
    struct buf text = {0};
    write_again(head, &text);
    size_t len = http_head_decode(buf_slice(&text), &again, &fault);
    if (text.len <= HTTP_HEAD_BYTES_MAX) {
        ASSERT(len == text.len);
        ASSERT(slice_equal(again.method, head->method) && slice_equal(again.query, head->query));
        ASSERT(slice_equal(again.path, head->path) || slice_is(head->path, "*"));
        ASSERT(again.field_count == head->field_count && again.length == head->length);
        ASSERT(again.chunked == head->chunked && again.keep_alive == head->keep_alive);
    }
    buf_free(&text);
}

static void check_beginnings(struct slice text)
{
    static struct http_head head;
    struct http_fault fault;
    for (size_t len = 0; len < text.len; len += 1 + text.len / 64) {
        ASSERT(http_head_decode(slice_of(text.data, len), &head, &fault) == 0);
        ASSERT(fault.status == 0);
    }
}

/* The bytes that the chunks take; 0: a fault, or more is wanted. */
static size_t unchunk(struct slice text, size_t step, struct buf *out)
{
    struct http_chunks chunks = {.state = CHUNK_SIZE};
    struct http_fault fault = {0};
    size_t at = 0;
    while (at < text.len && fault.status == 0 && chunks.state != CHUNK_END) {
        size_t len = text.len - at < step ? text.len - at : step;
        struct slice in = slice_of(text.data + at, len);
        struct slice piece = http_chunks_decode(&chunks, &in, &fault);
        ASSERT(piece.len <= len - in.len);
        ASSERT(len - in.len > 0);
        at += len - in.len;
        buf_put_slice(out, piece);
    }
    return chunks.state == CHUNK_END ? at : 0;
}

static size_t check_chunks(struct slice text)
{
    struct buf whole = {0};
    struct buf bytes = {0};
    size_t len = unchunk(text, SIZE_MAX, &whole);
    size_t other = unchunk(text, 1, &bytes);
    ASSERT(len == other && slice_equal(buf_slice(&whole), buf_slice(&bytes)));
    buf_free(&whole);
    buf_free(&bytes);
    return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_head head;
    struct http_fault fault;
    struct slice rest = slice_of(data, size);
    while (rest.len > 0) {
        size_t len = http_head_decode(rest, &head, &fault);
        ASSERT(len <= rest.len && len <= HTTP_HEAD_BYTES_MAX);
        ASSERT(len == 0 || fault.status == 0);
        if (len == 0)
            break;
        struct slice text = slice_of(rest.data, len);
        ASSERT(!(head.chunked && head.has_length));
        check_lines(text, &head);
        check_beginnings(text);
        check_again(&head);
        rest = slice_of(rest.data + len, rest.len - len);
        size_t body = head.chunked ? check_chunks(rest) : (size_t)head.length;
        if (body > rest.len || (head.chunked && body == 0))
            break;
        rest = slice_of(rest.data + body, rest.len - body);
    }
    return 0;
}
