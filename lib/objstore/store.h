/* SPDX-License-Identifier: Apache-2.0
 *
 * store.h: what the files of this folder share and nobody else sees.
 */
#ifndef LIB_OBJSTORE_STORE_H
#define LIB_OBJSTORE_STORE_H

#include "lib/objstore/objstore.h"
#include "lib/objstore/throttle.h"

enum { PARALLEL_MAX = 64 }; /* requests to one store under way at a time */

/* The warehouse in a directory; `directory` is absolute and normalized. */
int file_store_open(struct objstore **out, const char *directory, const struct clock *clock,
                    struct error *err) MUST_USE;

/* An objstore that owns its memory store. */
struct objstore *memory_store_open(const struct clock *clock);

/* By S3; `url` "s3://bucket/prefix", options->clock is set. */
int s3_store_open(struct objstore **out, const char *url, const struct objstore_options *options,
                  struct error *err) MUST_USE;

/* objstore_each for `parallel` threads. */
struct objstore_many {
    size_t count;
    unsigned parallel;
    struct throttle *throttle; /* NULL: one try each, and no pauses */
    throttle_look *look;       /* NULL: none; whether to give up, by any of the threads */
    void *look_context;
    objstore_one *one;
    void *context;
};
int objstore_run(const struct objstore_many *many, struct error *err) MUST_USE;

bool objstore_key_is_fine(const char *key);

/* Appends an entry; the list doubles as it grows. */
void objstore_list_add(struct objstore_list *list, const char *key, uint64_t size,
                       int64_t modified_ms);
/* Drops the entries behind count_max and says in `more` whether there were any. */
void objstore_list_cut(struct objstore_list *list, size_t count_max);

#endif
