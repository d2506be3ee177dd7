/* SPDX-License-Identifier: Apache-2.0
 *
 * http_client.h: one HTTP request and its answer, over libcurl.
 *
 * A call sends one request and waits for the whole answer. Nothing is sent twice and no
 * redirect is followed: what to do next is the caller's decision. Any status is an answer (OK);
 * an error means that there is none, and `sent` then says whether the server may have acted:
 *
 *   ERROR_RETRY   no name, no connection, cut, too slow, a head of more than 64 KiB, given up
 *                 since the client is to stop
 *   ERROR_LIMIT   a success's body is longer than the caller takes
 *   ERROR_INPUT   the URL is none, or no http(s)
 *   ERROR_DENIED  the server's certificate is not to be trusted
 *   others        what the body's `read` returned
 *
 * Ownership  all that stands in a call is borrowed until it returns. An answer is the caller's.
 * Threads    any number may use one client: each call under way has a connection of its own,
 *            which the next call takes over.
 * Secrets    no text of an error holds a header or what stands behind '?' of a URL.
 */
#ifndef LIB_HTTP_CLIENT_HTTP_CLIENT_H
#define LIB_HTTP_CLIENT_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

struct http_client;

struct http_client_options {
    const char *user_agent; /* NULL: "bidlake/<version>" */
    const char *ca_file;    /* NULL: the system's authorities (SSL_CERT_FILE is obeyed) */
    const char *proxy;      /* NULL: as http_proxy, https_proxy and no_proxy say; "": none */
    int64_t connect_ms;     /* 0: 10 s: name, connection and TLS together */
    int64_t stall_ms;       /* 0: 60 s: without any byte in either direction */
    /* 0: 15 min: what an answer may take from its first byte on, and a second more for each KiB.
     * Stores send blanks for minutes before they say what became of a large object. */
    int64_t answer_ms;
    /* Asked a few times a second, by any thread; true for a while, or for good: then a call ends
     * that moves less than 16 KiB a second for stop_ms (0: 5 s; a second, once that was in vain for
     * a call of this client): who stops waits for what is about to be answered, for no more. NULL:
     * never. */
    bool (*stop)(void *context);
    void *stop_context;
    int64_t stop_ms;
};

/* A body that is read while it is sent, from anywhere and maybe more than once (libcurl rewinds
 * where a proxy asks for a sign-in). */
struct http_client_source {
    uint64_t size;
    /* Up to *len bytes from `offset` on; fewer only at the end. An error ends the call with it. */
    int (*read)(void *context, uint64_t offset, void *to, size_t *len, struct error *err);
    void *context;
    /* Of one call, which all go out before the next one; 0: whatever suits. A `read` that takes
     * its time does so before each piece: servers hang up on senders that are silent for long. */
    size_t piece_bytes_max;
};

struct http_call {
    const char *method; /* "GET", "HEAD", "PUT", "POST", "DELETE" */
    const char *url;
    const char *const *fields; /* "Name: value"; "Name;" for an empty one */
    size_t field_count;
    struct slice body;                       /* of POST and PUT, or */
    const struct http_client_source *source; /* this, if not NULL */
    /* Of its body; 0: 1 MiB. Of a status from 300 on what is longer than this, or than 256 KiB,
     * is cut off: a page that has no end is not to fill a memory that waits for a large table, nor
     * to hide the status that it comes with. */
    size_t answer_bytes_max;
    /* Of the whole call, also in silence for longer than stall_ms; 0: none but the client's two. */
    int64_t timeout_ms;
    /* On a connection of its own. libcurl sends a request again, unseen, when a connection that
     * was used before turns out dead: where that would be wrong, this must be set. */
    bool fresh;
    bool no_proxy; /* link-local addresses: never by a proxy */
};

struct http_reply {
    bool sent; /* at least a byte of the request may have reached the server */
    int status;
    struct buf body;
    struct buf head; /* "name: value\n", names in lower case, of the last answer's head alone */
};

int http_client_open(struct http_client **out, const struct http_client_options *options,
                     struct error *err) MUST_USE;
void http_client_close(struct http_client *client); /* no call is under way */

/* `reply` is emptied first (all zero the first time); it is to be freed also after an error. */
int http_client_call(struct http_client *client, const struct http_call *call,
                     struct http_reply *reply, struct error *err) MUST_USE;
void http_reply_free(struct http_reply *reply);
void http_reply_wipe(struct http_reply *reply); /* overwrites secrets, frees */

/* The first field of that name (in lower case), into the reply's bytes; data NULL: none. */
struct slice http_reply_field(const struct http_reply *reply, const char *name);
/* Date as epoch ms; 0: none that reads. */
int64_t http_reply_date_ms(const struct http_reply *reply);
/* The same of another field that holds a date, as "last-modified". */
int64_t http_reply_time_ms(const struct http_reply *reply, const char *name);
/* Retry-After, seconds or a date, as a span of at most an hour; -1: none. A date counts from the
 * answer's own Date, since our clock may be off; where it has none, from `now_ms`. */
int64_t http_reply_retry_after_ms(const struct http_reply *reply, int64_t now_ms);

/* Appends the Host that goes out with a request to `url`, for those who sign it: libcurl writes
 * addresses in their own form ("127.1", "[0:0::1]"), ports without zeros, and none that is the
 * scheme's own. ERROR_INPUT: the URL is none. */
int http_client_host(const char *url, struct buf *out, struct error *err) MUST_USE;

/* Percent-encoded but for A-Z a-z 0-9 - . _ ~ and, with `slashes`, '/'. */
void http_client_encode(struct slice text, bool slashes, struct buf *out);

#endif
