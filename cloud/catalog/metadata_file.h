/* SPDX-License-Identifier: Apache-2.0
 *
 * metadata_file.h: what catalogs share whose client writes the metadata file
 * (sqlite, memory): read one, write the next one. The pointer is the catalog's own.
 *
 * A metadata file is put with PUT_IF_ABSENT under a name with a fresh UUID before the
 * pointer moves, so the pointer never stands for bytes that are not there.
 */
#ifndef CLOUD_CATALOG_METADATA_FILE_H
#define CLOUD_CATALOG_METADATA_FILE_H

#include "cloud/catalog/catalog.h"

/* The document that each table had last. A metadata file never changes, so while the pointer
 * stays it need not be read and parsed again: with a thousand snapshots that is most of what
 * a look into an empty inbox costs. All zero is empty; one of a handle, so of one thread. */
struct metadata_cache {
    size_t count;
    struct metadata_cached *entries;
};
/* A new reference; NULL: it isn't known. */
json_t *metadata_cache_find(const struct metadata_cache *cache, const char *ns, const char *table,
                          const char *location);
void metadata_cache_keep(struct metadata_cache *cache, const char *ns, const char *table,
                       const char *location, json_t *metadata);
void metadata_cache_free(struct metadata_cache *cache);

int metadata_file_read(struct objstore *store, const char *location, json_t **out,
                         struct error *err) MUST_USE;

/* Puts `metadata` as the file after `base_location` (NULL: the first); *location is the
 * caller's. `uuid` makes the name unique. */
int metadata_file_write(struct objstore *store, const json_t *metadata, const char *base_location,
                          const char *uuid, char **location, struct error *err) MUST_USE;

/* Where a new table lies: the request's location or <warehouse>/<ns>/<table>. */
char *table_location_make(struct objstore *store, const char *ns, const char *table,
                            const json_t *request);

/* After a swap from `old` to `new`: removes the files that fell out of the metadata log,
 * when the table asks for it. What can't be removed stays for the orphan clean-up. */
void metadata_files_prune(struct objstore *store, const json_t *old, const json_t *new);

#endif
