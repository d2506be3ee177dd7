/* SPDX-License-Identifier: Apache-2.0
 *
 * Announcements of strangers against a table: what is in the inbox, however forged, never
 * fails a turn, never holds up an honest agent's announcement, and what is taken leaves a
 * table whose metadata, manifests, totals and ledger agree.
 *
 * The input is a JSON array: an object is an announcement (put where its stream and range
 * say, if it decodes), a text is put as it stands, null is a turn. Each file that is
 * announced is there, with the bytes that were announced: what remains to be refused is
 * what can't be in this table.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/memory.h"
#include "cloud/view.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/objstore/memory.h"
#include "tests/unit/cloud_mapping.h"

#define TABLE "db.t"
#define EPOCH "01900000-0000-7000-8000-000000000001"
#define STREAM "edge/" EPOCH "/" TABLE
#define HONEST "honest/" EPOCH "/" TABLE

enum { FILES_MAX = 64, STEPS_MAX = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- a store that has every announced file ---- */

struct announced_file {
    char *key;
    uint64_t size;
    uint32_t crc32c;
};

struct everything {
    struct objstore *inner;
    size_t count;
    struct announced_file files[FILES_MAX];
};

static int64_t wall_us(void *context)
{
    (void)context;
    return INT64_C(1790000000) * 1000000;
}

static int64_t mono_ms(void *context)
{
    (void)context;
    return 5000;
}

static void sleep_ms(void *context, int64_t ms)
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

static int all_put(void *impl, const char *key, const struct objstore_body *body, uint32_t crc32c,
                   enum put_condition condition, struct error *err)
{
    return objstore_put(((struct everything *)impl)->inner, key, body, crc32c, condition, err);
}

static int all_head(void *impl, const char *key, struct objstore_info *out, struct error *err)
{
    struct everything *all = impl;
    const struct announced_file *file = file_find(all, key);
    if (file == NULL)
        return objstore_head(all->inner, key, out, err);
    *out = (struct objstore_info){.found = true,
                                  .size = file->size,
                                  .has_crc32c = true,
                                  .crc32c = file->crc32c,
                                  .modified_ms = wall_us(NULL) / 1000,
                                  .store_time_ms = wall_us(NULL) / 1000};
    return OK;
}

static int all_get(void *impl, const char *key, int64_t offset, uint64_t len, size_t bytes_max,
                   struct buf *out, struct objstore_info *info, struct error *err)
{
    struct objstore *inner = ((struct everything *)impl)->inner;
    return offset == 0 && len == 0 ? objstore_get(inner, key, bytes_max, out, info, err)
                                   : objstore_get_range(inner, key, offset, len, out, info, err);
}

static int all_list(void *impl, const char *prefix, const char *after, size_t count_max,
                    struct objstore_list *out, struct error *err)
{
    return objstore_list(((struct everything *)impl)->inner, prefix, after, count_max, out, err);
}

static int all_remove(void *impl, const char *key, struct error *err)
{
    return objstore_remove(((struct everything *)impl)->inner, key, err);
}

static int all_copy(void *impl, const char *from, const char *to, enum put_condition condition,
                    struct error *err)
{
    return objstore_copy(((struct everything *)impl)->inner, from, to, condition, err);
}

static void all_close(void *impl)
{
    struct everything *all = impl;
    objstore_close(all->inner);
    for (size_t i = 0; i < all->count; i++)
        free(all->files[i].key);
    free(all);
}

static const struct objstore_ops all_ops = {.scheme = "memory",
                                            .put = all_put,
                                            .head = all_head,
                                            .get = all_get,
                                            .list = all_list,
                                            .remove = all_remove,
                                            .copy = all_copy,
                                            .close = all_close};

/* ---- a table, an inbox ---- */

struct bench {
    struct memory_store *bytes;
    struct everything *all;
    struct memory_catalog *tables;
    struct mapping mapping;
    struct random random;
    struct service service;
};

