/* SPDX-License-Identifier: Apache-2.0
 *
 * A table with one committer over a memory store and a memory catalog, a clock that the
 * test moves, and agents that are a function: announce() puts files and announcement.
 */
#ifndef TESTS_UNIT_CLOUD_FIXTURE_H
#define TESTS_UNIT_CLOUD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cloud/catalog/memory.h"
#include "cloud/commit.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"
#include "lib/json/json.h"
#include "lib/objstore/memory.h"
#include "tests/unit/cloud_mapping.h"

/* Each test program takes what it needs. */
#pragma GCC diagnostic ignored "-Wunused-function"

#define TABLE "db.t"
#define EPOCH_1 "01900000-0000-7000-8000-000000000001"
#define EPOCH_2 "01900000-0000-7000-8000-000000000002"
#define STREAM "edge/" EPOCH_1 "/" TABLE
#define OTHER "edge/" EPOCH_2 "/" TABLE
#define KAFKA "kafka/cluster/topic/topic-id/3/" TABLE

enum { HOUR_MS = 3600 * 1000 };

struct fixture {
    int64_t wall_us;
    int64_t mono_ms;
    struct clock clock;
    struct memory_store *bytes; /* NULL: the store lies in `directory` */
    char directory[32];
    struct objstore *store;
    struct memory_catalog *tables;
    struct catalog *catalog;
    struct random random;
    struct mapping mapping;
    struct committer committer;
    struct commit_report report;
    /* Faults to come: the nth call from now of that kind; 0: none. */
    enum catalog_fault commit_fault;
    int commit_fault_in;
    enum catalog_fault load_fault;
    int load_fault_in;
    void (*before_commit)(struct fixture *f); /* once */
};

static int64_t fixture_wall_us(void *context)
{
    return ((struct fixture *)context)->wall_us;
}

static int64_t fixture_mono_ms(void *context)
{
    return ((struct fixture *)context)->mono_ms;
}

static void fixture_pass_ms(struct fixture *f, int64_t ms)
{
    f->wall_us += ms * 1000;
    f->mono_ms += ms;
}

static void fixture_sleep_ms(void *context, int64_t ms)
{
    fixture_pass_ms(context, ms);
}

static enum catalog_fault fixture_hook(void *context, enum catalog_operation operation)
{
    struct fixture *f = context;
    if (operation == CATALOG_COMMIT && f->before_commit != NULL) {
        void (*once)(struct fixture *) = f->before_commit;
        f->before_commit = NULL;
        once(f);
    }
    if (operation == CATALOG_COMMIT && f->commit_fault_in > 0 && --f->commit_fault_in == 0)
        return f->commit_fault;
    if (operation == CATALOG_LOAD && f->load_fault_in > 0 && --f->load_fault_in == 0)
        return f->load_fault;
    return CATALOG_FAULT_NONE;
}

static void fixture_open_handles(struct fixture *f)
{
    struct catalog_options options = {.store = f->store, .clock = &f->clock};
    f->catalog = memory_catalog_attach(f->tables, &options, fixture_hook, f);
    f->committer = (struct committer){.store = f->store,
                                      .catalog = f->catalog,
                                      .clock = &f->clock,
                                      .random = &f->random,
                                      .prune_every = 1000000};
}

static void fixture_begin(struct fixture *f)
{
    f->wall_us = INT64_C(1790000000) * 1000000;
    f->mono_ms = 5000;
    f->clock = (struct clock){fixture_wall_us, fixture_mono_ms, fixture_sleep_ms, f};
}

/* The table, over the store that it has. */
static int fixture_make_table(struct fixture *f)
{
    struct error err;
    f->tables = memory_catalog_make();
    random_seed(&f->random, 7);
    fixture_open_handles(f);
    fixture_mapping(&f->mapping);
    int rc = commit_init_table(&f->committer, "db", &f->mapping, &f->report, &err);
    if (rc != OK)
        print_error("%s\n", err.text);
    commit_report_free(&f->report);
    return rc;
}

