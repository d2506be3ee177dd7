/* SPDX-License-Identifier: Apache-2.0
 *
 * manifests.h: the files that a table's metadata names by URL, fetched and decoded. Errors begin
 * with what it is and where. One outside of the warehouse is ERROR_INPUT, one that is not there,
 * or a list that is none, ERROR_CORRUPT.
 */
#ifndef CLOUD_MANIFESTS_H
#define CLOUD_MANIFESTS_H

#include "lib/base/arena.h"
#include "lib/iceberg/iceberg.h"
#include "lib/objstore/objstore.h"

/* found NULL: one that is not there is an error; else it says so, and there is nothing in `out`. */
int url_get(struct objstore *store, const char *url, struct buf *out, bool *found,
            struct error *err) MUST_USE;
int manifest_list_get(struct objstore *store, const char *url, struct arena *arena,
                      struct manifest_file **out, size_t *count, bool *found,
                      struct error *err) MUST_USE;
int manifest_get(struct objstore *store, const struct manifest_file *manifest, struct arena *arena,
                 struct manifest_entry **out, size_t *count, struct error *err) MUST_USE;

#endif
