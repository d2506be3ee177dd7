/* SPDX-License-Identifier: Apache-2.0
 *
 * arena.h: everything of one batch or one request, dropped at once.
 *
 * Pointers stay good until arena_reset or arena_free. All zero is a valid empty
 * arena. Aborts when memory is gone (memory.h).
 */
#ifndef LIB_BASE_ARENA_H
#define LIB_BASE_ARENA_H

#include <stddef.h>

#include "lib/base/slice.h"

struct arena_piece;

struct arena {
    struct arena_piece *pieces; /* newest first */
    size_t used;                /* of the newest piece */
};

void arena_free(struct arena *arena);
/* Empties it, keeping its largest piece. */
void arena_reset(struct arena *arena);
/* Zeroed, aligned to 16. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);
struct slice arena_copy(struct arena *arena, struct slice bytes);
char *arena_copy_cstr(struct arena *arena, struct slice bytes);
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
