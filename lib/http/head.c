/* SPDX-License-Identifier: Apache-2.0
 *
 * RFC 9112, its strict reading. What two readers could understand differently is refused: they
 * would part the stream of bytes into other requests, and a stranger's body would be somebody's
 * request. Numbers behind a rule are the RFC's sections.
 */
#include "lib/http/head.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/memory.h"

static const struct slice line_end = {.data = (const uint8_t *)"\r\n", .len = 2};

static bool is_token_byte(uint8_t c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != 0 && strchr(others, c) != NULL);
}

static bool is_token(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_token_byte(text.data[i]))
            return false;
    }
    return text.len > 0;
}

/* Of a field's value: no control but the tab; bytes beyond ASCII are opaque. */
static bool is_value_byte(uint8_t c)
{
    return (c >= 0x20 && c != 0x7f) || c == '\t';
}

static size_t fail(struct http_fault *fault, unsigned status, const char *text)
{
    *fault = (struct http_fault){.status = status, .text = text};
    return 0;
}

/* The next line without its CRLF, which the head's end makes sure of. A CR or LF alone is
 * found with the other controls. */
static struct slice next_line(struct slice *rest)
{
    const uint8_t *end = memmem(rest->data, rest->len, line_end.data, line_end.len);
    size_t len = (size_t)(end - rest->data);
    struct slice line = slice_of(rest->data, len);
    *rest = slice_of(rest->data + len + 2, rest->len - len - 2);
    return line;
}

/* ---- the request line ---- */

/* "/path?query", "http://host/path?query" (3.2.2), "*" */
static bool split_target(struct slice target, struct http_head *head)
{
    for (size_t i = 0; i < target.len; i++) {
        if (target.data[i] <= 0x20 || target.data[i] == 0x7f)
            return false;
    }
    static const char scheme[] = "http://";
    size_t skip = sizeof scheme - 1;
    if (target.len > skip && strncasecmp((const char *)target.data, scheme, skip) == 0) {
        target = slice_of(target.data + skip, target.len - skip);
        while (target.len > 0 && target.data[0] != '/' && target.data[0] != '?')
            target = slice_of(target.data + 1, target.len - 1);
    } else if (target.len == 0 || (target.data[0] != '/' && !slice_is(target, "*"))) {
        return false;
    }
    const uint8_t *mark = target.len > 0 ? memchr(target.data, '?', target.len) : NULL;
    size_t len = mark != NULL ? (size_t)(mark - target.data) : target.len;
    head->path = len > 0 ? slice_of(target.data, len) : slice_cstr("/");
    if (mark != NULL)
        head->query = slice_of(mark + 1, target.len - len - 1);
    return true;
}

static bool read_version(struct slice text, struct http_head *head, struct http_fault *fault)
{
    bool formed = text.len == 8 && memcmp(text.data, "HTTP/", 5) == 0 && text.data[6] == '.' &&
                  text.data[5] >= '0' && text.data[5] <= '9' && text.data[7] >= '0' &&
                  text.data[7] <= '9';
    if (!formed)
        return fail(fault, 400, "the request line has no HTTP version") != 0;
    if (text.data[5] != '1')
        return fail(fault, 505, "HTTP/1.1 is spoken here") != 0;
    head->minor = text.data[7] == '0' ? 0 : 1;
    return true;
}

/* One blank between, no more (3: others are lenient there). */
static bool read_request_line(struct slice line, struct http_head *head, struct http_fault *fault)
{
    const uint8_t *first = memchr(line.data, ' ', line.len);
    const uint8_t *last = memrchr(line.data, ' ', line.len);
    if (first == NULL || first == last)
        return fail(fault, 400, "the request line wants method, target and version") != 0;
    head->method = slice_of(line.data, (size_t)(first - line.data));
    if (!is_token(head->method))
        return fail(fault, 400, "the method has characters that are none of a name") != 0;
    if (!split_target(slice_of(first + 1, (size_t)(last - first) - 1), head))
        return fail(fault, 400, "the request's target is no path") != 0;
    return read_version(slice_of(last + 1, (size_t)(line.data + line.len - last) - 1), head, fault);
}

