/* SPDX-License-Identifier: Apache-2.0
 *
 * metadata_file.h: metadata files of tables in the store. Where no server does it (sqlite, memory)
 * the client writes the next one, and the catalog moves its pointer to it. They are read by a
 * server's clients too, if it tells only where they are.
 *
 * A file is put with PUT_IF_ABSENT under a name with a fresh UUID before the pointer moves, so
 * the pointer never stands for bytes that are not there.
 */
#ifndef CLOUD_CATALOG_METADATA_FILE_H
#define CLOUD_CATALOG_METADATA_FILE_H

#include <jansson.h>

#include "lib/base/error.h"
#include "lib/objstore/objstore.h"

int metadata_file_read(struct objstore *store, const char *location, json_t **out,
                       struct error *err) MUST_USE;

/* Puts `metadata` as the file after `base_location` (NULL: the first); *location is the
 * caller's. `uuid` makes the name unique. */
int metadata_file_write(struct objstore *store, const json_t *metadata, const char *base_location,
                        const char *uuid, char **location, struct error *err) MUST_USE;

/* After a swap from `old` to `new`: removes the files that fell out of the metadata log,
 * when the table asks for it. What can't be removed stays for the orphan clean-up. */
void metadata_files_prune(struct objstore *store, const json_t *old, const json_t *new);

/* Where a new table lies: the request's location or <warehouse>/<ns>/<table>. */
char *table_location_make(struct objstore *store, const char *ns, const char *table,
                          const json_t *request);

#endif
