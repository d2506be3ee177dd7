/* SPDX-License-Identifier: Apache-2.0
 *
 * head.h: from bytes to a request's head and out of chunks: pure, fuzzed. Private to lib/http.
 */
#ifndef LIB_HTTP_HEAD_H
#define LIB_HTTP_HEAD_H

#include "lib/http/http.h"

/* Why a request is refused; the connection ends with it. */
struct http_fault {
    unsigned status; /* 0: none */
    const char *text;
};

/* The bytes that the head takes, empty lines before it too; 0: more are needed, or *fault is
 * set. Takes no more than HTTP_HEAD_BYTES_MAX. */
size_t http_head_decode(struct slice bytes, struct http_head *head, struct http_fault *fault);

enum http_chunk_state {
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER,
    CHUNK_TRAILER_LINE,
    CHUNK_TRAILER_LF,
    CHUNK_LAST_LF,
    CHUNK_END,
};

/* All zero at a body's begin. */
struct http_chunks {
    enum http_chunk_state state;
    unsigned digits;
    uint32_t extra_bytes; /* extensions and trailers, which nobody reads */
    uint64_t left;
};

/* Takes from *in up to the next piece of data, which lies in it; an empty piece: all of *in was
 * taken, the body is at its end (state CHUNK_END), or *fault is set. */
struct slice http_chunks_decode(struct http_chunks *chunks, struct slice *in,
                                struct http_fault *fault);

#endif
