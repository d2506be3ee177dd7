/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/source/source.h"
#include "lib/base/log.h"
#include "lib/http/http.h"

union any {
    struct sockaddr plain;
    union http_place tcp;
    struct sockaddr_un path;
};

enum { FIRST_INHERITED_FD = 3 };

bool source_is_address(const char *address)
{
    union http_place parsed;
    return http_place_parse(address, &parsed) > 0;
}

/* 0.0.0.0 and [::]: any of the machine's. */
static bool is_any(const union http_place *place)
{
    if (place->plain.sa_family == AF_INET6)
        return memcmp(&place->v6.sin6_addr, &in6addr_any, sizeof in6addr_any) == 0;
    return place->v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

bool source_is_same_address(const char *one, const char *other)
{
    union http_place a;
    union http_place b;
    if (http_place_parse(one, &a) == 0 || http_place_parse(other, &b) == 0 ||
        a.plain.sa_family != b.plain.sa_family)
        return false;
    bool v6 = a.plain.sa_family == AF_INET6;
    in_port_t port = v6 ? a.v6.sin6_port : a.v4.sin_port;
    if (port == 0 || port != (v6 ? b.v6.sin6_port : b.v4.sin_port))
        return false;
    bool same = v6 ? memcmp(&a.v6.sin6_addr, &b.v6.sin6_addr, sizeof a.v6.sin6_addr) == 0
                   : a.v4.sin_addr.s_addr == b.v4.sin_addr.s_addr;
    return same || is_any(&a) || is_any(&b);
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
    return b_size == (a->plain.sa_family == AF_INET6 ? sizeof a->tcp.v6 : sizeof a->tcp.v4) &&
           memcmp(a, b, b_size) == 0;
}

/* One that a source took is closed on exec; they come without that. */
static bool is_taken(int fd)
{
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

/* Whether the socket is one of this kind for this address; `type` 0: of any kind. */
static bool is_bound_to(int fd, const union any *place, int type)
{
    union any bound = {0};
    socklen_t bound_size = sizeof bound - 1; /* a path may come without its end */
    int bound_type = 0;
    socklen_t type_size = sizeof bound_type;
    return getsockname(fd, &bound.plain, &bound_size) == 0 &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &bound_type, &type_size) == 0 &&
           (type == 0 || bound_type == type) && is_same_place(place, &bound, bound_size);
}

/* A socket that systemd opened for this address: a restart under load then refuses no
 * connection. Of two for one path the last: systemd has put it in the other's place, which
 * nobody finds any more. -1: there is none. */
static int inherited(const union any *place, int type)
{
    int fd = inherited_end() - 1;
    while (fd >= FIRST_INHERITED_FD && (is_taken(fd) || !is_bound_to(fd, place, type)))
        fd--;
    if (fd < FIRST_INHERITED_FD)
        return -1;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

/* The one that the first of those who share it has taken, once more: they have one queue then. */
static int inherited_again(const union any *place)
{
    for (int fd = FIRST_INHERITED_FD; fd < inherited_end(); fd++) {
        if (is_taken(fd) && is_bound_to(fd, place, SOCK_STREAM))
            return fcntl(fd, F_DUPFD_CLOEXEC, inherited_end());
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

static bool is_twice(const union any *place)
{
    for (int fd = FIRST_INHERITED_FD; fd < inherited_end(); fd++) {
        if (is_taken(fd) && is_bound_to(fd, place, 0))
            return true;
    }
    return false;
}

void source_name_unused(void)
{
    for (int fd = FIRST_INHERITED_FD; fd < inherited_end(); fd++) {
        union any bound = {0};
        socklen_t size = sizeof bound - 1;
        char address[SOURCE_ADDRESS_MAX] = "";
        if (is_taken(fd) || getsockname(fd, &bound.plain, &size) < 0)
            continue;
        if (bound.plain.sa_family == AF_UNIX)
            snprintf(address, sizeof address, "%s", bound.path.sun_path);
        else
            http_place_of(fd, address);
        log_event(LOG_LEVEL_WARN, "source",
                  is_twice(&bound)
                      ? "systemd opened this door twice, the last one is served: a drop-in's "
                        "ListenStream= adds to the list (systemctl cat bidlake-agent.socket)"
                      : "systemd listens for this agent where the configuration has no door: who "
                        "connects there waits for nothing (systemctl edit bidlake-agent.socket)",
                  "address=%s", address);
    }
}

static in_port_t port_of(const union any *place)
{
    return place->plain.sa_family == AF_INET6 ? place->tcp.v6.sin6_port : place->tcp.v4.sin_port;
}

/* The port is taken: perhaps by a socket of systemd's for this agent, at another address. */
static int name_holder(const union any *place, struct error *err)
{
    for (int fd = FIRST_INHERITED_FD; fd < inherited_end(); fd++) {
        union any bound = {0};
        socklen_t size = sizeof bound;
        char held[SOURCE_ADDRESS_MAX];
        if (is_taken(fd) || getsockname(fd, &bound.plain, &size) < 0 ||
            bound.plain.sa_family == AF_UNIX || port_of(place) != port_of(&bound))
            continue;
        http_place_of(fd, held);
        return error_set(err, ERROR_INPUT,
                         "systemd holds %s for this agent: give the door and "
                         "bidlake-agent.socket the same address",
                         held);
    }
    return err->code;
}

int source_listen(const char *address, int backlog, enum source_share share, int *fd,
                  char bound[SOURCE_ADDRESS_MAX], struct error *err)
{
    union any place = {0};
    int rc = OK;
    *fd = -1;
    if (http_place_parse(address, &place.tcp) > 0)
        *fd = share == SOURCE_SHARES ? inherited_again(&place) : inherited(&place, SOCK_STREAM);
    if (*fd < 0 && share == SOURCE_ALONE)
        rc = http_listen(address, backlog, fd, err);
    else if (*fd < 0)
        rc = http_listen_shared(address, backlog, share == SOURCE_SHARES_FIRST, fd, err);
    if (rc == OK)
        http_place_of(*fd, bound);
    else if (err->cause == EADDRINUSE)
        rc = name_holder(&place, err);
    return rc == OK ? OK : error_wrap(err, "%s", address);
}
