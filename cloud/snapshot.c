/* SPDX-License-Identifier: Apache-2.0
 *
 * Order of writes: manifests (one a partition spec), manifest list, ledger, and only then
 * the swap that makes them all visible at once. All have fresh names; none is removed if
 * the swap fails or is not heard of: the request may still be on its way.
 */
#include "cloud/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/manifests.h"
#include "cloud/merge.h"
#include "cloud/retention.h"
#include "lib/base/arena.h"
#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/fault.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"

enum { APPEND_SPECS_MAX = 16, NEW_MANIFESTS_MAX = APPEND_SPECS_MAX + 1 };

struct writing {
    const struct committer *committer;
    const struct table_name *table;
    const json_t *metadata;
    struct append *append;
    struct arena arena;
    struct buf directory; /* URL, for manifests and lists */
    char uuid[UUID_TEXT_SIZE];
    int64_t parent_id;
    int64_t sequence_number;
    int format_version;
    size_t manifest_count; /* new ones first, then the parent's */
    struct manifest_file *manifests;
    size_t new_count;
    char *list_url;
    struct buf ledger_key;
    json_t *dropped; /* ids of snapshots */
    uint64_t rows;
    uint64_t bytes;
    size_t partitions;
};

static int url_put(const struct writing *w, const char *url, const struct buf *bytes,
                   struct error *err)
{
    char key[OBJSTORE_KEY_MAX + 1];
    if (!objstore_key_of(w->committer->store, url, key))
        return error_set(err, ERROR_INPUT, "%s lies outside of the warehouse %s", url,
                         objstore_url_borrow(w->committer->store));
    if (buf_failed(bytes))
        return error_set(err, ERROR_LIMIT, "%s: too large", key);
    int rc = objstore_put_bytes(w->committer->store, key, buf_slice(bytes), PUT_IF_ABSENT, err);
    if (rc == ERROR_CONFLICT) /* our own, of an answer that was lost: take a new name */
        rc = err->code = ERROR_RETRY;
    return rc;
}

static void entry_fill(struct writing *w, struct manifest_entry *entry,
                       const struct append_file *from)
{
    const struct data_file *file = from->file;
    struct buf key = {0};
    struct buf url = {0};
    key_of_data_file(w->table->full, from->path, &key);
    objstore_url_of(w->committer->store, buf_cstr(&key), &url);
    *entry = (struct manifest_entry){
        .status = 1,
        .has_snapshot_id = true,
        .snapshot_id = w->append->snapshot_id,
        .path = arena_copy_cstr(&w->arena, buf_slice(&url)),
        .format = "PARQUET",
        .partition_count = file->partition_count,
        .record_count = (int64_t)file->rows,
        .file_size = (int64_t)file->size,
        .bound_count = file->metric_count,
        .split_count = file->split_count,
        .splits = file->splits,
        .has_sort_order = true,
        .sort_order_id = file->sort,
    };
    memcpy(entry->partition, file->partition, sizeof file->partition);
    entry->bounds = arena_alloc(&w->arena, file->metric_count, sizeof *entry->bounds);
    for (size_t i = 0; i < file->metric_count; i++) {
        const struct file_metric *m = &file->metrics[i];
        entry->bounds[i] = (struct file_bound){
            .field_id = m->field_id,
            .size = m->size,
            .values = m->values,
            .nulls = m->nulls,
            .nans = m->nans,
            .has_lower = m->has_lower,
            .has_upper = m->has_upper,
            .lower = m->lower,
            .upper = m->upper,
        };
    }
    w->rows += file->rows;
    w->bytes += file->size;
    buf_free(&key);
    buf_free(&url);
}

