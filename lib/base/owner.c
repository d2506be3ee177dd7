/* SPDX-License-Identifier: Apache-2.0
 *
 * Whoever owns a folder can put a link in the place of what lies in it, at any moment. So the
 * way is walked from the top, name after name, and links are followed only where they are
 * root's: the first owner on the way who is not root has all that comes behind in his hand,
 * and there root acts as he, wherever his links lead. */
#include "lib/base/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { LINKS_MAX = 40 };

struct walk {
    int at;     /* the folder that was reached; all on the way to it is root's */
    char *rest; /* what is still to be walked */
    unsigned links;
};

/* A link of root's: the way goes on where it leads. Takes nothing of `name`. */
static int follow(struct walk *walk, const char *name, struct error *err)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(walk->at, name, target, sizeof target);
    if (len < 0)
        return error_errno(err, "readlink");
    if (++walk->links > LINKS_MAX) {
        errno = ELOOP;
        return error_errno(err, "readlink");
    }
    char *rest = memory_printf("%.*s/%s", (int)len, target, walk->rest);
    free(walk->rest);
    walk->rest = rest;
    if (target[0] != '/')
        return OK;
    close(walk->at);
    walk->at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return walk->at >= 0 ? OK : error_errno(err, "open /");
}

/* One name further. `out` is what has it, st_uid 0 where nothing has; *end: nothing is left. */
static int step(struct walk *walk, struct stat *out, bool *end, struct error *err)
{
    char *name = walk->rest + strspn(walk->rest, "/");
    size_t len = strcspn(name, "/");
    out->st_uid = 0;
    *end = len == 0;
    if (*end)
        return OK;
    char *here = memory_copy_slice(slice_of(name, len));
    char *rest = memory_copy_cstr(name + len);
    free(walk->rest);
    walk->rest = rest;
    int rc = OK;
    int next = openat(walk->at, here, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0) {
        *end = errno == ENOENT || errno == ENOTDIR;
        rc = *end ? OK : error_errno(err, "open");
    } else if (fstat(next, out) < 0) {
        rc = error_errno(err, "stat");
    } else if (out->st_uid == 0 && S_ISLNK(out->st_mode)) {
        rc = follow(walk, here, err);
    } else {
        close(walk->at);
        walk->at = next;
        next = -1;
    }
    if (next >= 0)
        close(next);
    free(here);
    return rc;
}

/* The first on the way to `path` that is not root's; st_uid 0: there is none. */
static int find_master(const char *path, struct stat *out, struct error *err)
{
    char folder[PATH_MAX] = "";
    if (path[0] != '/' && getcwd(folder, sizeof folder) == NULL)
        return error_errno(err, "getcwd");
    struct walk walk = {.at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC),
                        .rest = memory_printf("%s/%s", folder, path)};
    int rc = walk.at >= 0 ? OK : error_errno(err, "open /");
    bool end = false;
    *out = (struct stat){0};
    while (rc == OK && !end && out->st_uid == 0)
        rc = step(&walk, out, &end, err);
    if (walk.at >= 0)
        close(walk.at);
    free(walk.rest);
    return rc;
}

/* Not root's group either, where the owner has no entry that names his. */
static int become(const struct stat *master, const struct passwd *user, struct error *err)
{
    gid_t group = user != NULL          ? user->pw_gid
                  : master->st_gid != 0 ? master->st_gid
                                        : (gid_t)master->st_uid;
    int failed = user != NULL ? initgroups(user->pw_name, group) : setgroups(0, NULL);
    if (failed != 0 || setresgid(group, group, group) != 0 ||
        setresuid(master->st_uid, master->st_uid, master->st_uid) != 0)
        return error_errno(err, "become its owner");
    /* What programs look for at home is his then, or it is refused to him. */
    if (user != NULL && setenv("HOME", user->pw_dir, 1) != 0)
        return error_errno(err, "become its owner");
    return OK;
}

int owner_become(const char *path, struct error *err)
{
    struct stat master;
    struct stat status;
    if (geteuid() != 0)
        return OK;
    int rc = find_master(path, &master, err);
    if (rc != OK)
        return error_wrap(err, "%s", path);
    if (master.st_uid == 0)
        return OK;
    /* What is another's in there he could not open, and as the other we could be led astray. */
    if (lstat(path, &status) == 0 && status.st_uid != master.st_uid && status.st_uid != 0)
        return error_set(err, ERROR_DENIED,
                         "%s is user %u's in a folder of user %u's, who could put a link there: "
                         "not as root (runuser -u)",
                         path, (unsigned)status.st_uid, (unsigned)master.st_uid);
    const struct passwd *user = getpwuid(master.st_uid);
    rc = become(&master, user, err);
    if (rc != OK)
        return error_wrap(err, "%s", path);
    log_event(LOG_LEVEL_INFO, "owner", "goes on as the owner of its files, not as root",
              "path=%s user=%s", path, user != NULL ? user->pw_name : "?");
    return OK;
}
