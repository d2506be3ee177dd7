/* SPDX-License-Identifier: Apache-2.0
 *
 * owner.h: root looks into what a service of another user keeps. What root makes there the
 * service could not open afterwards, and where a link in there leads is the service's to say;
 * so before it opens anything the program becomes the owner of the place, for good.
 */
#ifndef LIB_BASE_OWNER_H
#define LIB_BASE_OWNER_H

#include "lib/base/error.h"

/* For root: from now on this process is the first on the way to `path`, from "/" on, who owns
 * a part of it and is not root, with his groups and no others, and his HOME. Only root's own
 * links are followed to find him. Does nothing for other users, and where all of the way is root's.
 * Before any thread is started and anything of `path` is opened. ERROR_DENIED: it can't be, or
 * `path` is a third one's. */
int owner_become(const char *path, struct error *err) MUST_USE;

#endif
