/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/overlap.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/arena.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { LOOK_MS = 1000, LOOK_MANY_MS = 10000, MANY = 1000 };

struct found {
    const char *path;
    const char *table;
    size_t source;
};

struct list {
    struct arena arena;
    struct found *files;
    size_t count;
    size_t cap;
    size_t source;
};

static void add(void *context, const struct source_file *file)
{
    struct list *list = context;
    if (list->count == list->cap) {
        list->cap = list->cap > 0 ? 2 * list->cap : 64;
        list->files = memory_resize(list->files, list->cap, sizeof *list->files);
    }
    list->files[list->count++] =
        (struct found){.path = arena_copy_cstr(&list->arena, slice_cstr(file->path)),
                       .table = arena_copy_cstr(&list->arena, slice_cstr(file->table)),
                       .source = list->source};
}

static int compare(const void *a, const void *b)
{
    const struct found *one = a;
    const struct found *other = b;
    int order = strcmp(one->path, other->path);
    return order != 0 ? order : one->source < other->source ? -1 : one->source > other->source;
}

/* How many paths are there by two sources; *first is one of these, its other is behind it. */
static uint64_t count_shared(struct list *list, const struct found **first)
{
    uint64_t shared = 0;
    if (list->count > 1)
        qsort(list->files, list->count, sizeof *list->files, compare);
    for (size_t i = 1; i < list->count; i++) {
        const struct found *before = &list->files[i - 1];
        /* Of a path that is there thrice the first pair counts. */
        bool again = i > 1 && strcmp(list->files[i - 2].path, before->path) == 0 &&
                     list->files[i - 2].source != before->source;
        if (strcmp(before->path, list->files[i].path) != 0 ||
            before->source == list->files[i].source || again)
            continue;
        if (shared++ == 0)
            *first = before;
    }
    return shared;
}

void overlap_look(struct overlap *overlap, const struct view_sources *sources, int64_t now_ms)
{
    struct list list = {0};
    size_t patterns = 0;
    for (size_t i = 0; i < sources->count; i++)
        patterns += sources->open[i].ops->files != NULL;
    if (patterns < 2 || now_ms < overlap->look_at_ms)
        return;
    for (list.source = 0; list.source < sources->count; list.source++) {
        const struct view_source *source = &sources->open[list.source];
        if (source->ops->files != NULL)
            source->ops->files(source->source, add, &list);
    }
    overlap->look_at_ms = now_ms + (list.count < MANY ? LOOK_MS : LOOK_MANY_MS);
    const struct found *first = NULL;
    uint64_t shared = count_shared(&list, &first);
    if (shared > atomic_load(&overlap->files))
        log_event(LOG_LEVEL_WARN, "daemon",
                  "files are followed for two tables: each of their lines goes to both",
                  "files=%llu file=\"%s\" tables=%s,%s", (unsigned long long)shared, first->path,
                  first[0].table, first[1].table);
    atomic_store(&overlap->files, shared);
    arena_free(&list.arena);
    free(list.files);
}
