/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.h: the store of the tests: keys and bytes in memory, a clock that the
 * test owns, and a hook before and after each operation that can make it fail,
 * lose its answer after applying it, apply it late, or hand over to another actor.
 *
 * Included by tests besides objstore.h (the one exception that the layer check
 * knows by name). Threads: one.
 */
#ifndef LIB_OBJSTORE_MEMORY_H
#define LIB_OBJSTORE_MEMORY_H

#include "lib/objstore/objstore.h"

enum memory_operation {
    MEMORY_PUT,
    MEMORY_HEAD,
    MEMORY_GET,
    MEMORY_LIST,
    MEMORY_REMOVE,
    MEMORY_COPY
};

enum memory_fault {
    MEMORY_FAULT_NONE,
    MEMORY_FAULT_BEFORE, /* ERROR_RETRY, nothing applied */
    MEMORY_FAULT_SLOW,   /* the same, and to be asked again in MEMORY_SLOW_MS at the earliest */
    MEMORY_FAULT_AFTER,  /* applied, then ERROR_RETRY: the answer was lost */
    MEMORY_FAULT_LATE,   /* put only: ERROR_RETRY now, applied by memory_store_apply_late */
    MEMORY_FAULT_STALE,  /* head, get, list: answers as the store was before its last change of
                          * that key (list: of any key) */
};

enum { MEMORY_SLOW_MS = 90000 };

struct memory_store; /* the shared bytes; several objstores may stand on one */

struct memory_store *memory_store_make(const struct clock *clock);
void memory_store_free(struct memory_store *store);
/* An objstore on it, with URL "memory:" and its own hook: one for each actor.
 * hook NULL: no faults. The hook may switch to another actor before it returns. */
typedef enum memory_fault memory_hook(void *context, enum memory_operation operation,
                                      const char *key);
struct objstore *memory_store_attach(struct memory_store *store, memory_hook *hook, void *context);

/* Late puts that are still under way: how many; apply the i-th (conditions are
 * judged now, the outcome is heard by nobody). */
size_t memory_store_late_count(const struct memory_store *store);
void memory_store_apply_late(struct memory_store *store, size_t index);

/* For checkers: walks all objects in key order. */
typedef void memory_visit(void *context, const char *key, struct slice bytes, int64_t modified_ms);
void memory_store_visit(const struct memory_store *store, memory_visit *visit, void *context);
/* True once two different contents were ever put under one key that ends with `suffix`; the key
 * is copied to out. */
bool memory_store_rewritten(const struct memory_store *store, const char *suffix,
                            char out[OBJSTORE_KEY_MAX + 1]);

#endif
