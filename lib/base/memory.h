/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.h: allocation that ends the process when memory is gone.
 *
 * Sizes that come from outside are checked against a limit before they get
 * here; a failed small allocation then aborts, and the spool makes the restart
 * cheap. A hundred untested out-of-memory branches would be worse.
 */
#ifndef LIB_BASE_MEMORY_H
#define LIB_BASE_MEMORY_H

#include <stddef.h>

#include "lib/base/slice.h"

/* count * size bytes, all zero; free() releases them. Never NULL. */
void *memory_alloc(size_t count, size_t size);
/* The same without the zeros, for large arrays that are filled at once. */
void *memory_alloc_raw(size_t count, size_t size);
void *memory_resize(void *old, size_t count, size_t size);
/* Gives the system back what was freed: for the end of a stage that took a lot. */
void memory_trim(void);
char *memory_copy_cstr(const char *text);
char *memory_copy_or_null(const char *text); /* NULL for NULL */
/* A NUL is put behind the copy. */
char *memory_copy_slice(struct slice bytes);
/* Overwrites a secret, frees it, NULL. */
void memory_wipe(char **text);
char *memory_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A setting that was left out, NULL or "": NULL. */
static inline const char *cstr_or_null(const char *text)
{
    return text != NULL && *text != 0 ? text : NULL;
}

#endif
