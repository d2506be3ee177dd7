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
#include "tests/fuzz/cloud_bench.h"

#define HONEST "honest/" EPOCH "/" TABLE

enum { STEPS_MAX = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

/* How many rows the table has. */
static int64_t table_check(struct bench *b)
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
    return sums.rows;
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

static int64_t run(const json_t *steps)
{
    struct bench b;
    bench_init(&b);
    for (size_t i = 0; i < json_array_size(steps); i++)
        step(&b, json_array_get(steps, i));
    announce_honestly(&b);
    turn(&b);
    int64_t rows = table_check(&b);
    bench_free(&b);
    return rows;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool proved;
    json_error_t ignored;
    if (!proved) { /* that there is something that is taken */
        json_t *good = json_pack("[s]", BENCH_ANNOUNCEMENT);
        ASSERT(run(good) == 10);
        json_decref(good);
        proved = true;
    }
    json_t *steps = json_loadb((const char *)data, size, JSON_ALLOW_NUL, &ignored);
    if (json_array_size(steps) > 0 && json_array_size(steps) <= STEPS_MAX)
        run(steps);
    json_decref(steps);
    return 0;
}
