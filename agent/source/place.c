/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/place.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int place_address(const char *path, struct sockaddr_un *out, struct error *err)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof out->sun_path)
        return error_set(err, ERROR_INPUT, "a socket's path has %zu bytes at most",
                         sizeof out->sun_path - 1);
    memcpy(out->sun_path, path, strlen(path));
    return OK;
}

static int check_file(const char *path, bool *there, struct error *err)
{
    struct stat status;
    *there = lstat(path, &status) == 0;
    if (!*there)
        return errno == ENOENT ? OK : error_errno(err, "stat");
    return S_ISSOCK(status.st_mode)
               ? OK
               : error_set(err, ERROR_INPUT, "there is a file that is no socket");
}

int place_clear(const struct sockaddr_un *address, int type, struct error *err)
{
    bool there = false;
    int rc = check_file(address->sun_path, &there, err);
    if (rc != OK || !there)
        return rc;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(err, "socket");
    /* Somebody who is too busy to answer (EAGAIN), or of another kind, listens, too. */
    bool dead =
        connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno == ECONNREFUSED;
    close(fd);
    if (!dead)
        return error_set(err, ERROR_CONFLICT, "somebody listens there already");
    return unlink(address->sun_path) == 0
               ? OK
               : error_errno(err, "a dead socket that is not ours to remove: do it by hand");
}

/* -1 where none is named. */
static int find_owner(const char *owner, const char *group, uid_t *user_id, gid_t *group_id,
                      struct error *err)
{
    *user_id = (uid_t)-1;
    *group_id = (gid_t)-1;
    if (owner[0] != 0) {
        const struct passwd *user = getpwnam(owner);
        if (user == NULL)
            return error_set(err, ERROR_INPUT, "there is no user %s", owner);
        *user_id = user->pw_uid;
    }
    if (group[0] != 0) {
        const struct group *members = getgrnam(group);
        if (members == NULL)
            return error_set(err, ERROR_INPUT, "there is no group %s", group);
        *group_id = members->gr_gid;
    }
    return OK;
}

int place_give(const struct source_options *options, struct error *err)
{
    uid_t user = 0;
    gid_t group = 0;
    int rc = find_owner(options->owner, options->group, &user, &group, err);
    if (rc != OK)
        return rc;
    if ((user != (uid_t)-1 || group != (gid_t)-1) && chown(options->address, user, group) < 0)
        return error_errno(err, "chown");
    if (options->mode[0] != 0 &&
        chmod(options->address, (mode_t)strtoul(options->mode, NULL, 8)) < 0)
        return error_errno(err, "chmod");
    return OK;
}

/* Below /run it may be made at the start (RuntimeDirectory= of systemd), so only that tells. */
static int check_directory(const struct sockaddr_un *address, struct error *err)
{
    static const char volatile_directory[] = "/run/";
    struct sockaddr_un parent = *address;
    char *end = strrchr(parent.sun_path, '/');
    struct stat status;
    if (end == NULL || end == parent.sun_path ||
        strncmp(parent.sun_path, volatile_directory, sizeof volatile_directory - 1) == 0)
        return OK;
    *end = 0;
    bool there = stat(parent.sun_path, &status) == 0;
    if (!there && errno != ENOENT && errno != ENOTDIR)
        return OK; /* others than this user may see it */
    return there && S_ISDIR(status.st_mode)
               ? OK
               : error_set(err, ERROR_INPUT, "there is no directory %s", parent.sun_path);
}

int source_check_path(const char *path, const char *owner, const char *group, struct error *err)
{
    struct sockaddr_un address;
    bool there = false;
    uid_t user = 0;
    gid_t group_id = 0;
    int rc = place_address(path, &address, err);
    if (rc == OK)
        rc = check_directory(&address, err);
    if (rc == OK && check_file(path, &there, err) == ERROR_INPUT)
        rc = ERROR_INPUT;
    if (rc == OK)
        rc = find_owner(owner, group, &user, &group_id, err);
    return rc == OK ? OK : error_wrap(err, "%s", path);
}
