/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.h: the catalog of the tests. Metadata files lie in the objstore it
 * is given; the pointers lie here, shared by all handles. A hook before each
 * operation can make it fail, lose its answer, apply it late, answer from the load
 * before last, or hand over to another actor. Threads: one.
 */
#ifndef CLOUD_CATALOG_MEMORY_H
#define CLOUD_CATALOG_MEMORY_H

#include "cloud/catalog/catalog.h"

enum catalog_operation { CATALOG_LOAD, CATALOG_CREATE, CATALOG_COMMIT };

enum catalog_fault {
    CATALOG_FAULT_NONE,
    CATALOG_FAULT_BEFORE,    /* ERROR_RETRY, nothing applied */
    CATALOG_FAULT_AFTER,     /* applied, then ERROR_RETRY */
    CATALOG_FAULT_LATE,      /* commit: ERROR_RETRY now, judged and applied later */
    CATALOG_FAULT_DUPLICATE, /* commit: applied, then its own copy is judged: ERROR_CONFLICT */
    CATALOG_FAULT_REFUSED,   /* commit: ERROR_INPUT, as if it were wrong (400) */
    CATALOG_FAULT_STALE,     /* load: the table as it was before its last change */
};

struct memory_catalog;
struct memory_catalog *memory_catalog_make(void);
void memory_catalog_free(struct memory_catalog *shared);
/* The server's own store, for its metadata files (NULL: that of the handle that asks,
 * which then must outlive the late commits it asked for, and whose faults hit these
 * files too). */
void memory_catalog_set_store(struct memory_catalog *shared, struct objstore *store);

typedef enum catalog_fault catalog_hook(void *context, enum catalog_operation operation);
struct catalog *memory_catalog_attach(struct memory_catalog *shared,
                                      const struct catalog_options *options, catalog_hook *hook,
                                      void *context);

size_t memory_catalog_late_count(const struct memory_catalog *shared);
void memory_catalog_apply_late(struct memory_catalog *shared, size_t index);

#endif
