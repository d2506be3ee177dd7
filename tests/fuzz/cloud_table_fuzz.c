/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of which one object is a stranger's: the input takes the place of the table's
 * metadata, its manifest list, its manifest, its ledger or its contract, by what it looks
 * like. Every command of bidlake-table is run over it, a turn, and a skip by hand: they end
 * with success or a reason, and a turn that ends well leaves a table that reads.
 */
#include <zstd.h>

#include "lib/announce/announce.h"
#include "tests/fuzz/cloud_bench.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the commands print is of no interest, but is made. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    FILE *out = freopen("/dev/null", "w", stdout);
    ASSERT(out != NULL);
    return 0;
}

/* ---- a catalog whose metadata may be a stranger's ---- */

struct forged_catalog {
    struct catalog *inner;
    struct slice metadata; /* empty: the true one */
    json_t *committed;     /* over the forged one */
};

static int forged_load(void *impl, const char *ns, const char *table, struct catalog_table *out,
                       bool *found, struct error *err)
{
    struct forged_catalog *forged = impl;
    json_t *metadata = json_incref(forged->committed);
    int rc = OK;
    if (forged->metadata.len > 0 && metadata == NULL)
        rc = metadata_decode(&metadata, forged->metadata, err);
    if (rc == OK)
        rc = catalog_load_table(forged->inner, ns, table, out, found, err);
    if (rc == OK && *found && metadata != NULL) {
        json_decref(out->metadata);
        out->metadata = json_incref(metadata);
    }
    json_decref(metadata);
    return rc;
}

static int forged_commit(void *impl, const char *ns, const char *table,
                         const struct catalog_table *base, const json_t *requirements,
                         const json_t *updates, struct catalog_table *out, struct error *err)
{
    struct forged_catalog *forged = impl;
    json_t *next = NULL;
    if (forged->metadata.len == 0)
        return catalog_commit(forged->inner, ns, table, base, requirements, updates, out, err);
    int rc = metadata_check_requirements(base->metadata, requirements, err);
    if (rc == OK)
        rc = metadata_apply(&next, base->metadata, base->metadata_location, updates,
                            wall_us(NULL) / 1000, err);
    if (rc != OK)
        return rc;
    json_decref(forged->committed);
    forged->committed = next;
    if (out != NULL)
        *out =
            (struct catalog_table){.metadata_location = memory_copy_cstr(base->metadata_location),
                                   .metadata = json_incref(next)};
    return OK;
}

static int forged_namespaces(void *impl, struct catalog_names *out, struct error *err)
{
    return catalog_list_namespaces(((struct forged_catalog *)impl)->inner, out, err);
}

static int forged_tables(void *impl, const char *ns, struct catalog_names *out, struct error *err)
{
    return catalog_list_tables(((struct forged_catalog *)impl)->inner, ns, out, err);
}

static void forged_close(void *impl)
{
    struct forged_catalog *forged = impl;
    catalog_close(forged->inner);
    json_decref(forged->committed);
}

static const struct catalog_ops forged_ops = {.type = "forged",
                                              .list_namespaces = forged_namespaces,
                                              .list_tables = forged_tables,
                                              .load_table = forged_load,
                                              .commit = forged_commit,
                                              .close = forged_close};

/* ---- what is replaced ---- */

static bool has(struct slice bytes, const char *text)
{
    return memmem(bytes.data, bytes.len, text, strlen(text)) != NULL;
}

/* The key of the current snapshot's list, of its only manifest, of the ledger. */
static void replace(struct bench *b, struct slice bytes, struct forged_catalog *forged)
{
    struct config config = {.ns = "db"};
    struct view view;
    struct error err;
    struct buf key = {0};
    struct buf frame = {0};
    char place[OBJSTORE_KEY_MAX + 1] = "";
    bool fine = true;
    int rc = view_open(&view, &b->service, &config, TABLE, &err);
    ASSERT(rc == OK && view.manifest_count > 0);
    if (has(bytes, "format-version") && bytes.data[0] == '{') {
        forged->metadata = bytes;
    } else if (has(bytes, "manifest_path")) {
        const json_t *list = json_object_get(view.snapshot, "manifest-list");
        fine = objstore_key_of(b->service.store, json_string_value(list), place);
    } else if (has(bytes, "avro.")) {
        fine = objstore_key_of(b->service.store, view.manifests[0].path, place);
    } else if (has(bytes, "streams")) {
        snprintf(place, sizeof place, "%s",
                 metadata_property_borrow(view.metadata, "bidlake.ledger"));
        uint8_t *at = buf_extend(&frame, ZSTD_compressBound(bytes.len));
        frame.len = ZSTD_compress(at, frame.len, bytes.data, bytes.len, 1);
        bytes = buf_slice(&frame);
    } else {
        key_of_contract(TABLE, &key);
        snprintf(place, sizeof place, "%s", buf_cstr(&key));
    }
    ASSERT(fine);
    if (place[0] != 0) {
        rc = objstore_put_bytes(b->service.store, place, bytes, PUT_ALWAYS, &err);
        ASSERT(rc == OK);
    }
    buf_free(&key);
    buf_free(&frame);
    view_close(&view);
}

