/* SPDX-License-Identifier: Apache-2.0
 *
 * A store over another one: a test gives the operations that it watches or breaks, the others
 * are passed on.
 */
#ifndef TESTS_UNIT_STORE_OVER_H
#define TESTS_UNIT_STORE_OVER_H

#include "lib/objstore/objstore.h"

/* The first member of what the test's own operations get as `impl`. */
struct store_over {
    struct objstore *inner;
    struct objstore_ops ops;
};

static inline int over_put(void *impl, const char *key, const struct objstore_body *body,
                           uint32_t crc32c, enum put_condition condition, struct error *err)
{
    return objstore_put(((struct store_over *)impl)->inner, key, body, crc32c, condition, err);
}

static inline int over_head(void *impl, const char *key, struct objstore_info *out,
                            struct error *err)
{
    return objstore_head(((struct store_over *)impl)->inner, key, out, err);
}

static inline int over_get(void *impl, const char *key, int64_t offset, uint64_t len,
                           size_t bytes_max, struct buf *out, struct objstore_info *info,
                           struct error *err)
{
    struct objstore *inner = ((struct store_over *)impl)->inner;
    return offset == 0 && len == 0 ? objstore_get(inner, key, bytes_max, out, info, err)
                                   : objstore_get_range(inner, key, offset, len, out, info, err);
}

static inline int over_list(void *impl, const char *prefix, const char *after, size_t count_max,
                            struct objstore_list *out, struct error *err)
{
    return objstore_list(((struct store_over *)impl)->inner, prefix, after, count_max, out, err);
}

static inline int over_remove(void *impl, const char *key, struct error *err)
{
    return objstore_remove(((struct store_over *)impl)->inner, key, err);
}

static inline int over_copy(void *impl, const char *from, const char *to,
                            enum put_condition condition, struct error *err)
{
    return objstore_copy(((struct store_over *)impl)->inner, from, to, condition, err);
}

static inline int over_sync(void *impl, struct error *err)
{
    return objstore_sync(((struct store_over *)impl)->inner, err);
}

static inline int over_tidy(void *impl, const char *prefix, int64_t age_ms, struct error *err)
{
    return objstore_tidy(((struct store_over *)impl)->inner, prefix, age_ms, err);
}

static inline void over_close(void *impl)
{
    (void)impl;
}

/* Over `over->inner`, which stays open when it is closed unless `own` says otherwise. */
static inline struct objstore *store_over_wrap(struct store_over *over,
                                               const struct objstore_ops *own)
{
    over->ops = (struct objstore_ops){
        .scheme = "memory",
        .put = own->put != NULL ? own->put : over_put,
        .head = own->head != NULL ? own->head : over_head,
        .get = own->get != NULL ? own->get : over_get,
        .list = own->list != NULL ? own->list : over_list,
        .remove = own->remove != NULL ? own->remove : over_remove,
        .copy = own->copy != NULL ? own->copy : over_copy,
        .sync = own->sync != NULL ? own->sync : over_sync,
        .tidy = own->tidy != NULL ? own->tidy : over_tidy,
        .close = own->close != NULL ? own->close : over_close,
    };
    return objstore_wrap(&over->ops, over, "memory:");
}

#endif
