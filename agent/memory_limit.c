/* SPDX-License-Identifier: Apache-2.0
 *
 * /proc/self/cgroup names the groups, a line each: "0::/PATH" of version 2, "N:memory,...:/PATH"
 * of version 1 (cgroups(7)). A group's own limit may be above that of one it lies in. In a
 * container the path can be the host's while the files begin at the container's group: what
 * isn't there is passed over, and the top is looked at in any case.
 */
#include "agent/memory_limit.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { FILE_BYTES_MAX = 64 << 10 };

/* Of a file with one number; UINT64_MAX: it isn't there, or says "max". */
static uint64_t number_read(const char *path)
{
    struct buf text = {0};
    struct error ignored;
    uint64_t number = UINT64_MAX;
    if (file_read(path, FILE_BYTES_MAX, &text, &ignored) == OK) {
        const char *digits = buf_cstr(&text);
        char *end = NULL;
        unsigned long long value = strtoull(digits, &end, 10);
        if (end != digits && *digits >= '0' && *digits <= '9')
            number = value;
    }
    buf_free(&text);
    return number;
}

/* The lowest of a group and all that it lies in. */
static uint64_t groups_read(const char *root, const char *mount, const char *group,
                            const char *file)
{
    char *path = memory_copy_cstr(group);
    uint64_t lowest = UINT64_MAX;
    for (;;) {
        size_t len = strlen(path);
        while (len > 0 && path[len - 1] == '/')
            path[--len] = 0;
        char *name = memory_printf("%s%s%s/%s", root, mount, path, file);
        uint64_t number = number_read(name);
        free(name);
        lowest = number < lowest ? number : lowest;
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            break;
        *slash = 0;
    }
    free(path);
    return lowest;
}

static bool lists_memory(const char *controllers)
{
    for (const char *at = controllers; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        size_t len = strcspn(at, ",");
        if (len == strlen("memory") && strncmp(at, "memory", len) == 0)
            return true;
    }
    return false;
}

/* A line of /proc/self/cgroup, which is taken apart. */
static uint64_t line_read(const char *root, char *line)
{
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL)
        return UINT64_MAX;
    *controllers++ = 0;
    *group++ = 0;
    if (*controllers == 0) {
        /* Above `high` all is taken back that can be, file cache first. */
        uint64_t max = groups_read(root, "/sys/fs/cgroup", group, "memory.max");
        uint64_t high = groups_read(root, "/sys/fs/cgroup", group, "memory.high");
        return high < max ? high : max;
    }
    if (lists_memory(controllers))
        return groups_read(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
    return UINT64_MAX;
}

uint64_t memory_limit_read(const char *root)
{
    struct buf text = {0};
    struct error ignored;
    long pages = sysconf(_SC_PHYS_PAGES);
    uint64_t lowest = pages > 0 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : UINT64_MAX;
    char *path = memory_printf("%s/proc/self/cgroup", root);
    if (file_read(path, FILE_BYTES_MAX, &text, &ignored) == OK) {
        char *lines = memory_copy_cstr(buf_cstr(&text));
        char *rest = NULL;
        for (char *line = strtok_r(lines, "\n", &rest); line != NULL;
             line = strtok_r(NULL, "\n", &rest)) {
            uint64_t limit = line_read(root, line);
            lowest = limit < lowest ? limit : lowest;
        }
        free(lines);
    }
    free(path);
    buf_free(&text);
    return lowest;
}

uint64_t memory_limit_cache(const struct agent_config *config, uint64_t limit)
{
    uint64_t own = config->memory_max > 0 ? (uint64_t)config->memory_max : limit / 2;
    return limit > own ? limit - own : 0;
}

static uint64_t segment_room(const struct agent_config *config, uint64_t limit)
{
    return memory_limit_cache(config, limit) / MEMORY_LIMIT_PARTS * MEMORY_LIMIT_SEGMENT_PARTS;
}

uint64_t memory_limit_roll_bytes(const struct agent_config *config, uint64_t limit)
{
    uint64_t wanted = (uint64_t)config->roll_bytes;
    uint64_t room = segment_room(config, limit);
    if (room < MEMORY_LIMIT_ROLL_MIN)
        room = MEMORY_LIMIT_ROLL_MIN;
    return wanted < room ? wanted : room;
}

uint64_t memory_limit_roll_bytes_now(const struct agent_config *config)
{
    uint64_t limit = memory_limit_read("");
    uint64_t bytes = memory_limit_roll_bytes(config, limit);
    uint64_t cache = memory_limit_cache(config, limit);
    if (bytes > segment_room(config, limit))
        log_event(LOG_LEVEL_WARN, "roller",
                  "the memory limit leaves the file cache too little for a segment: raise the "
                  "limit, or lower memory.max; until then delivery may stand still",
                  "limit=%llu cache=%llu segment_bytes=%llu", (unsigned long long)limit,
                  (unsigned long long)cache, (unsigned long long)bytes);
    else if (bytes < (uint64_t)config->roll_bytes)
        log_event(LOG_LEVEL_INFO, "roller",
                  "segments are sealed before roll.bytes: the memory limit leaves the file cache "
                  "no more",
                  "limit=%llu cache=%llu roll_bytes=%llu segment_bytes=%llu",
                  (unsigned long long)limit, (unsigned long long)cache,
                  (unsigned long long)config->roll_bytes, (unsigned long long)bytes);
    return bytes;
}
