/* SPDX-License-Identifier: Apache-2.0
 *
 * file.h: the durable file operations that the rest is built from.
 *
 * All paths are C strings. Nothing here logs. Every write and sync goes through
 * these functions, so that a test can make the nth one fail.
 */
#ifndef LIB_BASE_FILE_H
#define LIB_BASE_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

int file_write_all(int fd, struct slice bytes, struct error *err) MUST_USE;

/* fsync of a file or a directory that is open. */
int file_sync(int fd, struct error *err) MUST_USE;
/* All that was written to the file system on which fd lies, by whomever (syncfs). Linux
 * before 5.8 doesn't report here what failed to be written back. */
int file_sync_filesystem(int fd, struct error *err) MUST_USE;
int file_sync_directory(const char *path, struct error *err) MUST_USE;

/* The whole file behind what `out` holds; ERROR_LIMIT when it is longer than
 * `bytes_max`. A file that is not there: cause is ENOENT. */
int file_read(const char *path, size_t bytes_max, struct buf *out, struct error *err) MUST_USE;

/* Written beside, synced, renamed over `path`, directory synced: after a crash
 * the path has the old bytes or the new ones. */
int file_replace(const char *path, struct slice bytes, mode_t mode, struct error *err) MUST_USE;

/* mkdir -p; directories that are there already are fine. */
int file_make_directories(const char *path, mode_t mode, struct error *err) MUST_USE;

/* rm -r, for directories of our own making; one that is not there is fine. */
int file_remove_tree(const char *path, struct error *err) MUST_USE;

#endif
