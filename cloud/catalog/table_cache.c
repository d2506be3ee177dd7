/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables are gone through in turn, again and again: with one more than there is room for, the
 * oldest would always be the one that is asked for next, and nothing would be kept. So the places
 * are taken with a stride between them, which comes to each of them once in TABLES_MAX times.
 */
#include "cloud/catalog/table_cache.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"

enum { STRIDE = 37 };
_Static_assert(TABLES_MAX == 64 && STRIDE % 2 == 1, "a stride that comes to each place");

struct table_cached {
    char *name; /* "ns.table" */
    void *value;
};

static bool is_of(const char *full, const char *ns, const char *name)
{
    size_t len = strlen(ns);
    return strncmp(full, ns, len) == 0 && full[len] == '.' && strcmp(full + len + 1, name) == 0;
}

static struct table_cached *entry_of(const struct table_cache *cache, const char *ns,
                                     const char *name)
{
    for (size_t i = 0; i < cache->count; i++)
        if (is_of(cache->entries[i].name, ns, name))
            return &cache->entries[i];
    return NULL;
}

void *table_cache_find(const struct table_cache *cache, const char *ns, const char *name)
{
    const struct table_cached *entry = entry_of(cache, ns, name);
    return entry != NULL ? entry->value : NULL;
}

static struct table_cached *place_take(struct table_cache *cache)
{
    if (cache->entries == NULL)
        cache->entries = memory_alloc(TABLES_MAX, sizeof *cache->entries);
    if (cache->count < TABLES_MAX)
        return &cache->entries[cache->count++];
    struct table_cached *entry = &cache->entries[cache->next];
    cache->next = (cache->next + STRIDE) % TABLES_MAX;
    free(entry->name);
    cache->release(entry->value);
    return entry;
}

void table_cache_put(struct table_cache *cache, const char *ns, const char *name, void *value)
{
    struct table_cached *entry = entry_of(cache, ns, name);
    if (entry != NULL) {
        cache->release(entry->value);
    } else {
        entry = place_take(cache);
        entry->name = memory_printf("%s.%s", ns, name);
    }
    entry->value = value;
}

void table_cache_free(struct table_cache *cache)
{
    for (size_t i = 0; i < cache->count; i++) {
        free(cache->entries[i].name);
        cache->release(cache->entries[i].value);
    }
    free(cache->entries);
    cache->entries = NULL;
    cache->count = cache->next = 0;
}
