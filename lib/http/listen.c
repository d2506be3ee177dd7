/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/http/http.h"

socklen_t http_place_parse(const char *address, union http_place *out)
{
    const char *colon = strrchr(address, ':');
    char host[INET6_ADDRSTRLEN + 2];
    char *end = NULL;
    if (colon == NULL || (size_t)(colon - address) >= sizeof host)
        return 0;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end != 0 || port > UINT16_MAX)
        return 0;
    size_t len = (size_t)(colon - address);
    memcpy(host, address, len);
    host[len] = 0;
    *out = (union http_place){0};
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = 0;
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons((uint16_t)port);
        return inet_pton(AF_INET6, host + 1, &out->v6.sin6_addr) == 1 ? sizeof out->v6 : 0;
    }
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &out->v4.sin_addr) == 1 ? sizeof out->v4 : 0;
}

void http_place_of(int fd, char out[HTTP_PLACE_MAX])
{
    union http_place place = {0};
    socklen_t size = sizeof place;
    char host[INET6_ADDRSTRLEN] = "";
    out[0] = 0;
    if (getsockname(fd, &place.plain, &size) < 0)
        return;
    bool v6 = place.plain.sa_family == AF_INET6;
    const void *bytes = v6 ? (const void *)&place.v6.sin6_addr : &place.v4.sin_addr;
    uint16_t port = ntohs(v6 ? place.v6.sin6_port : place.v4.sin_port);
    if (inet_ntop(place.plain.sa_family, bytes, host, sizeof host) != NULL)
        snprintf(out, HTTP_PLACE_MAX, v6 ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
}

enum share { ALONE, FIRST, MORE };

/* Set behind the first's bind: before it, it would join whoever shares the address. */
static bool bind_as(int fd, const union http_place *place, socklen_t size, enum share share)
{
    int on = 1;
    if (share == MORE && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return false;
    if (bind(fd, &place->plain, size) < 0)
        return false;
    return share != FIRST || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0;
}

static int listen_as(const char *address, int backlog, enum share share, int *fd, struct error *err)
{
    union http_place place;
    socklen_t size = http_place_parse(address, &place);
    int on = 1;
    *fd = -1;
    if (size == 0)
        return error_set(err, ERROR_INPUT,
                         "no address; one looks like 127.0.0.1:7180 or [::1]:7180");
    int made = socket(place.plain.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made < 0)
        return error_errno(err, "socket");
    if (setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        !bind_as(made, &place, size, share) || listen(made, backlog) < 0) {
        int rc = error_errno(err, "listen");
        close(made);
        return rc;
    }
    *fd = made;
    return OK;
}

int http_listen(const char *address, int backlog, int *fd, struct error *err)
{
    return listen_as(address, backlog, ALONE, fd, err);
}

int http_listen_shared(const char *address, int backlog, bool first, int *fd, struct error *err)
{
    return listen_as(address, backlog, first ? FIRST : MORE, fd, err);
}
