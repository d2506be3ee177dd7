/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/memory.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"

void *memory_alloc(size_t count, size_t size)
{
    void *out = calloc(count > 0 ? count : 1, size > 0 ? size : 1);
    ASSERT(out != NULL);
    return out;
}

void *memory_alloc_raw(size_t count, size_t size)
{
    return memory_resize(NULL, count, size);
}

void *memory_resize(void *old, size_t count, size_t size)
{
    size_t bytes = 0;
    bool fits = size_mul(count, size, &bytes);
    ASSERT(fits);
    void *out = realloc(old, bytes > 0 ? bytes : 1);
    ASSERT(out != NULL);
    return out;
}

/* glibc keeps freed arrays, since it takes what was large once for usual. */
void memory_trim(void)
{
    malloc_trim(0);
}

char *memory_copy_cstr(const char *text)
{
    return memory_copy_slice(slice_cstr(text));
}

char *memory_copy_or_null(const char *text)
{
    return text != NULL ? memory_copy_cstr(text) : NULL;
}

char *memory_copy_slice(struct slice bytes)
{
    char *out = memory_alloc_raw(bytes.len + 1, 1);
    if (bytes.len > 0)
        memcpy(out, bytes.data, bytes.len);
    out[bytes.len] = 0;
    return out;
}

void memory_wipe(char **text)
{
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

char *memory_printf(const char *format, ...)
{
    va_list args;
    char *out = NULL;
    va_start(args, format);
    int n = vasprintf(&out, format, args);
    va_end(args);
    ASSERT(n >= 0 && out != NULL);
    return out;
}
