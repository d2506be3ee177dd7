/* SPDX-License-Identifier: Apache-2.0
 *
 * A table, an inbox and a committer in memory, over a store that has every file that was
 * announced, with the bytes that were announced.
 */
#ifndef TESTS_FUZZ_CLOUD_BENCH_H
#define TESTS_FUZZ_CLOUD_BENCH_H

#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/memory.h"
#include "cloud/view.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/objstore/memory.h"
#include "tests/unit/cloud_mapping.h"
#include "tests/unit/store_over.h"

#define TABLE "db.t"
#define EPOCH "01900000-0000-7000-8000-000000000001"
#define STREAM "edge/" EPOCH "/" TABLE

/* [0, 10) of STREAM, with one file. */
#define BENCH_ANNOUNCEMENT                                                                         \
    "{\"v\":1,\"stream\":\"edge/01900000-0000-7000-8000-000000000001/db.t\",\"agent\":\"edge"      \
    "\",\"from\":0,\"to\":10,\"table\":\"db.t\",\"table_uuid\":null,\"schema\":{\"type\":\"st"     \
    "ruct\",\"schema-id\":0,\"fields\":[{\"id\":1,\"name\":\"id\",\"required\":true,\"type\":"     \
    "\"string\"},{\"id\":2,\"name\":\"country\",\"required\":false,\"type\":\"string\"},{\"id"     \
    "\":3,\"name\":\"at\",\"required\":false,\"type\":\"timestamptz\"}]},\"writer\":\"bidlake"     \
    " test\",\"events\":10,\"rows\":10,\"sealed_at\":1790000000000,\"event_time\":{\"min\":17"     \
    "90000000000,\"max\":1790000000001},\"lost\":[],\"files\":[{\"path\":\"data/at_day=2026-0"     \
    "9-21/country=USA/7c19288f3d1e02f2dc93b081e1c29ccb-0-10-1.parquet\",\"offset\":0,\"size\""     \
    ":1000,\"crc32c\":\"0badcafe\",\"rows\":10,\"spec\":0,\"sort\":1,\"partition\":[20717,\"U"     \
    "SA\"],\"splits\":[4],\"metrics\":{\"1\":{\"size\":100,\"values\":10,\"nulls\":0,\"lower"      \
    "\":\"YQ==\",\"upper\":\"eg==\"},\"2\":{\"size\":10,\"values\":10,\"nulls\":0,\"lower\":"      \
    "\"VVNB\",\"upper\":\"VVNB\"},\"3\":{\"size\":10,\"values\":10,\"nulls\":0,\"lower\":\"AO"     \
    "Bj7vJbBgA=\",\"upper\":\"BeBj7vJbBgA=\"}}}]}"

enum { FILES_MAX = 64 };

/* ---- a store that has every announced file ---- */

struct announced_file {
    char *key;
    uint64_t size;
    uint32_t crc32c;
};

struct everything {
    struct store_over over; /* first */
    size_t count;
    struct announced_file files[FILES_MAX];
};

static inline int64_t wall_us(void *context)
{
    (void)context;
    return INT64_C(1790000000) * 1000000;
}

static inline int64_t mono_ms(void *context)
{
    (void)context;
    return 5000;
}

static inline void sleep_ms(void *context, int64_t ms)
{
    (void)context;
    (void)ms;
}

static const struct clock still = {wall_us, mono_ms, sleep_ms, NULL};

static const struct announced_file *file_find(const struct everything *all, const char *key)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->files[i].key, key) == 0)
            return &all->files[i];
    return NULL;
}

static inline int all_head(void *impl, const char *key, struct objstore_info *out,
                           struct error *err)
{
    struct everything *all = impl;
    const struct announced_file *file = file_find(all, key);
    if (file == NULL)
        return over_head(impl, key, out, err);
    *out = (struct objstore_info){.found = true,
                                  .size = file->size,
                                  .has_crc32c = true,
                                  .crc32c = file->crc32c,
                                  .modified_ms = wall_us(NULL) / 1000,
                                  .store_time_ms = wall_us(NULL) / 1000};
    return OK;
}

static inline void all_close(void *impl)
{
    struct everything *all = impl;
    objstore_close(all->over.inner);
    for (size_t i = 0; i < all->count; i++)
        free(all->files[i].key);
    free(all);
}

static const struct objstore_ops all_ops = {.head = all_head, .close = all_close};

/* ---- a table, an inbox ---- */

struct bench {
    struct memory_store *bytes;
    struct everything *all;
    struct memory_catalog *tables;
    struct mapping mapping;
    struct random random;
    struct service service;
};

static inline void bench_init(struct bench *b)
{
    struct commit_report report = {0};
    struct error err;
    *b = (struct bench){.bytes = memory_store_make(&still), .tables = memory_catalog_make()};
    b->all = memory_alloc(1, sizeof *b->all);
    b->all->over.inner = memory_store_attach(b->bytes, NULL, NULL);
    b->service.store = store_over_wrap(&b->all->over, &all_ops);
    struct catalog_options options = {.store = b->service.store, .clock = &still};
    b->service.catalog = memory_catalog_attach(b->tables, &options, NULL, NULL);
    b->service.committer = (struct committer){.store = b->service.store,
                                              .catalog = b->service.catalog,
                                              .clock = &still,
                                              .random = &b->random,
                                              .announcements_max = 2,
                                              .merge_count = 3,
                                              .prune_every = 1000000};
    random_seed(&b->random, 7);
    fixture_mapping(&b->mapping);
    int rc = commit_init_table(&b->service.committer, "db", &b->mapping, &report, &err);
    ASSERT(rc == OK);
    commit_report_free(&report);
}

static inline void bench_free(struct bench *b)
{
    table_schema_free(&b->mapping.schema);
    catalog_close(b->service.catalog);
    memory_catalog_free(b->tables);
    objstore_close(b->service.store);
    memory_store_free(b->bytes);
}

static inline void inbox_put(struct bench *b, const char *stream, uint64_t from, struct slice bytes)
{
    struct buf key = {0};
    struct error err;
    key_of_announcement(TABLE, stream, from, &key);
    int rc = objstore_put_bytes(b->service.store, buf_cstr(&key), bytes, PUT_ALWAYS, &err);
    ASSERT(rc == OK);
    buf_free(&key);
}

static inline void file_keep(struct everything *all, const struct data_file *file)
{
    struct buf key = {0};
    if (all->count == FILES_MAX)
        return;
    key_of_data_file(TABLE, file->path, &key);
    if (file_find(all, buf_cstr(&key)) == NULL)
        all->files[all->count++] = (struct announced_file){
            .key = memory_copy_cstr(buf_cstr(&key)), .size = file->size, .crc32c = file->crc32c};
    buf_free(&key);
}

static inline void announce(struct bench *b, struct slice bytes)
{
    struct announcement a;
    struct error err;
    if (announcement_decode(&a, bytes, &err) != OK) {
        inbox_put(b, STREAM, 0, bytes);
        return;
    }
    for (size_t i = 0; i < a.file_count; i++)
        file_keep(b->all, &a.files[i]);
    inbox_put(b, a.stream, a.from, bytes);
    announcement_free(&a);
}

#endif
