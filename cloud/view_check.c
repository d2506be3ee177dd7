/* SPDX-License-Identifier: Apache-2.0
 *
 * check: do metadata, manifest list, manifests, Parquet footers and ledger say the same?
 * Every manifest and every footer is read; each thing that disagrees is one line.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/inbox.h"
#include "cloud/manifests.h"
#include "cloud/view.h"
#include "lib/base/memory.h"
#include "lib/base/plain.h"
#include "lib/parquet/parquet.h"

enum { TAIL_BYTES = 64 << 10, FOOTER_BYTES_MAX = 64 << 20, PROBLEMS_MAX = 1000 };

/* A range of a stream that a live file stands for, by its name. */
struct named_range {
    char hash[STREAM_HASH_SIZE];
    uint64_t from;
    uint64_t to;
};

struct checking {
    struct view *view;
    json_t *problems;
    size_t problem_count;
    size_t manifests;
    size_t files;
    int64_t rows;
    int64_t bytes;
    int64_t all_bytes;          /* delete files too */
    struct parquet_pages pages; /* of --deep */
    size_t delete_files;
    size_t path_count;
    size_t path_cap;
    char **paths;
    size_t range_count;
    size_t range_cap;
    struct named_range *ranges;
};

static void problem(struct checking *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void problem(struct checking *c, const char *format, ...)
{
    char text[800];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    c->problem_count++;
    if (json_array_size(c->problems) < PROBLEMS_MAX)
        json_array_append_new(c->problems, view_text(text));
}

/* ---- a data file ---- */

/* "<hash>-<from>-<to>-<n>.parquet"; a file of another engine's making has another name. */
static void range_keep(struct checking *c, const char *path)
{
    enum { HASH = STREAM_HASH_SIZE - 1 };
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    unsigned long long from;
    unsigned long long to;
    unsigned n;
    int end = 0;
    if (strspn(name, "0123456789abcdef") != HASH ||
        sscanf(name + HASH, "-%llu-%llu-%u.parquet%n", &from, &to, &n, &end) != 3 ||
        name[HASH + end] != 0)
        return;
    if (c->range_count == c->range_cap) {
        c->range_cap = c->range_cap == 0 ? 256 : c->range_cap * 2;
        c->ranges = memory_resize(c->ranges, c->range_cap, sizeof *c->ranges);
    }
    struct named_range *range = &c->ranges[c->range_count++];
    *range = (struct named_range){.from = from, .to = to};
    memcpy(range->hash, name, HASH);
}

static void path_keep(struct checking *c, const char *path)
{
    if (c->path_count == c->path_cap) {
        c->path_cap = c->path_cap == 0 ? 256 : c->path_cap * 2;
        c->paths = memory_resize(c->paths, c->path_cap, sizeof *c->paths);
    }
    c->paths[c->path_count++] = memory_copy_cstr(path);
}

static void leaf_compare(struct checking *c, const struct manifest_entry *entry,
                         const struct parquet_footer *footer)
{
    for (size_t i = 0; i < entry->bound_count; i++) {
        const struct file_bound *b = &entry->bounds[i];
        const struct parquet_footer_leaf *leaf = NULL;
        for (size_t k = 0; k < footer->leaf_count && leaf == NULL; k++)
            if (footer->leaves[k].field_id == b->field_id)
                leaf = &footer->leaves[k];
        if (leaf == NULL) {
            problem(c, "%s: metrics of field %d, which the file doesn't have", entry->path,
                    b->field_id);
            continue;
        }
        if (b->nulls >= 0 && leaf->null_count >= 0 && b->nulls != leaf->null_count)
            problem(c, "%s: field %d: %" PRId64 " nulls in the manifest, %" PRId64 " in the footer",
                    entry->path, b->field_id, b->nulls, leaf->null_count);
        if (b->values >= 0 && b->values != leaf->value_count)
            problem(c,
                    "%s: field %d: %" PRId64 " values in the manifest, %" PRId64 " in the footer",
                    entry->path, b->field_id, b->values, leaf->value_count);
        if (b->size >= 0 && b->size != leaf->compressed_size)
            problem(c, "%s: field %d: %" PRId64 " bytes in the manifest, %" PRId64 " in the footer",
                    entry->path, b->field_id, b->size, leaf->compressed_size);
    }
}

static void footer_compare(struct checking *c, const struct manifest_entry *entry,
                           const struct parquet_footer *footer)
{
    if (footer->row_count != entry->record_count)
        problem(c, "%s: %" PRId64 " rows in the manifest, %" PRId64 " in the footer", entry->path,
                entry->record_count, footer->row_count);
    if (entry->split_count > 0 && entry->split_count != footer->row_group_count)
        problem(c, "%s: %zu splits in the manifest, %zu row groups in the footer", entry->path,
                entry->split_count, footer->row_group_count);
    for (size_t i = 0; i < entry->split_count && i < footer->row_group_count; i++)
        if (entry->splits[i] != footer->row_group_offsets[i])
            problem(c, "%s: row group %zu begins at %" PRId64 ", not at %" PRId64, entry->path, i,
                    footer->row_group_offsets[i], entry->splits[i]);
    leaf_compare(c, entry, footer);
}

/* The footer is at the end; a longer one than was brought says how much it needs. */
static int footer_read(struct checking *c, const char *key, uint64_t size,
                       struct parquet_footer *out, struct error *err)
{
    struct objstore *store = c->view->service->store;
    struct buf tail;
    struct objstore_info info = {0};
    size_t need = size < TAIL_BYTES ? (size_t)size : TAIL_BYTES;
    int rc = OK;
    buf_init(&tail, FOOTER_BYTES_MAX);
    for (int i = 0; i < 2; i++) {
        size_t wanted = need;
        buf_reset(&tail);
        rc = objstore_get_range(store, key, -(int64_t)wanted, 0, &tail, &info, err);
        if (rc != OK)
            break;
        rc = parquet_footer_decode(out, buf_slice(&tail), size, &need, err);
        if (rc != ERROR_LIMIT || need <= wanted || need > FOOTER_BYTES_MAX)
            break;
    }
    buf_free(&tail);
    return rc;
}

static void file_check(struct checking *c, const struct manifest_entry *entry)
{
    char key[OBJSTORE_KEY_MAX + 1];
    struct objstore_info info = {0};
    struct parquet_footer footer = {0};
    struct error err;
    if (!objstore_key_of(c->view->service->store, entry->path, key)) {
        problem(c, "%s: outside of the warehouse: not looked at", entry->path);
        return;
    }
    if (objstore_head(c->view->service->store, key, &info, &err) != OK) {
        problem(c, "%s: %s", entry->path, err.text);
        return;
    }
    if (!info.found) {
        problem(c, "%s: is not there", entry->path);
        return;
    }
    if (info.size != (uint64_t)entry->file_size) {
        problem(c, "%s: %" PRId64 " bytes in the manifest, %" PRIu64 " in the store", entry->path,
                entry->file_size, info.size);
        return;
    }
    if (strcasecmp(entry->format, "parquet") != 0)
        return;
    if (footer_read(c, key, info.size, &footer, &err) != OK) {
        problem(c, "%s: footer: %s", entry->path, err.text);
        return;
    }
    footer_compare(c, entry, &footer);
    if (c->view->config->deep && view_pages_check(c->view, key, &footer, &c->pages, &err) != OK)
        problem(c, "%s: %s", entry->path, err.text);
    parquet_footer_free(&footer);
}

/* ---- manifests ---- */

static void manifest_compare(struct checking *c, const struct manifest_file *manifest,
                             const struct manifest_entry *entries, size_t count)
{
    int64_t files[3] = {0};
    int64_t rows[3] = {0};
    for (size_t i = 0; i < count; i++) {
        int status = entries[i].status;
        if (status < 0 || status > 2)
            continue;
        files[status]++;
        rows[status] += entries[i].record_count;
    }
    if (files[0] != manifest->existing_files || files[1] != manifest->added_files ||
        files[2] != manifest->deleted_files)
        problem(c, "%s: the list counts other files than the manifest has", manifest->path);
    if (rows[0] != manifest->existing_rows || rows[1] != manifest->added_rows ||
        rows[2] != manifest->deleted_rows)
        problem(c, "%s: the list counts other rows than the manifest has", manifest->path);
}

static void entry_check(struct checking *c, const struct manifest_entry *entry)
{
    if (entry->status == 2)
        return;
    path_keep(c, entry->path);
    c->all_bytes += entry->file_size;
    if (entry->content != 0) {
        c->delete_files++;
        return;
    }
    c->files++;
    c->rows += entry->record_count;
    c->bytes += entry->file_size;
    range_keep(c, entry->path);
    file_check(c, entry);
}

static void manifest_check(struct checking *c, const struct manifest_file *manifest)
{
    struct arena arena = {0};
    struct buf bytes;
    struct manifest_entry *entries = NULL;
    size_t count = 0;
    struct error err;
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    c->manifests++;
    int rc = url_get(c->view->service->store, manifest->path, &bytes, NULL, &err);
    if (rc == OK && (int64_t)bytes.len != manifest->length)
        problem(c, "%s: %" PRId64 " bytes in the list, %zu in the store", manifest->path,
                manifest->length, bytes.len);
    if (rc == OK)
        rc = manifest_decode(&entries, &count, &arena, manifest, buf_slice(&bytes), &err);
    if (rc != OK) {
        problem(c, "%s: %s", manifest->path, err.text);
    } else {
        manifest_compare(c, manifest, entries, count);
        for (size_t i = 0; i < count; i++)
            entry_check(c, &entries[i]);
    }
    buf_free(&bytes);
    arena_free(&arena);
}

/* ---- the whole ---- */

static void total_check(struct checking *c, const char *key, int64_t counted)
{
    const json_t *summary = json_object_get(c->view->snapshot, "summary");
    const char *text = json_string_value(json_object_get(summary, key));
    if (text != NULL && strtoll(text, NULL, 10) != counted)
        problem(c, "snapshot: %s is %s, the manifests have %" PRId64, key, text, counted);
}

static int text_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void paths_check(struct checking *c)
{
    if (c->path_count > 1)
        qsort(c->paths, c->path_count, sizeof *c->paths, text_compare);
    for (size_t i = 1; i < c->path_count; i++)
        if (strcmp(c->paths[i - 1], c->paths[i]) == 0)
            problem(c, "%s: is live twice", c->paths[i]);
}

static int range_compare(const void *a, const void *b)
{
    const struct named_range *x = a;
    const struct named_range *y = b;
    int order = strcmp(x->hash, y->hash);
    if (order != 0)
        return order;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return (x->to > y->to) - (x->to < y->to);
}

/* By the names of our own files: nothing is in the table that the ledger doesn't count,
 * and no position twice. */
static void ranges_check(struct checking *c, const struct ledger *ledger)
{
    struct stream_index index;
    stream_index_build(&index, ledger);
    if (c->range_count > 1)
        qsort(c->ranges, c->range_count, sizeof *c->ranges, range_compare);
    for (size_t i = 0; i < c->range_count; i++) {
        const struct named_range *range = &c->ranges[i];
        const struct stream_row *row = stream_index_find(&index, range->hash);
        if (row != NULL && range->to > row->next)
            problem(c, "stream %s: [%" PRIu64 ", %" PRIu64 ") is in the table, next is %" PRIu64,
                    row->stream, range->from, range->to, row->next);
        if (row == NULL && ledger_floor_borrow(ledger) == NULL)
            problem(c, "files of stream %s, which the ledger doesn't know", range->hash);
        const struct named_range *before = i > 0 ? &c->ranges[i - 1] : NULL;
        if (before != NULL && strcmp(before->hash, range->hash) == 0 &&
            (before->from != range->from || before->to != range->to) && range->from < before->to)
            problem(c,
                    "stream %s: [%" PRIu64 ", %" PRIu64 ") and [%" PRIu64 ", %" PRIu64 ") overlap",
                    row != NULL ? row->stream : range->hash, before->from, before->to, range->from,
                    range->to);
    }
    stream_index_free(&index);
}

static void ledger_check(struct checking *c)
{
    const struct committer *committer = &c->view->service->committer;
    struct contract_state contract = {0};
    struct table_state state = {0};
    struct commit_report report = {0};
    struct error err;
    int rc = contract_state_read(committer, c->view->table.full, &contract, &err);
    if (rc == OK)
        rc = table_state_load(committer, &c->view->table, &contract, false, &state, &report, &err);
    if (rc != OK)
        problem(c, "ledger: %s", err.text);
    else if (metadata_current_snapshot_id(state.loaded.metadata) ==
             metadata_current_snapshot_id(c->view->metadata))
        ranges_check(c, state.ledger); /* else somebody committed meanwhile: look again */
    if (rc == OK &&
        ledger_snapshot_id(state.ledger) != metadata_current_snapshot_id(state.loaded.metadata) &&
        metadata_snapshot_borrow(state.loaded.metadata, ledger_snapshot_id(state.ledger)) == NULL)
        fprintf(stderr,
                "bidlake-table: the ledger was written with snapshot %" PRId64
                ", which is no longer kept; others have committed since\n",
                ledger_snapshot_id(state.ledger));
    commit_report_free(&report);
    table_state_free(&state);
    contract_state_free(&contract);
}

static void result_print(const struct checking *c)
{
    size_t i;
    const json_t *text;
    if (c->view->config->json) {
        json_t *object =
            json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:O}", "ok", c->problem_count == 0,
                      "manifests", (json_int_t)c->manifests, "files", (json_int_t)c->files, "rows",
                      (json_int_t)c->rows, "bytes", (json_int_t)c->bytes, "pages",
                      (json_int_t)c->pages.count, "pages_unchecked", (json_int_t)c->pages.unchecked,
                      "problem_count", (json_int_t)c->problem_count, "problems", c->problems);
        json_dumpf(object, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(object);
        return;
    }
    json_array_foreach(c->problems, i, text) view_print_pair("problem:", json_string_value(text));
    if (c->view->config->deep)
        printf("%zu pages, %zu of them without a checksum\n", c->pages.count, c->pages.unchecked);
    plain_write(stdout, c->view->table.full);
    printf(": %zu manifests, %zu files, %" PRId64 " rows, %" PRId64 " bytes: %s", c->manifests,
           c->files, c->rows, c->bytes, c->problem_count == 0 ? "all agree\n" : "");
    if (c->problem_count > 0)
        printf("%zu problems\n", c->problem_count);
}

int command_check(struct view *view, struct error *err)
{
    (void)err;
    struct checking c = {.view = view, .problems = json_array()};
    for (size_t i = 0; i < view->manifest_count; i++)
        manifest_check(&c, &view->manifests[i]);
    total_check(&c, "total-records", c.rows);
    total_check(&c, "total-data-files", (int64_t)c.files);
    total_check(&c, "total-files-size", c.all_bytes);
    total_check(&c, "total-delete-files", (int64_t)c.delete_files);
    paths_check(&c);
    ledger_check(&c);
    result_print(&c);
    for (size_t i = 0; i < c.path_count; i++)
        free(c.paths[i]);
    free(c.paths);
    free(c.ranges);
    json_decref(c.problems);
    return c.problem_count == 0 ? EXIT_DONE : EXIT_FAILED;
}
