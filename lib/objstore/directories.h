/* SPDX-License-Identifier: Apache-2.0
 *
 * directories.h: the directories below a warehouse, of the file store alone.
 *
 * Every path is walked segment by segment with O_NOFOLLOW: no symbolic link below
 * the warehouse is followed, so no key leads out of it. The warehouse itself may be one.
 *
 * A directory's own name must be on disk too before a put may say OK, also when
 * another process made it a moment ago and has not synced it yet. So the first put
 * below a directory syncs all directories above, and `synced` remembers which are done.
 *
 * Threads  any.
 */
#ifndef LIB_OBJSTORE_DIRECTORIES_H
#define LIB_OBJSTORE_DIRECTORIES_H

#include <pthread.h>

#include "lib/base/error.h"

enum { SYNCED_SLOTS = 1024 }; /* a power of two */

struct directories {
    char *root; /* absolute, no trailing slash */
    pthread_mutex_t lock;

    /* guarded by lock: keys of directories whose names are known to be on disk */
    char *synced[SYNCED_SLOTS];
};
void directories_init(struct directories *directories, const char *root);
void directories_free(struct directories *directories);

/* Never "not found": a warehouse that is not mounted is not an empty one. */
int directories_open_root(const struct directories *directories, int *out,
                          struct error *err) MUST_USE;

enum directory_use { DIRECTORY_FIND, DIRECTORY_MAKE, DIRECTORY_MAKE_DURABLE };

/* Opens the directory of the key's last segment and gives that segment's name.
 * *out < 0 with OK: it isn't there (only with DIRECTORY_FIND). */
int directories_open(struct directories *directories, const char *key, enum directory_use use,
                     int *out, const char **name, struct error *err) MUST_USE;

/* None is known to be on disk any more. */
void directories_forget(struct directories *directories);

/* *out < 0 with OK: there is no such directory. A link in its place is an error. */
int directory_enter(int parent, const char *segment, int *out, struct error *err) MUST_USE;

/* errno as an answer: what a name can cause is the caller's input. */
int path_errno(struct error *err, const char *what) MUST_USE;

#endif
