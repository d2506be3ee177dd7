/* SPDX-License-Identifier: Apache-2.0
 *
 * table_cache.h: what a handle knows of each table since its last load, by the table's name. What
 * that is, the catalog says. With a thousand snapshots reading and parsing a table's metadata is
 * most of what a look into an empty inbox costs.
 *
 * At most TABLES_MAX are kept; one more takes the place of another. All zero but for `release` is
 * an empty one. Of a handle, so of one thread.
 */
#ifndef CLOUD_CATALOG_TABLE_CACHE_H
#define CLOUD_CATALOG_TABLE_CACHE_H

#include <stddef.h>

enum { TABLES_MAX = 64 };

struct table_cache {
    void (*release)(void *value); /* frees it */
    size_t count;
    size_t next; /* whose place is taken */
    struct table_cached *entries;
};

/* The cache's, until the next put; NULL: it isn't known. */
void *table_cache_find(const struct table_cache *cache, const char *ns, const char *name);
/* `value` is the cache's from now on; what stood for the table before is released. */
void table_cache_put(struct table_cache *cache, const char *ns, const char *name, void *value);
void table_cache_free(struct table_cache *cache);

#endif
