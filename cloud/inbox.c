/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/inbox.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"

/* Of a page: a small snapshot looks at more than it may take. */
enum { PAGE_MIN = 1000, PAGE_MAX = 10000, FROM_DIGITS = 20 };

/* ---- streams by hash ---- */

static void index_visit(void *context, const char *stream, uint64_t next, int64_t at_ms,
                        const struct lost_range *lost, size_t lost_count)
{
    (void)lost;
    (void)lost_count;
    struct stream_index *index = context;
    if (index->count == index->cap) {
        index->cap = index->cap == 0 ? 64 : index->cap * 2;
        index->rows = memory_resize(index->rows, index->cap, sizeof *index->rows);
    }
    struct stream_row *row = &index->rows[index->count++];
    *row = (struct stream_row){.stream = stream, .next = next, .at_ms = at_ms};
    stream_hash(stream, row->hash);
}

static int row_compare(const void *a, const void *b)
{
    return strcmp(((const struct stream_row *)a)->hash, ((const struct stream_row *)b)->hash);
}

void stream_index_build(struct stream_index *out, const struct ledger *ledger)
{
    *out = (struct stream_index){0};
    ledger_visit_streams(ledger, index_visit, out);
    if (out->count > 1)
        qsort(out->rows, out->count, sizeof *out->rows, row_compare);
}

void stream_index_free(struct stream_index *index)
{
    free(index->rows);
    *index = (struct stream_index){0};
}

const struct stream_row *stream_index_find(const struct stream_index *index, const char *hash)
{
    struct stream_row key = {0};
    memcpy(key.hash, hash, sizeof key.hash);
    if (index->count == 0)
        return NULL;
    return bsearch(&key, index->rows, index->count, sizeof *index->rows, row_compare);
}

/* ---- lists ---- */

/* "<prefix><hash>/<from, 20 digits>.json" */
static bool key_parse(const char *rest, char hash[STREAM_HASH_SIZE], uint64_t *from)
{
    enum { HASH = STREAM_HASH_SIZE - 1 };
    if (strlen(rest) != HASH + 1 + FROM_DIGITS + strlen(".json") ||
        strspn(rest, "0123456789abcdef") != HASH || rest[HASH] != '/' ||
        strspn(rest + HASH + 1, "0123456789") != FROM_DIGITS ||
        strcmp(rest + HASH + 1 + FROM_DIGITS, ".json") != 0)
        return false;
    memcpy(hash, rest, HASH);
    hash[HASH] = 0;
    *from = 0;
    for (const char *digit = rest + HASH + 1; *digit != '.'; digit++) {
        if (__builtin_mul_overflow(*from, 10u, from) ||
            __builtin_add_overflow(*from, (uint64_t)(*digit - '0'), from))
            return false;
    }
    return true;
}

static void page_take(struct inbox_page *out, const struct objstore_list *list, size_t prefix_len)
{
    out->entries = memory_alloc(list->count > 0 ? list->count : 1, sizeof *out->entries);
    for (size_t i = 0; i < list->count; i++) {
        struct inbox_entry *entry = &out->entries[out->count];
        const char *key = list->entries[i].key;
        if (!key_parse(key + prefix_len, entry->hash, &entry->from)) {
            if (out->stray_count++ == 0)
                out->stray = memory_copy_cstr(key);
            continue;
        }
        entry->key = memory_copy_cstr(key);
        entry->size = list->entries[i].size;
        entry->stream = memory_copy_cstr("");
        announcement_init(&entry->announcement);
        out->count++;
    }
    out->more = list->more;
    if (list->count > 0)
        out->last_key = memory_copy_cstr(list->entries[list->count - 1].key);
}

/* Where the inbox piled up, a page is what one snapshot may take: fewer of them are made. */
static size_t page_size(const struct committer *committer)
{
    size_t wanted = committer->announcements_max > 0 ? committer->announcements_max : PAGE_MAX;
    return wanted < PAGE_MIN ? PAGE_MIN : wanted < PAGE_MAX ? wanted : PAGE_MAX;
}

