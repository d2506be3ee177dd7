/* SPDX-License-Identifier: Apache-2.0
 *
 * owner.h: root looks into what a service of another user keeps. What root makes there the
 * service could not open afterwards; so before it makes anything the program becomes the
 * owner of the place, for good.
 */
#ifndef LIB_BASE_OWNER_H
#define LIB_BASE_OWNER_H

#include "lib/base/error.h"

/* For root: from now on this process is the owner of `path`, or, if that is not there, of the
 * nearest folder above that is. Does nothing for other users, and where root is the owner.
 * Before any thread is started. ERROR_DENIED: it can't be. */
int owner_become(const char *path, struct error *err) MUST_USE;

#endif
