/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/memory.h"

/* Of a piece: thousands of small arenas may live at once. */
enum { SIZE_MIN = 1024, SIZE_MAX_USUAL = 16384, ALIGNMENT = 16 };

struct arena_piece {
    struct arena_piece *next;
    size_t size; /* of data */
    _Alignas(ALIGNMENT) uint8_t data[];
};

void arena_free(struct arena *arena)
{
    while (arena->pieces != NULL) {
        struct arena_piece *next = arena->pieces->next;
        free(arena->pieces);
        arena->pieces = next;
    }
    arena->used = 0;
}

void arena_reset(struct arena *arena)
{
    struct arena_piece *keep = NULL;
    while (arena->pieces != NULL) {
        struct arena_piece *piece = arena->pieces;
        arena->pieces = piece->next;
        if (keep == NULL || piece->size > keep->size) {
            free(keep);
            keep = piece;
        } else {
            free(piece);
        }
    }
    if (keep != NULL)
        keep->next = NULL;
    arena->pieces = keep;
    arena->used = 0;
}

/* Twice the last one's. */
static size_t next_size(const struct arena *arena)
{
    size_t size = arena->pieces != NULL ? arena->pieces->size : 0;
    return size < SIZE_MIN / 2 ? SIZE_MIN : size < SIZE_MAX_USUAL / 2 ? size * 2 : SIZE_MAX_USUAL;
}

static void *arena_take(struct arena *arena, size_t bytes)
{
    size_t need = 0;
    bool fits = size_add(bytes, ALIGNMENT - 1, &need);
    ASSERT(fits);
    need &= ~(size_t)(ALIGNMENT - 1);
    if (arena->pieces == NULL || arena->pieces->size - arena->used < need) {
        size_t usual = next_size(arena);
        size_t size = need > usual ? need : usual;
        struct arena_piece *piece = memory_alloc_raw(1, sizeof *piece + size);
        piece->size = size;
        piece->next = arena->pieces;
        arena->pieces = piece;
        arena->used = 0;
    }
    void *at = arena->pieces->data + arena->used;
    arena->used += need;
    return at;
}

void *arena_alloc(struct arena *arena, size_t count, size_t size)
{
    size_t bytes = 0;
    bool fits = size_mul(count, size, &bytes);
    ASSERT(fits);
    void *at = arena_take(arena, bytes);
    memset(at, 0, bytes);
    return at;
}

struct slice arena_copy(struct arena *arena, struct slice bytes)
{
    return slice_of(arena_copy_cstr(arena, bytes), bytes.len);
}

char *arena_copy_cstr(struct arena *arena, struct slice bytes)
{
    char *at = arena_take(arena, bytes.len + 1);
    if (bytes.len > 0)
        memcpy(at, bytes.data, bytes.len);
    at[bytes.len] = 0;
    return at;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(n >= 0);
    char *at = arena_take(arena, (size_t)n + 1);
    va_start(args, format);
    vsnprintf(at, (size_t)n + 1, format, args);
    va_end(args);
    return at;
}
