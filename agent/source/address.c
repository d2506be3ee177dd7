/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/source/source.h"

union any {
    struct sockaddr plain;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* The socket address and its size; 0 for what is none. */
static socklen_t parse(const char *address, union any *out)
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
    *out = (union any){0};
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

static void describe(int fd, char out[SOURCE_ADDRESS_MAX])
{
    union any place = {0};
    socklen_t size = sizeof place;
    char host[INET6_ADDRSTRLEN] = "";
    out[0] = 0;
    if (getsockname(fd, &place.plain, &size) < 0)
        return;
    bool v6 = place.plain.sa_family == AF_INET6;
    const void *bytes = v6 ? (const void *)&place.v6.sin6_addr : &place.v4.sin_addr;
    uint16_t port = ntohs(v6 ? place.v6.sin6_port : place.v4.sin_port);
    if (inet_ntop(place.plain.sa_family, bytes, host, sizeof host) != NULL)
        snprintf(out, SOURCE_ADDRESS_MAX, v6 ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
}

/* A socket that systemd opened for this address (sd_listen_fds(3)): a restart under load
 * then refuses no connection. -1: there is none. */
static int inherited(const union any *place, socklen_t size)
{
    enum { FIRST_FD = 3 };
    const char *pid = getenv("LISTEN_PID");
    const char *count = getenv("LISTEN_FDS");
    if (pid == NULL || count == NULL || strtol(pid, NULL, 10) != (long)getpid())
        return -1;
    for (int fd = FIRST_FD; fd < FIRST_FD + (int)strtol(count, NULL, 10); fd++) {
        union any bound = {0};
        socklen_t bound_size = sizeof bound;
        if (getsockname(fd, &bound.plain, &bound_size) < 0 || bound_size != size ||
            memcmp(&bound, place, size) != 0)
            continue;
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        return fd;
    }
    return -1;
}

int source_listen(const char *address, int backlog, int *fd, char bound[SOURCE_ADDRESS_MAX],
                  struct error *err)
{
    union any place;
    socklen_t size = parse(address, &place);
    int on = 1;
    if (size == 0)
        return error_set(err, ERROR_INPUT,
                         "%s is no address; one looks like 127.0.0.1:7180 or [::1]:7180", address);
    *fd = inherited(&place, size);
    if (*fd >= 0) {
        describe(*fd, bound);
        return OK;
    }
    *fd = socket(place.plain.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return error_errno(err, "socket");
    if (setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(*fd, &place.plain, size) == 0 && listen(*fd, backlog) == 0) {
        describe(*fd, bound);
        return OK;
    }
    int rc = error_errno(err, "listen");
    close(*fd);
    *fd = -1;
    return rc == OK ? OK : error_wrap(err, "%s", address);
}