static void fixture_end(struct fixture *f)
{
    commit_report_free(&f->report);
    table_schema_free(&f->mapping.schema);
    catalog_close(f->catalog);
    memory_catalog_free(f->tables);
    objstore_close(f->store);
    memory_store_free(f->bytes);
}

static int fixture_setup(void **state)
{
    struct fixture *f = memory_alloc(1, sizeof *f);
    fixture_begin(f);
    f->bytes = memory_store_make(&f->clock);
    f->store = memory_store_attach(f->bytes, NULL, NULL);
    *state = f;
    return fixture_make_table(f);
}

static int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    fixture_end(f);
    free(f);
    return 0;
}

/* Over a store with real files, and many requests at a time. */
static int fixture_setup_files(void **state)
{
    struct fixture *f = memory_alloc(1, sizeof *f);
    struct objstore_options options = {.clock = &f->clock, .parallel = 8};
    struct error err;
    fixture_begin(f);
    snprintf(f->directory, sizeof f->directory, "/tmp/bidlake-cloud-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    assert_int_equal(objstore_open(&f->store, f->directory, &options, &err), OK);
    *state = f;
    return fixture_make_table(f);
}

static int fixture_teardown_files(void **state)
{
    struct fixture *f = *state;
    struct error err;
    fixture_end(f);
    int rc = file_remove_tree(f->directory, &err);
    free(f);
    return rc;
}

#define FILES_TEST(name)                                                                           \
    cmocka_unit_test_setup_teardown(name, fixture_setup_files, fixture_teardown_files)

/* ---- agents ---- */

struct wish {
    unsigned n;         /* of the file's name */
    bool no_file;       /* announced, not put */
    bool other_size;    /* announced one byte more */
    bool other_bytes;   /* put with other bytes of the same length */
    const char *path;   /* another path than the right one */
    const char *uuid;   /* table_uuid */
    const char *column; /* another name for column `country` */
    const char *lost;   /* no file at all: all of it is lost, for this reason */
    int32_t spec;       /* 0: with country, 1: the day alone */
    uint64_t rows_more; /* announced beyond the file's */
    int64_t day;        /* of the partition; 0: 20717 */
};

static void wish_file(struct fixture *f, const char *stream, uint64_t from, uint64_t to,
                      const struct wish *wish, struct data_file *out, struct arena *arena)
{
    struct buf path = {0};
    struct buf key = {0};
    struct error err;
    char *text = arena_printf(arena, "file of %s from %llu to %llu", stream,
                              (unsigned long long)from, (unsigned long long)to);
    data_file_path(wish->spec == 0 ? "at_day=2026-09-21/country=USA" : "at_day=2026-09-21", stream,
                   from, to, wish->n, &path);
    *out = (struct data_file){
        .path = wish->path != NULL ? wish->path : arena_copy_cstr(arena, buf_slice(&path)),
        .size = strlen(text) + (wish->other_size ? 1 : 0),
        .crc32c = crc32c(0, slice_cstr(text)),
        .rows = to - from,
        .spec = wish->spec,
        .sort = 1,
        .partition_count = wish->spec == 0 ? 2 : 1,
        .partition = {{.number = wish->day != 0 ? wish->day : 20717},
                      {.is_text = true, .text = slice_cstr("USA")}},
    };
    if (wish->other_bytes)
        text[0] = 'F';
    key_of_data_file(TABLE, buf_cstr(&path), &key);
    if (!wish->no_file)
        assert_int_equal(
            objstore_put_bytes(f->store, buf_cstr(&key), slice_cstr(text), PUT_ALWAYS, &err), OK);
    buf_free(&path);
    buf_free(&key);
}

static void announce_as(struct fixture *f, const char *stream, uint64_t from, uint64_t to,
                        const struct wish *wish)
{
    struct announcement a;
    struct data_file file;
    struct lost_range lost = {.from = from, .to = to, .events = to - from, .reason = wish->lost};
    struct buf bytes = {0};
    struct buf key = {0};
    struct error err;
    announcement_init(&a);
    a.stream = stream;
    a.agent = "edge";
    a.from = from;
    a.to = to;
    a.table = TABLE;
    a.table_uuid = wish->uuid;
    a.schema = table_schema_to_iceberg(&f->mapping.schema);
    if (wish->column != NULL)
        json_object_set_new(json_array_get(json_object_get(a.schema, "fields"), 1), "name",
                            json_string(wish->column));
    a.writer = "bidlake test";
    a.events = wish->lost != NULL ? 0 : to - from;
    a.rows = a.events + wish->rows_more;
    if (wish->lost != NULL) {
        a.lost_count = 1;
        a.lost = &lost;
    } else {
        wish_file(f, stream, from, to, wish, &file, &a.arena);
        a.file_count = 1;
        a.files = &file;
    }
    announcement_encode(&a, &bytes);
    key_of_announcement(TABLE, stream, from, &key);
    assert_int_equal(
        objstore_put_bytes(f->store, buf_cstr(&key), buf_slice(&bytes), PUT_ALWAYS, &err), OK);
    announcement_free(&a);
    buf_free(&bytes);
    buf_free(&key);
}

static void announce(struct fixture *f, const char *stream, uint64_t from, uint64_t to)
{
    struct wish plain = {0};
    announce_as(f, stream, from, to, &plain);
}

static void announce_streams(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char *stream = memory_printf("edge-%u/" EPOCH_1 "/" TABLE, i);
        announce(f, stream, 0, 10);
        free(stream);
    }
}