/* ---- fields ---- */

static bool read_field(struct slice line, struct http_head *head, struct http_fault *fault)
{
    const uint8_t *colon = memchr(line.data, ':', line.len);
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return fail(fault, 400, "a header is folded over lines") != 0; /* 5.2 */
    if (colon == NULL)
        return fail(fault, 400, "a header has no colon") != 0;
    struct http_field field = {.name = slice_of(line.data, (size_t)(colon - line.data))};
    if (!is_token(field.name)) /* 5.1: no blank before the colon either */
        return fail(fault, 400, "a header's name has characters that are none of a name") != 0;
    field.value =
        slice_trim(slice_of(colon + 1, (size_t)(line.data + line.len - colon) - 1), " \t");
    for (size_t i = 0; i < field.value.len; i++) {
        if (!is_value_byte(field.value.data[i])) /* 2.2, 5.5 */
            return fail(fault, 400, "a header's value has control characters") != 0;
    }
    if (head->field_count == HTTP_FIELDS_MAX)
        return fail(fault, 431, "there may be 100 headers") != 0;
    head->fields[head->field_count++] = field;
    return true;
}

struct slice http_field(const struct http_head *head, const char *name)
{
    for (size_t i = 0; i < head->field_count; i++) {
        if (slice_is_word(head->fields[i].name, name)) {
            struct slice value = head->fields[i].value;
            return value.len > 0 ? value : slice_cstr("");
        }
    }
    return (struct slice){0};
}

size_t http_field_count(const struct http_head *head, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < head->field_count; i++)
        count += slice_is_word(head->fields[i].name, name);
    return count;
}

/* ---- what the fields say of the framing (6.1 to 6.3) ---- */

static bool read_length(struct slice value, struct http_head *head)
{
    enum { SAFE_DIGITS = 18 };
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return false;
        head->length = i < SAFE_DIGITS ? head->length * 10 + (value.data[i] - '0') : UINT64_MAX;
    }
    head->has_length = true;
    return value.len > 0;
}

static void read_connection(struct slice list, struct http_head *head, bool *close)
{
    while (list.data != NULL && list.len > 0) {
        const uint8_t *comma = memchr(list.data, ',', list.len);
        size_t len = comma != NULL ? (size_t)(comma - list.data) : list.len;
        struct slice word = slice_trim(slice_of(list.data, len), " \t");
        size_t used = len + (comma != NULL);
        *close = *close || slice_is_word(word, "close");
        head->keep_alive = head->keep_alive || slice_is_word(word, "keep-alive");
        list = slice_of(list.data + used, list.len - used);
    }
}

static bool read_framing(struct http_head *head, struct http_fault *fault)
{
    size_t lengths = 0;
    size_t codings = 0;
    size_t hosts = 0;
    bool close = false;
    head->keep_alive = head->minor > 0;
    for (size_t i = 0; i < head->field_count; i++) {
        struct slice name = head->fields[i].name;
        struct slice value = head->fields[i].value;
        if (slice_is_word(name, "Host")) {
            hosts++;
        } else if (slice_is_word(name, "Content-Length")) {
            lengths++;
            if (lengths > 1 || !read_length(value, head))
                return fail(fault, 400, "Content-Length wants one number, once") != 0;
        } else if (slice_is_word(name, "Transfer-Encoding")) {
            codings++;
            if (codings > 1 || !slice_is_word(value, "chunked"))
                return fail(fault, 400, "Transfer-Encoding may be chunked, once") != 0;
        } else if (slice_is_word(name, "Connection")) {
            read_connection(value, head, &close);
        } else if (slice_is_word(name, "Expect")) {
            if (!slice_is_word(value, "100-continue"))
                return fail(fault, 417, "Expect may be 100-continue") != 0;
            head->expects_continue = head->minor > 0;
        }
    }
    if (lengths > 0 && codings > 0)
        return fail(fault, 400, "there are Content-Length and Transfer-Encoding") != 0;
    if (codings > 0 && head->minor == 0)
        return fail(fault, 400, "HTTP/1.0 has no Transfer-Encoding") != 0;
    if (hosts > 1 || (hosts == 0 && head->minor > 0))
        return fail(fault, 400, "Host is wanted, once") != 0;
    head->chunked = codings > 0;
    head->keep_alive = head->keep_alive && !close;
    return true;
}