static int manifest_put(struct writing *w, int32_t spec_id, const struct manifest_entry *entries,
                        size_t count, int64_t min_sequence_number, struct error *err)
{
    ASSERT(w->new_count < NEW_MANIFESTS_MAX);
    struct manifest_file *summary = &w->manifests[w->new_count];
    const json_t *spec = metadata_spec_borrow(w->metadata, spec_id);
    struct buf bytes;
    if (spec == NULL)
        return error_set(err, ERROR_CORRUPT, "the table has no partition spec %d", spec_id);
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    int rc =
        manifest_encode(entries, count, metadata_current_schema_borrow(w->metadata), spec,
                        w->format_version, w->append->snapshot_id, &bytes, summary, &w->arena, err);
    if (rc == OK) {
        summary->path = arena_printf(&w->arena, "%s/" OUR_MANIFEST "%s-m%zu.avro",
                                     buf_cstr(&w->directory), w->uuid, w->new_count);
        summary->length = (int64_t)bytes.len;
        summary->sequence_number = w->sequence_number;
        summary->min_sequence_number = min_sequence_number;
        rc = url_put(w, summary->path, &bytes, err);
    }
    if (rc == OK)
        w->new_count++;
    buf_free(&bytes);
    return rc;
}

static int manifest_write(struct writing *w, int32_t spec_id, struct error *err)
{
    const struct append *append = w->append;
    struct manifest_entry *entries = memory_alloc(append->file_count, sizeof *entries);
    size_t count = 0;
    for (size_t i = 0; i < append->file_count; i++)
        if (append->files[i].file->spec == spec_id)
            entry_fill(w, &entries[count++], &append->files[i]);

    int rc = manifest_put(w, spec_id, entries, count, w->sequence_number, err);
    free(entries);
    return rc;
}

static int manifests_write(struct writing *w, struct error *err)
{
    int32_t specs[APPEND_SPECS_MAX];
    size_t spec_count = 0;
    for (size_t i = 0; i < w->append->file_count; i++) {
        int32_t spec = w->append->files[i].file->spec;
        size_t at = 0;
        while (at < spec_count && specs[at] != spec)
            at++;
        if (at == spec_count && spec_count == APPEND_SPECS_MAX)
            return error_set(err, ERROR_INPUT, "files of more than %d partition specs",
                             APPEND_SPECS_MAX);
        if (at == spec_count)
            specs[spec_count++] = spec;
    }
    w->manifests = arena_alloc(&w->arena, NEW_MANIFESTS_MAX, sizeof *w->manifests);
    int rc = OK;
    for (size_t i = 0; i < spec_count && rc == OK; i++)
        rc = manifest_write(w, specs[i], err);
    return rc;
}

/* The parent's manifests are carried over as they are, delete manifests too. */
static int parent_manifests_read(struct writing *w, struct manifest_file **out, size_t *count,
                                 struct error *err)
{
    *count = 0;
    if (w->parent_id < 0)
        return OK;
    const json_t *parent = metadata_snapshot_borrow(w->metadata, w->parent_id);
    const char *url = json_string_value(json_object_get(parent, "manifest-list"));
    if (url == NULL)
        return error_set(err, ERROR_INPUT, "snapshot %" PRId64 " has no manifest list (format 1?)",
                         w->parent_id);
    return manifest_list_get(w->committer->store, url, &w->arena, out, count, NULL, err);
}

/* Format 3: data manifests without a first row id get theirs, in the list's order. */
static int64_t row_ids_assign(struct writing *w)
{
    if (w->format_version < 3)
        return 0;
    int64_t first = json_integer_value(json_object_get(w->metadata, "next-row-id"));
    int64_t next = first;
    for (size_t i = 0; i < w->manifest_count; i++) {
        struct manifest_file *m = &w->manifests[i];
        if (m->content != 0 || m->has_first_row_id)
            continue;
        m->has_first_row_id = true;
        m->first_row_id = next;
        next += m->added_rows + m->existing_rows;
    }
    return next - first;
}

/* Many small manifests of the parent become one. What can't be merged (a spec whose columns
 * are gone, a manifest that doesn't read) stays as it is: it is no reason not to commit. */
static int merge_put(struct writing *w, const struct manifest_file *parents, size_t count,
                     struct manifest_merge *merge, struct error *err)
{
    struct manifest_merge_from from = {
        .committer = w->committer,
        .metadata = w->metadata,
        .manifests = parents,
        .count = count,
        .snapshot_id = w->append->snapshot_id,
    };
    int rc = manifest_merge_find(&from, &w->arena, merge, err);
    if (rc != OK || merge->entry_count == 0)
        return rc;
    rc = manifest_put(w, merge->spec_id, merge->entries, merge->entry_count,
                      merge->min_sequence_number, err);
    if (rc == ERROR_INPUT || rc == ERROR_LIMIT) {
        *merge = (struct manifest_merge){0};
        return OK;
    }
    return rc;
}

