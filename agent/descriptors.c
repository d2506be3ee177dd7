/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/descriptors.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "agent/operations.h"
#include "lib/base/log.h"
#include "lib/http/http.h"

enum {
    REST_FILES = 128, /* spool, segments, uploads, the catalog of a table */
    TAIL_FILES = 16,  /* of a pattern: its readers, watches, pipes */
    CONNECTIONS_MIN = 4,
};

/* What `connections` at each listener take at most. */
static uint64_t files_of(const struct agent_config *config, uint64_t connections)
{
    uint64_t files = REST_FILES;
    if (config->operations[0] != 0)
        files += http_descriptors_max(OPERATIONS_CONNECTIONS_MAX);
    for (size_t i = 0; i < config->listener_count; i++) {
        const char *kind = config->listeners[i].kind;
        if (strcmp(kind, "http") == 0)
            files +=
                agent_listener_threads(&config->listeners[i]) * http_descriptors_max(connections);
        else if (strcmp(kind, "unix") == 0)
            files += connections + 1;
        else
            files += TAIL_FILES;
    }
    return files;
}

unsigned descriptors_share(const struct agent_config *config, uint64_t files_max)
{
    uint64_t wanted = (uint64_t)config->http_connections;
    uint64_t fits = 0;
    uint64_t beyond = wanted + 1;
    while (fits + 1 < beyond) {
        uint64_t middle = fits + (beyond - fits) / 2;
        if (files_of(config, middle) <= files_max)
            fits = middle;
        else
            beyond = middle;
    }
    if (fits < wanted) {
        fits = fits > CONNECTIONS_MIN ? fits : CONNECTIONS_MIN;
        fits = fits < wanted ? fits : wanted;
        log_event(LOG_LEVEL_WARN, "daemon",
                  "the limit of open files is too low for http.connections",
                  "limit=%llu wanted=%llu connections=%llu", (unsigned long long)files_max,
                  (unsigned long long)files_of(config, wanted), (unsigned long long)fits);
    }
    return (unsigned)fits;
}

uint64_t descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return UINT64_MAX;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (before == limit.rlim_max || setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return limit.rlim_max;
    log_event(LOG_LEVEL_WARN, "daemon", "the limit of open files stays", "error=\"%s\"",
              strerror(errno));
    return before;
}

unsigned descriptors_share_again(const struct agent_config *started,
                                 const struct agent_config *reloaded)
{
    struct agent_config config = *started;
    config.http_connections = reloaded->http_connections;
    return descriptors_share(&config, descriptors_raise());
}