/* ---- the head ---- */

/* Before its end has come: what can't become one any more is not waited for. */
static size_t look_ahead(struct slice bytes, size_t skipped, struct http_fault *fault)
{
    const uint8_t *end = memchr(bytes.data + skipped, '\n', bytes.len - skipped);
    if (bytes.len > skipped && !is_token_byte(bytes.data[skipped]) &&
        !(bytes.data[skipped] == '\r' && bytes.len == skipped + 1))
        return fail(fault, 400, "this is no HTTP request");
    if (end != NULL && (end == bytes.data || end[-1] != '\r'))
        return fail(fault, 400, "a line ends without CR");
    if (bytes.len >= HTTP_HEAD_BYTES_MAX)
        return end == NULL ? fail(fault, 414, "the request's target is too long")
                           : fail(fault, 431, "the headers may have 16384 bytes");
    return 0;
}

size_t http_head_decode(struct slice bytes, struct http_head *head, struct http_fault *fault)
{
    size_t skipped = 0;
    *fault = (struct http_fault){0};
    if (bytes.len > HTTP_HEAD_BYTES_MAX)
        bytes.len = HTTP_HEAD_BYTES_MAX;
    /* 2.2: empty lines before a request. */
    while (bytes.len - skipped >= 2 && memcmp(bytes.data + skipped, line_end.data, 2) == 0)
        skipped += 2;
    const uint8_t *end = memmem(bytes.data + skipped, bytes.len - skipped, "\r\n\r\n", 4);
    if (end == NULL)
        return look_ahead(bytes, skipped, fault);
    size_t len = (size_t)(end - bytes.data) + 4;
    struct slice rest = slice_of(bytes.data + skipped, len - skipped - 2);
    head->query = (struct slice){0};
    head->length = 0;
    head->has_length = false;
    head->expects_continue = false;
    head->field_count = 0;
    if (!read_request_line(next_line(&rest), head, fault))
        return 0;
    while (rest.len > 0) {
        if (!read_field(next_line(&rest), head, fault))
            return 0;
    }
    return read_framing(head, fault) ? len : 0;
}

static struct slice copy_text(struct slice text, uint8_t **at)
{
    if (text.data == NULL)
        return text;
    struct slice copy = slice_of(*at, text.len);
    memcpy(*at, text.data, text.len);
    *at += text.len;
    return copy;
}

struct http_head *http_head_copy(const struct http_head *head)
{
    size_t len = head->method.len + head->path.len + head->query.len;
    for (size_t i = 0; i < head->field_count; i++)
        len += head->fields[i].name.len + head->fields[i].value.len;
    struct http_head *copy = memory_alloc_raw(1, sizeof *copy + len);
    uint8_t *at = (uint8_t *)(copy + 1);
    *copy = *head;
    copy->method = copy_text(head->method, &at);
    copy->path = copy_text(head->path, &at);
    copy->query = copy_text(head->query, &at);
    for (size_t i = 0; i < head->field_count; i++) {
        copy->fields[i].name = copy_text(head->fields[i].name, &at);
        copy->fields[i].value = copy_text(head->fields[i].value, &at);
    }
    return copy;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void http_percent_decode(struct slice text, bool plus, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '%' && i + 2 < text.len && hex_digit(text.data[i + 1]) >= 0 &&
            hex_digit(text.data[i + 2]) >= 0) {
            c = (uint8_t)(hex_digit(text.data[i + 1]) * 16 + hex_digit(text.data[i + 2]));
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        buf_put_u8(out, c);
    }
}