/* New manifests first, then the parent's. */
static int list_make(struct writing *w, struct error *err)
{
    struct manifest_file *parents = NULL;
    struct manifest_merge merge = {0};
    size_t parent_count = 0;
    int rc = parent_manifests_read(w, &parents, &parent_count, err);
    if (rc == OK)
        rc = merge_put(w, parents, parent_count, &merge, err);
    if (rc != OK)
        return rc;
    struct manifest_file *all =
        arena_alloc(&w->arena, w->new_count + parent_count + 1, sizeof *all);
    memcpy(all, w->manifests, w->new_count * sizeof *all);
    w->manifest_count = w->new_count;
    for (size_t i = 0; i < parent_count; i++)
        if (merge.merged == NULL || !merge.merged[i])
            all[w->manifest_count++] = parents[i];
    w->manifests = all;
    return OK;
}

static int list_put(struct writing *w, struct error *err)
{
    struct buf bytes;
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    manifest_list_encode(w->manifests, w->manifest_count, w->format_version, w->append->snapshot_id,
                         w->parent_id, w->sequence_number, &bytes);
    w->list_url = arena_printf(&w->arena, "%s/snap-%" PRId64 "-1-%s.avro", buf_cstr(&w->directory),
                               w->append->snapshot_id, w->uuid);
    int rc = url_put(w, w->list_url, &bytes, err);
    buf_free(&bytes);
    return rc;
}

static int ledger_put(struct writing *w, struct error *err)
{
    uint8_t random[8];
    char hex[2 * sizeof random + 1];
    struct buf bytes;
    buf_init(&bytes, LEDGER_BYTES_MAX);
    committer_random(w->committer, random, sizeof random);
    hex_encode(slice_of(random, sizeof random), hex);
    ledger_set_snapshot_id(w->append->ledger, w->append->snapshot_id);
    ledger_encode(w->append->ledger, &bytes);
    key_of_ledger(w->table->full, w->append->snapshot_id, hex, &w->ledger_key);
    int rc = OK;
    if (buf_failed(&bytes))
        rc = error_set(err, ERROR_LIMIT, "ledger: too large");
    else
        rc = objstore_put_bytes(w->committer->store, buf_cstr(&w->ledger_key), buf_slice(&bytes),
                                PUT_IF_ABSENT, err);
    if (rc == ERROR_CONFLICT)
        rc = err->code = ERROR_RETRY;
    buf_free(&bytes);
    return rc;
}

static void summary_add(json_t *summary, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    json_object_set_new(summary, key, json_string(text));
}

/* total = the parent's + added; left out when the parent doesn't say. */
static void total_add(json_t *summary, const json_t *parent, const char *key, uint64_t added)
{
    uint64_t before = 0;
    if (parent != NULL) {
        const json_t *summary_before = json_object_get(parent, "summary");
        const char *text = json_string_value(json_object_get(summary_before, key));
        char *end = NULL;
        if (text == NULL || *text < '0' || *text > '9')
            return;
        before = strtoull(text, &end, 10);
        if (*end != 0 || before > INT64_MAX - added)
            return;
    }
    summary_add(summary, key, before + added);
}

static json_t *summary_make(const struct writing *w)
{
    json_t *summary = json_object();
    const json_t *parent =
        w->parent_id >= 0 ? metadata_snapshot_borrow(w->metadata, w->parent_id) : NULL;
    json_object_set_new(summary, "operation", json_string("append"));
    if (w->append->file_count > 0) {
        summary_add(summary, "added-data-files", w->append->file_count);
        summary_add(summary, "added-records", w->rows);
        summary_add(summary, "added-files-size", w->bytes);
        summary_add(summary, "changed-partition-count", w->partitions);
    }
    total_add(summary, parent, "total-records", w->rows);
    total_add(summary, parent, "total-files-size", w->bytes);
    total_add(summary, parent, "total-data-files", w->append->file_count);
    total_add(summary, parent, "total-delete-files", 0);
    total_add(summary, parent, "total-position-deletes", 0);
    total_add(summary, parent, "total-equality-deletes", 0);
    json_object_set_new(summary, "engine-name", json_string("bidlake"));
    json_object_set_new(summary, "engine-version", json_string(BIDLAKE_VERSION));
    return summary;
}

