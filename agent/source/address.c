/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/source/source.h"
#include "lib/base/log.h"

union any {
    struct sockaddr plain;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un path;
};

enum { FIRST_INHERITED_FD = 3 };

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

bool source_is_address(const char *address)
{
    union any parsed;
    return parse(address, &parsed) > 0;
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

/* One past the last of the sockets that systemd handed over (sd_listen_fds(3)). */
static int inherited_end(void)
{
    const char *pid = getenv("LISTEN_PID");
    const char *count = getenv("LISTEN_FDS");
    if (pid == NULL || count == NULL || strtol(pid, NULL, 10) != (long)getpid())
        return FIRST_INHERITED_FD;
    return FIRST_INHERITED_FD + (int)strtol(count, NULL, 10);
}

static bool is_same_place(const union any *a, const union any *b, socklen_t b_size)
{
    if (a->plain.sa_family != b->plain.sa_family)
        return false;
    if (a->plain.sa_family == AF_UNIX)
        return strcmp(a->path.sun_path, b->path.sun_path) == 0;
    return b_size == (a->plain.sa_family == AF_INET6 ? sizeof a->v6 : sizeof a->v4) &&
           memcmp(a, b, b_size) == 0;
}

/* A socket that systemd opened for this address: a restart under load then refuses no
 * connection. -1: there is none. */
static int inherited(const union any *place, int type)
{
    for (int fd = FIRST_INHERITED_FD; fd < inherited_end(); fd++) {
        union any bound = {0};
        socklen_t bound_size = sizeof bound - 1; /* a path may come without its end */
        int bound_type = 0;
        socklen_t type_size = sizeof bound_type;
        if (getsockname(fd, &bound.plain, &bound_size) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_TYPE, &bound_type, &type_size) < 0 ||
            bound_type != type || !is_same_place(place, &bound, bound_size))
            continue;
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        return fd;
    }
    return -1;
}

int source_inherited_path(const char *path, int type)
{
    union any place = {.path.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof place.path.sun_path)
        return -1;
    memcpy(place.path.sun_path, path, strlen(path));
    return inherited(&place, type);
}

void source_name_unused(void)
{
    for (int fd = FIRST_INHERITED_FD; fd < inherited_end(); fd++) {
        union any bound = {0};
        socklen_t size = sizeof bound - 1;
        char address[SOURCE_ADDRESS_MAX] = "";
        /* One that was taken is closed on exec by now. */
        if ((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0 || getsockname(fd, &bound.plain, &size) < 0)
            continue;
        if (bound.plain.sa_family == AF_UNIX)
            snprintf(address, sizeof address, "%s", bound.path.sun_path);
        else
            describe(fd, address);
        log_event(LOG_LEVEL_WARN, "source",
                  "systemd listens for this agent where the configuration has no door: who "
                  "connects there waits for nothing (systemctl edit bidlake-agent.socket)",
                  "address=%s", address);
    }
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
    *fd = inherited(&place, SOCK_STREAM);
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