int inbox_list(const struct committer *committer, const char *table, const char *after,
               struct inbox_page *out, struct error *err)
{
    struct buf prefix = {0};
    struct objstore_list list = {0};
    *out = (struct inbox_page){0};
    key_of_inbox(table, &prefix);
    int rc =
        objstore_list(committer->store, buf_cstr(&prefix), after, page_size(committer), &list, err);
    if (rc == OK)
        page_take(out, &list, prefix.len);
    objstore_list_free(&list);
    buf_free(&prefix);
    return rc;
}

void inbox_page_free(struct inbox_page *page)
{
    for (size_t i = 0; i < page->count; i++) {
        struct inbox_entry *entry = &page->entries[i];
        announcement_free(&entry->announcement);
        free(entry->key);
        free(entry->stream);
        free(entry->reason);
    }
    free(page->entries);
    free(page->last_key);
    free(page->stray);
    *page = (struct inbox_page){0};
}

size_t inbox_stream_end(const struct inbox_page *page, size_t begin)
{
    size_t end = begin + 1;
    while (end < page->count && strcmp(page->entries[end].hash, page->entries[begin].hash) == 0)
        end++;
    return end;
}

int inbox_lowest(const struct committer *committer, const char *table, const char *hash,
                 uint64_t *from, bool *found, struct error *err)
{
    struct buf prefix = {0};
    struct objstore_list list = {0};
    char listed[STREAM_HASH_SIZE];
    key_of_inbox(table, &prefix);
    size_t prefix_len = prefix.len;
    buf_printf(&prefix, "%s/", hash);
    *found = false;
    int rc = objstore_list(committer->store, buf_cstr(&prefix), NULL, PAGE_MIN, &list, err);
    for (size_t i = 0; rc == OK && i < list.count && !*found; i++)
        *found = key_parse(list.entries[i].key + prefix_len, listed, from);
    if (rc == OK)
        objstore_list_free(&list);
    buf_free(&prefix);
    return rc;
}

/* ---- one announcement ---- */

void inbox_refuse(struct inbox_entry *entry, const char *reason)
{
    entry->state = ENTRY_REFUSED;
    free(entry->reason);
    entry->reason = memory_copy_cstr(reason);
}

void inbox_entry_drop(struct inbox_entry *entry)
{
    announcement_free(&entry->announcement);
    announcement_init(&entry->announcement);
    entry->paths = NULL;
    entry->fetched = false;
    entry->headed = false;
}

static void stream_set(struct inbox_entry *entry, const char *stream)
{
    char hash[STREAM_HASH_SIZE];
    stream_hash(stream, hash);
    if (strcmp(hash, entry->hash) != 0) /* then it speaks for somebody else: no receipt */
        return;
    free(entry->stream);
    entry->stream = memory_copy_cstr(stream);
}

static void entry_take(struct inbox_entry *entry, struct slice bytes)
{
    struct error err;
    char hash[STREAM_HASH_SIZE];
    if (announcement_decode(&entry->announcement, bytes, &err) != OK) {
        char stream[STREAM_NAME_MAX + 1];
        /* We still want to tell its agent why. */
        if (announcement_stream_guess(bytes, stream))
            stream_set(entry, stream);
        inbox_refuse(entry, err.text);
        inbox_entry_drop(entry);
        return;
    }
    stream_hash(entry->announcement.stream, hash);
    if (strcmp(hash, entry->hash) != 0 || entry->announcement.from != entry->from) {
        inbox_refuse(entry, "its place is not that of its stream and range");
        inbox_entry_drop(entry);
        return;
    }
    stream_set(entry, entry->announcement.stream);
    announcement_detach(&entry->announcement);
    entry->fetched = true;
}

int inbox_fetch(const struct committer *committer, struct inbox_entry *entry, struct error *err)
{
    if (entry->fetched)
        return OK;
    struct buf bytes;
    struct objstore_info info = {0};
    buf_init(&bytes, ANNOUNCEMENT_BYTES_MAX);
    int rc = objstore_get(committer->store, entry->key, ANNOUNCEMENT_BYTES_MAX, &bytes, &info, err);
    if (rc == ERROR_LIMIT) {
        inbox_refuse(entry, "larger than an announcement may be");
        rc = OK;
    } else if (rc == OK && !info.found) {
        entry->state = ENTRY_GONE;
    } else if (rc == OK) {
        entry->size = bytes.len;
        entry_take(entry, buf_slice(&bytes));
    }
    buf_free(&bytes);
    return rc;
}
