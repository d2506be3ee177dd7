/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"

/* Of `path` itself or the nearest above it; false: even "/" does not answer. */
static bool nearest(const char *path, struct stat *out)
{
    char *at = memory_printf("%s", path);
    bool found = stat(at, out) == 0;
    while (!found && (errno == ENOENT || errno == ENOTDIR)) {
        char *slash = strrchr(at, '/');
        if (slash == NULL || strcmp(at, "/") == 0) {
            found = stat(slash == NULL ? "." : "/", out) == 0;
            break;
        }
        slash[slash == at ? 1 : 0] = 0;
        found = stat(at, out) == 0;
    }
    free(at);
    return found;
}

int owner_become(const char *path, struct error *err)
{
    struct stat status;
    if (geteuid() != 0 || !nearest(path, &status) || status.st_uid == 0)
        return OK;
    const struct passwd *user = getpwuid(status.st_uid);
    gid_t group = user != NULL ? user->pw_gid : status.st_gid;
    int failed = user != NULL ? initgroups(user->pw_name, group) : setgroups(1, &group);
    if (failed != 0 || setresgid(group, group, group) != 0 ||
        setresuid(status.st_uid, status.st_uid, status.st_uid) != 0) {
        int rc = error_errno(err, "become its owner");
        return rc == OK ? OK : error_wrap(err, "%s", path);
    }
    log_event(LOG_LEVEL_INFO, "owner", "goes on as the owner of its files, not as root",
              "path=%s user=%s", path, user != NULL ? user->pw_name : "?");
    return OK;
}