/* Never before the last one: Java refuses to load a table whose log goes back a minute. */
static int64_t snapshot_time(const struct writing *w)
{
    int64_t now = clock_wall_ms(committer_clock(w->committer));
    const json_t *log = json_object_get(w->metadata, "snapshot-log");
    const json_t *last = json_array_get(log, json_array_size(log) - 1);
    int64_t last_ms = json_integer_value(json_object_get(last, "timestamp-ms"));
    return now > last_ms ? now : last_ms + 1;
}

static json_t *snapshot_make(const struct writing *w, int64_t assigned_rows)
{
    json_t *snapshot = json_object();
    json_object_set_new(snapshot, "snapshot-id", json_integer(w->append->snapshot_id));
    if (w->parent_id >= 0)
        json_object_set_new(snapshot, "parent-snapshot-id", json_integer(w->parent_id));
    json_object_set_new(snapshot, "sequence-number", json_integer(w->sequence_number));
    json_object_set_new(snapshot, "timestamp-ms", json_integer(snapshot_time(w)));
    json_object_set_new(snapshot, "manifest-list", json_string(w->list_url));
    json_object_set_new(snapshot, "summary", summary_make(w));
    json_object_set(snapshot, "schema-id",
                    json_object_get(metadata_current_schema_borrow(w->metadata), "schema-id"));
    if (w->format_version >= 3) {
        json_object_set(snapshot, "first-row-id", json_object_get(w->metadata, "next-row-id"));
        json_object_set_new(snapshot, "added-rows", json_integer(assigned_rows));
    }
    return snapshot;
}

static json_t *requirements_make(const struct writing *w)
{
    return json_pack("[{s:s,s:s},{s:s,s:s,s:o}]", "type", "assert-table-uuid", "uuid",
                     metadata_uuid_borrow(w->metadata), "type", "assert-ref-snapshot-id", "ref",
                     "main", "snapshot-id",
                     w->parent_id >= 0 ? json_integer(w->parent_id) : json_null());
}

/* Must be noted before it happens: behind a swap that nobody heard of nobody would note it. */
static int drops_put(struct writing *w, struct error *err)
{
    w->dropped = snapshots_to_drop(w->committer, w->metadata, w->parent_id);
    if (json_array_size(w->dropped) == 0)
        return OK;
    int rc = dropped_note_put(w->committer, w->table->full, w->metadata, w->dropped,
                              w->append->snapshot_id, err);
    return rc == OK ? fault_point("commit.drops_noted", err) : rc;
}

static int swap(struct writing *w, const struct table_state *state, int64_t assigned_rows,
                struct error *err)
{
    json_t *requirements = requirements_make(w);
    json_t *updates = json_pack(
        "[{s:s,s:o},o,{s:s,s:{s:s}}]", "action", "add-snapshot", "snapshot",
        snapshot_make(w, assigned_rows), metadata_main_update(w->metadata, w->append->snapshot_id),
        "action", "set-properties", "updates", "bidlake.ledger", buf_cstr(&w->ledger_key));
    ASSERT(requirements != NULL && updates != NULL);
    if (json_array_size(w->dropped) > 0)
        json_array_append_new(updates, json_pack("{s:s,s:O}", "action", "remove-snapshots",
                                                 "snapshot-ids", w->dropped));
    int rc = OK;
    int64_t now_ms = clock_mono_ms(committer_clock(w->committer));
    if (w->append->send_before_ms > 0 && now_ms > w->append->send_before_ms)
        rc = error_set(err, ERROR_RETRY, "the attempt took too long since its first HEAD");
    else
        rc = catalog_commit(w->committer->catalog, w->table->ns, w->table->name, &state->loaded,
                            requirements, updates, NULL, err);
    json_decref(requirements);
    json_decref(updates);
    return rc;
}

