/* SPDX-License-Identifier: Apache-2.0
 *
 * store.h: what the files of this folder share and nobody else sees.
 */
#ifndef LIB_OBJSTORE_STORE_H
#define LIB_OBJSTORE_STORE_H

#include "lib/objstore/objstore.h"

/* The warehouse in a directory; `directory` is absolute and normalized. */
int file_store_open(struct objstore **out, const char *directory, const struct clock *clock,
                    struct error *err) MUST_USE;

/* An objstore that owns its memory store. */
struct objstore *memory_store_open(const struct clock *clock);

/* By S3; `url` "s3://bucket/prefix", s3 may be NULL. */
int s3_store_open(struct objstore **out, const char *url, const struct objstore_s3 *s3,
                  const struct clock *clock, struct error *err) MUST_USE;

/* objstore_each for `parallel` threads. */
int objstore_run(size_t count, unsigned parallel, objstore_one *one, void *context,
                 struct error *err) MUST_USE;

bool objstore_key_is_fine(const char *key);

/* Appends an entry; the list doubles as it grows. */
void objstore_list_add(struct objstore_list *list, const char *key, uint64_t size,
                       int64_t modified_ms);
/* Drops the entries behind count_max and says in `more` whether there were any. */
void objstore_list_cut(struct objstore_list *list, size_t count_max);

#endif