/* ---- what is there ---- */

static int turn_by(struct fixture *f, const struct committer *committer)
{
    struct error err;
    commit_report_free(&f->report);
    int rc = commit_turn_table(committer, TABLE, &f->report, &err);
    if (rc != OK)
        print_message("turn: %s\n", err.text);
    return rc;
}

static int turn(struct fixture *f)
{
    return turn_by(f, &f->committer);
}

static bool exists(struct fixture *f, const char *key)
{
    struct objstore_info info;
    struct error err;
    assert_int_equal(objstore_head(f->store, key, &info, &err), OK);
    return info.found;
}

static bool in_inbox(struct fixture *f, const char *stream, uint64_t from)
{
    struct buf key = {0};
    key_of_announcement(TABLE, stream, from, &key);
    bool found = exists(f, buf_cstr(&key));
    buf_free(&key);
    return found;
}

static bool is_refused(struct fixture *f, const char *stream, uint64_t from)
{
    struct buf key = {0};
    key_of_refused(TABLE, stream, from, &key);
    bool found = exists(f, buf_cstr(&key));
    buf_free(&key);
    return found;
}

static void load(struct fixture *f, struct catalog_table *out)
{
    struct error err;
    bool found = false;
    assert_int_equal(catalog_load_table(f->catalog, "db", "t", out, &found, &err), OK);
    assert_true(found);
}

static struct ledger *ledger_now(struct fixture *f)
{
    struct catalog_table table = {0};
    struct buf bytes = {0};
    struct objstore_info info;
    struct ledger *ledger = NULL;
    struct error err;
    load(f, &table);
    const char *key = metadata_property_borrow(table.metadata, "bidlake.ledger");
    assert_non_null(key);
    assert_int_equal(objstore_get(f->store, key, LEDGER_BYTES_MAX, &bytes, &info, &err), OK);
    assert_true(info.found);
    assert_int_equal(ledger_decode(&ledger, buf_slice(&bytes), &err), OK);
    assert_int_equal(ledger_snapshot_id(ledger), metadata_current_snapshot_id(table.metadata));
    buf_free(&bytes);
    catalog_table_free(&table);
    return ledger;
}

static uint64_t next_of(struct fixture *f, const char *stream)
{
    struct ledger *ledger = ledger_now(f);
    uint64_t next = ledger_next(ledger, stream, NULL);
    ledger_free(ledger);
    return next;
}