static int partition_compare(const void *left, const void *right)
{
    const struct data_file *a = ((const struct append_file *)left)->file;
    const struct data_file *b = ((const struct append_file *)right)->file;
    if (a->spec != b->spec)
        return a->spec < b->spec ? -1 : 1;
    for (size_t i = 0; i < a->partition_count && i < b->partition_count; i++) {
        const struct partition_value *x = &a->partition[i];
        const struct partition_value *y = &b->partition[i];
        if (x->null != y->null)
            return x->null ? -1 : 1;
        int order = x->null      ? 0
                    : x->is_text ? slice_compare(x->text, y->text)
                                 : (x->number > y->number) - (x->number < y->number);
        if (order != 0)
            return order;
    }
    return 0;
}

static size_t partitions_count(const struct append *append)
{
    if (append->file_count == 0)
        return 0;
    struct append_file *sorted = memory_alloc(append->file_count, sizeof *sorted);
    memcpy(sorted, append->files, append->file_count * sizeof *sorted);
    qsort(sorted, append->file_count, sizeof *sorted, partition_compare);
    size_t count = 1;
    for (size_t i = 1; i < append->file_count; i++)
        count += partition_compare(&sorted[i - 1], &sorted[i]) != 0;
    free(sorted);
    return count;
}

static int64_t snapshot_id_new(const struct writing *w)
{
    for (;;) {
        uint64_t number;
        committer_random(w->committer, &number, sizeof number);
        int64_t id = (int64_t)(number & INT64_MAX);
        if (id > 0 && metadata_snapshot_borrow(w->metadata, id) == NULL)
            return id;
    }
}

int snapshot_append(const struct committer *committer, const struct table_name *table,
                    const struct table_state *state, struct append *append, struct error *err)
{
    struct writing w = {.committer = committer,
                        .table = table,
                        .metadata = state->loaded.metadata,
                        .append = append};
    int64_t assigned_rows = 0;
    w.parent_id = metadata_current_snapshot_id(w.metadata);
    w.sequence_number = metadata_last_sequence_number(w.metadata) + 1;
    w.format_version = (int)metadata_format_version(w.metadata);
    append->snapshot_id = snapshot_id_new(&w);
    committer_uuid(committer, w.uuid);
    metadata_directory(w.metadata, &w.directory);

    int rc = manifests_write(&w, err);
    if (rc == OK)
        rc = fault_point("commit.manifests_written", err);
    if (rc == OK)
        rc = list_make(&w, err);
    if (rc != OK)
        goto out;
    w.partitions = partitions_count(append);
    assigned_rows = row_ids_assign(&w);
    rc = list_put(&w, err);
    if (rc == OK)
        rc = fault_point("commit.list_written", err);
    if (rc == OK)
        rc = ledger_put(&w, err);
    if (rc == OK)
        rc = fault_point("commit.ledger_written", err);
    if (rc == OK)
        rc = drops_put(&w, err);
    if (rc == OK)
        rc = swap(&w, state, assigned_rows, err);
    if (rc == OK)
        rc = fault_point("commit.swapped", err);
out:
    arena_free(&w.arena);
    buf_free(&w.directory);
    buf_free(&w.ledger_key);
    json_decref(w.dropped);
    return rc;
}

bool snapshot_refusal_is_conflict(const struct table_state *before, const struct table_state *after)
{
    const json_t *a = before->loaded.metadata;
    const json_t *b = after->loaded.metadata;
    return metadata_current_snapshot_id(a) != metadata_current_snapshot_id(b) ||
           metadata_last_sequence_number(a) != metadata_last_sequence_number(b);
}

int snapshot_refusal_judge(const struct committer *committer, const struct table_name *table,
                           const struct table_state *before, struct error *err)
{
    struct error refusal = *err;
    struct table_state now = {0};
    bool found = false;
    int rc =
        catalog_load_table(committer->catalog, table->ns, table->name, &now.loaded, &found, err);
    if (rc == OK) {
        *err = refusal;
        if (found && snapshot_refusal_is_conflict(before, &now))
            err->code = ERROR_RETRY;
        rc = (int)err->code;
    }
    table_state_free(&now);
    return rc;
}