/* ---- chunks (7.1) ---- */

enum { DIGITS_MAX = 16, EXTRA_BYTES_MAX = 4 << 10 };

/* A byte of what nobody reads: extensions, trailers. */
static bool skip_extra(struct http_chunks *chunks, uint8_t c, struct http_fault *fault)
{
    if (!is_value_byte(c))
        return fail(fault, 400, "control characters between chunks") != 0;
    if (++chunks->extra_bytes > EXTRA_BYTES_MAX)
        return fail(fault, 400, "chunk extensions and trailers may have 4096 bytes") != 0;
    return true;
}

static bool take_size(struct http_chunks *chunks, uint8_t c, struct http_fault *fault)
{
    int digit = hex_digit(c);
    if (digit >= 0 && chunks->digits < DIGITS_MAX) {
        chunks->left = chunks->left * 16 + (unsigned)digit;
        chunks->digits++;
    } else if (digit >= 0 || chunks->digits == 0 || (c != ';' && c != '\r')) {
        return fail(fault, 400, "a chunk's size is no number") != 0;
    } else {
        chunks->state = c == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
    }
    return true;
}

static bool expect(struct http_chunks *chunks, uint8_t c, uint8_t wanted,
                   enum http_chunk_state next, struct http_fault *fault)
{
    if (c != wanted)
        return fail(fault, 400, "a chunk does not end where it should") != 0;
    chunks->state = next;
    return true;
}

static bool take_byte(struct http_chunks *chunks, uint8_t c, struct http_fault *fault)
{
    switch (chunks->state) {
    case CHUNK_SIZE:
        return take_size(chunks, c, fault);
    case CHUNK_EXTENSION:
        if (c != '\r')
            return skip_extra(chunks, c, fault);
        chunks->state = CHUNK_SIZE_LF;
        return true;
    case CHUNK_SIZE_LF:
        chunks->digits = 0;
        return expect(chunks, c, '\n', chunks->left > 0 ? CHUNK_DATA : CHUNK_TRAILER, fault);
    case CHUNK_DATA_CR:
        return expect(chunks, c, '\r', CHUNK_DATA_LF, fault);
    case CHUNK_DATA_LF:
        return expect(chunks, c, '\n', CHUNK_SIZE, fault);
    case CHUNK_TRAILER:
        if (c == '\r')
            return expect(chunks, c, '\r', CHUNK_LAST_LF, fault);
        if (!is_token_byte(c))
            return fail(fault, 400, "a trailer has no name") != 0;
        chunks->state = CHUNK_TRAILER_LINE;
        return skip_extra(chunks, c, fault);
    case CHUNK_TRAILER_LINE:
        if (c != '\r')
            return skip_extra(chunks, c, fault);
        chunks->state = CHUNK_TRAILER_LF;
        return true;
    case CHUNK_TRAILER_LF:
        return expect(chunks, c, '\n', CHUNK_TRAILER, fault);
    case CHUNK_LAST_LF:
        return expect(chunks, c, '\n', CHUNK_END, fault);
    case CHUNK_DATA:
    case CHUNK_END:
        break;
    }
    return true;
}

struct slice http_chunks_decode(struct http_chunks *chunks, struct slice *in,
                                struct http_fault *fault)
{
    *fault = (struct http_fault){0};
    while (in->len > 0 && chunks->state != CHUNK_END) {
        if (chunks->state == CHUNK_DATA) {
            size_t len = chunks->left < in->len ? (size_t)chunks->left : in->len;
            struct slice piece = slice_of(in->data, len);
            *in = slice_of(in->data + len, in->len - len);
            chunks->left -= len;
            if (chunks->left == 0)
                chunks->state = CHUNK_DATA_CR;
            return piece;
        }
        uint8_t c = in->data[0];
        *in = slice_of(in->data + 1, in->len - 1);
        if (!take_byte(chunks, c, fault))
            break;
    }
    return (struct slice){0};
}
