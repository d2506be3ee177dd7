/* SPDX-License-Identifier: Apache-2.0
 *
 * The wire of a test's own HTTP server on the loopback: a port of its own, one request whole, an
 * answer whole. What it answers is the test's.
 */
#ifndef TESTS_UNIT_LOOPBACK_H
#define TESTS_UNIT_LOOPBACK_H

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/buf.h"

enum { LOOPBACK_REQUEST_MAX = 32 << 20 };

/* A socket that listens on a free port of 127.0.0.1. */
static inline int loopback_listen(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* One request: its head, and as many bytes as that says, with a NUL behind them that isn't counted.
 * What `heard` held goes. False: the peer closed. */
static inline bool loopback_hear(int fd, struct buf *heard)
{
    char bytes[65536];
    buf_reset(heard);
    heard->max = LOOPBACK_REQUEST_MAX;
    for (;;) {
        const char *head = buf_cstr(heard);
        const char *end = strstr(head, "\r\n\r\n");
        if (end != NULL) {
            const char *field = strstr(head, "\r\nContent-Length: ");
            size_t body = field != NULL && field < end ? strtoul(field + 18, NULL, 10) : 0;
            if (heard->len - (size_t)(end + 4 - head) >= body)
                return true;
        }
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n <= 0)
            return false;
        buf_put(heard, bytes, (size_t)n);
    }
}

/* All of it, unless the peer has gone: then that is what it wants to see. */
static inline void loopback_send(int fd, struct slice bytes)
{
    for (size_t sent = 0; sent < bytes.len;) {
        ssize_t n = send(fd, bytes.data + sent, bytes.len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        sent += (size_t)n;
    }
}

#endif