/* ---- what is done ---- */

static int show_with(struct view *view, size_t command, struct error *err)
{
    int (*const commands[])(struct view *, struct error *) = {
        command_show,  command_snapshots, command_files, command_partitions,
        command_count, command_check,     command_ledger};
    return commands[command](view, err);
}

static void look(struct bench *b)
{
    struct config config = {.ns = "db"};
    struct view view;
    struct error err;
    for (size_t i = 0; i < 14; i++) {
        config.json = i >= 7;
        config.by = i % 7 == 4 ? "country" : NULL;
        err.text[0] = 0;
        int rc = view_open(&view, &b->service, &config, TABLE, &err);
        int status = rc == OK ? show_with(&view, i % 7, &err) : EXIT_FAILED;
        ASSERT(status == EXIT_DONE || err.text[0] != 0 || i % 7 == 5);
        view_close(&view);
    }
    /* What it can't read it tells of by itself, and lists the rest. */
    int status = command_ls(&b->service, &config, &err);
    ASSERT(status == EXIT_DONE || status == EXIT_FAILED);
}

static void announce_lost(struct bench *b, uint64_t from, uint64_t to)
{
    struct announcement a;
    struct lost_range lost = {.from = from, .to = to, .events = to - from, .reason = "test"};
    struct buf bytes = {0};
    announcement_init(&a);
    a.stream = STREAM;
    a.agent = "edge";
    a.from = from;
    a.to = to;
    a.table = TABLE;
    a.schema = table_schema_to_iceberg(&b->mapping.schema);
    a.writer = "bidlake test";
    a.lost_count = 1;
    a.lost = &lost;
    announcement_encode(&a, &bytes);
    inbox_put(b, STREAM, from, buf_slice(&bytes));
    announcement_free(&a);
    buf_free(&bytes);
}

/* *wrote: it made a snapshot. A turn that takes nothing looks at no manifest. */
static int turn(struct bench *b, bool *wrote, struct error *err)
{
    struct commit_report report = {0};
    err->text[0] = 0;
    int rc = commit_turn_table(&b->service.committer, TABLE, &report, err);
    *wrote = report.snapshots > 0;
    commit_report_free(&report);
    ASSERT(rc == OK || err->text[0] != 0);
    return rc;
}

static void check_reads(struct bench *b)
{
    struct config config = {.ns = "db"};
    struct view view;
    struct error err;
    int rc = view_open(&view, &b->service, &config, TABLE, &err);
    ASSERT(rc == OK);
    view_close(&view);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bench b;
    struct forged_catalog forged = {0};
    struct commit_report report = {0};
    struct error err;
    uint64_t from = 0;
    if (size == 0)
        return 0;
    bench_init(&b);
    announce(&b, slice_cstr(BENCH_ANNOUNCEMENT));
    bool wrote = false;
    int rc = turn(&b, &wrote, &err);
    ASSERT(rc == OK && wrote);
    replace(&b, slice_of(data, size), &forged);
    forged.inner = b.service.catalog;
    b.service.catalog = catalog_wrap(&forged_ops, &forged);
    b.service.committer.catalog = b.service.catalog;
    look(&b);
    announce_lost(&b, 5, 10);
    announce_lost(&b, 10, 20);
    rc = turn(&b, &wrote, &err);
    if (rc == OK && wrote)
        check_reads(&b);
    rc = commit_skip(&b.service.committer, TABLE, STREAM, 100, &from, &report, &err);
    if (rc == OK)
        check_reads(&b);
    commit_report_free(&report);
    bench_free(&b);
    return 0;
}