static size_t snapshot_count(struct fixture *f)
{
    struct catalog_table table = {0};
    load(f, &table);
    size_t count = json_array_size(json_object_get(table.metadata, "snapshots"));
    catalog_table_free(&table);
    return count;
}

static void get_url(struct fixture *f, const char *url, struct buf *out)
{
    char key[OBJSTORE_KEY_MAX + 1];
    struct objstore_info info;
    struct error err;
    assert_true(objstore_key_of(f->store, url, key));
    assert_int_equal(objstore_get(f->store, key, MANIFEST_BYTES_MAX, out, &info, &err), OK);
    assert_true(info.found);
}

/* Rows in main, read through list and manifests; each path once, each there. */
static uint64_t rows_in_table(struct fixture *f)
{
    struct catalog_table table = {0};
    struct arena arena = {0};
    struct error err;
    uint64_t rows = 0;
    load(f, &table);
    int64_t id = metadata_current_snapshot_id(table.metadata);
    const json_t *snapshot = metadata_snapshot_borrow(table.metadata, id);
    struct buf bytes = {0};
    struct manifest_file *files = NULL;
    size_t count = 0;
    get_url(f, json_string_value(json_object_get(snapshot, "manifest-list")), &bytes);
    assert_int_equal(manifest_list_decode(&files, &count, &arena, buf_slice(&bytes), &err), OK);
    for (size_t i = 0; i < count; i++) {
        struct manifest_entry *entries = NULL;
        size_t entry_count = 0;
        struct buf manifest = {0};
        get_url(f, files[i].path, &manifest);
        assert_int_equal(manifest.len, files[i].length);
        assert_int_equal(
            manifest_decode(&entries, &entry_count, &arena, &files[i], buf_slice(&manifest), &err),
            OK);
        for (size_t k = 0; k < entry_count; k++) {
            struct buf data = {0};
            get_url(f, entries[k].path, &data);
            assert_int_equal(data.len, entries[k].file_size);
            rows += (uint64_t)entries[k].record_count;
            buf_free(&data);
        }
        buf_free(&manifest);
    }
    const json_t *total = json_object_get(json_object_get(snapshot, "summary"), "total-records");
    assert_int_equal(strtoull(json_string_value(total), NULL, 10), rows);
    buf_free(&bytes);
    arena_free(&arena);
    catalog_table_free(&table);
    return rows;
}

/* The caller frees it; found must hold. */
static void receipt_of(struct fixture *f, const char *stream, struct receipt *out)
{
    struct buf key = {0};
    struct buf bytes = {0};
    struct objstore_info info;
    struct error err;
    receipt_init(out);
    key_of_receipt(stream, &key);
    assert_int_equal(objstore_get(f->store, buf_cstr(&key), RECEIPT_BYTES_MAX, &bytes, &info, &err),
                     OK);
    assert_true(info.found);
    assert_int_equal(receipt_decode(out, buf_slice(&bytes), &err), OK);
    buf_free(&key);
    buf_free(&bytes);
}

static uint64_t receipt_next(struct fixture *f, const char *stream)
{
    struct receipt receipt;
    receipt_of(f, stream, &receipt);
    uint64_t next = receipt.next;
    receipt_free(&receipt);
    return next;
}

/* A commit of somebody else: properties only, or an empty snapshot on main. */
static void set_property(struct fixture *f, const char *key, const char *value)
{
    struct catalog_table table = {0};
    struct error err;
    load(f, &table);
    json_t *requirements = json_array();
    json_t *updates =
        value != NULL
            ? json_pack("[{s:s,s:{s:s}}]", "action", "set-properties", "updates", key, value)
            : json_pack("[{s:s,s:[s]}]", "action", "remove-properties", "removals", key);
    assert_int_equal(
        catalog_commit(f->catalog, "db", "t", &table, requirements, updates, NULL, &err), OK);
    json_decref(requirements);
    json_decref(updates);
    catalog_table_free(&table);
}

#endif