static void bench_init(struct bench *b)
{
    struct commit_report report = {0};
    struct error err;
    *b = (struct bench){.bytes = memory_store_make(&still), .tables = memory_catalog_make()};
    b->all = memory_alloc(1, sizeof *b->all);
    b->all->inner = memory_store_attach(b->bytes, NULL, NULL);
    b->service.store = objstore_wrap(&all_ops, b->all, "memory:");
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

static void bench_free(struct bench *b)
{
    table_schema_free(&b->mapping.schema);
    catalog_close(b->service.catalog);
    memory_catalog_free(b->tables);
    objstore_close(b->service.store);
    memory_store_free(b->bytes);
}

static void inbox_put(struct bench *b, const char *stream, uint64_t from, struct slice bytes)
{
    struct buf key = {0};
    struct error err;
    key_of_announcement(TABLE, stream, from, &key);
    int rc = objstore_put_bytes(b->service.store, buf_cstr(&key), bytes, PUT_ALWAYS, &err);
    ASSERT(rc == OK);
    buf_free(&key);
}

static void file_keep(struct everything *all, const struct data_file *file)
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

static void announce(struct bench *b, struct slice bytes)
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

/* All of [0, 1) is lost: nothing but the ledger moves. */
static void announce_honestly(struct bench *b)
{
    struct announcement a;
    struct lost_range lost = {.from = 0, .to = 1, .events = 1, .reason = "test"};
    struct buf bytes = {0};
    announcement_init(&a);
    a.stream = HONEST;
    a.agent = "honest";
    a.to = 1;
    a.table = TABLE;
    a.schema = table_schema_to_iceberg(&b->mapping.schema);
    a.writer = "bidlake test";
    a.lost_count = 1;
    a.lost = &lost;
    announcement_encode(&a, &bytes);
    inbox_put(b, HONEST, 0, buf_slice(&bytes));
    announcement_free(&a);
    buf_free(&bytes);
}

static void turn(struct bench *b)
{
    struct commit_report report = {0};
    struct error err;
    int rc = commit_turn_table(&b->service.committer, TABLE, &report, &err);
    if (rc != OK)
        fprintf(stderr, "turn: %s\n", err.text);
    ASSERT(rc == OK);
    commit_report_free(&report);
}

/* ---- what must hold ---- */

struct sums {
    const struct everything *all;
    int64_t rows;
    int64_t files;
    const char *paths[FILES_MAX];
};

static int entry_check(void *context, const struct manifest_file *manifest,
                       const struct manifest_entry *entry, struct error *err)
{
    static const char warehouse[] = "memory:/";
    struct sums *sums = context;
    (void)manifest;
    (void)err;
    ASSERT(strncmp(entry->path, warehouse, strlen(warehouse)) == 0);
    const struct announced_file *file = file_find(sums->all, entry->path + strlen(warehouse));
    ASSERT(file != NULL && file->size == (uint64_t)entry->file_size);
    for (int64_t i = 0; i < sums->files; i++)
        ASSERT(sums->paths[i] != file->key);
    ASSERT(sums->files < FILES_MAX && entry->record_count > 0);
    sums->paths[sums->files++] = file->key;
    bool overflow = __builtin_add_overflow(sums->rows, entry->record_count, &sums->rows);
    ASSERT(!overflow);
    return OK;
}

static int64_t total(const struct view *view, const char *key)
{
    const json_t *text = json_object_get(json_object_get(view->snapshot, "summary"), key);
    ASSERT(json_is_string(text));
    return strtoll(json_string_value(text), NULL, 10);
}

static void table_check(struct bench *b)
{
    struct config config = {.ns = "db"};
    struct view view;
    struct sums sums = {.all = b->all};
    struct contract_state contract = {0};
    struct table_state state = {0};
    struct commit_report report = {0};
    struct error err;
    int rc = view_open(&view, &b->service, &config, TABLE, &err);
    ASSERT(rc == OK);
    rc = view_each(&view, entry_check, &sums, &err);
    ASSERT(rc == OK);
    ASSERT(total(&view, "total-records") == sums.rows);
    ASSERT(total(&view, "total-data-files") == sums.files);
    rc = iceberg_check_writable(view.metadata, &err);
    ASSERT(rc == OK);
    rc = contract_state_read(&b->service.committer, TABLE, &contract, &err);
    ASSERT(rc == OK && contract.found);
    rc = table_state_load(&b->service.committer, &view.table, &contract, false, &state, &report,
                          &err);
    ASSERT(rc == OK && report.alarms == 0);
    ASSERT(ledger_snapshot_id(state.ledger) == metadata_current_snapshot_id(view.metadata));
    ASSERT(ledger_next(state.ledger, HONEST, NULL) == 1);
    commit_report_free(&report);
    table_state_free(&state);
    contract_state_free(&contract);
    view_close(&view);
}

static void step(struct bench *b, const json_t *value)
{
    if (json_is_null(value)) {
        turn(b);
    } else if (json_is_string(value)) {
        announce(b, slice_of(json_string_value(value), json_string_length(value)));
    } else {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        if (text != NULL)
            announce(b, slice_cstr(text));
        free(text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bench b;
    json_error_t ignored;
    json_t *steps = json_loadb((const char *)data, size, JSON_ALLOW_NUL, &ignored);
    size_t count = json_array_size(steps);
    if (count > 0 && count <= STEPS_MAX) {
        bench_init(&b);
        for (size_t i = 0; i < count; i++)
            step(&b, json_array_get(steps, i));
        announce_honestly(&b);
        turn(&b);
        table_check(&b);
        bench_free(&b);
    }
    json_decref(steps);
    return 0;
}
