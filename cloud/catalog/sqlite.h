/* SPDX-License-Identifier: Apache-2.0
 *
 * sqlite.h: the embedded catalog, by its path; for catalog_open alone.
 */
#ifndef CLOUD_CATALOG_SQLITE_H
#define CLOUD_CATALOG_SQLITE_H

#include "cloud/catalog/catalog.h"

int catalog_sqlite_open(struct catalog **out, const char *path,
                        const struct catalog_options *options, struct error *err) MUST_USE;

#endif
