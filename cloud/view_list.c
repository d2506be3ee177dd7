/* SPDX-License-Identifier: Apache-2.0
 *
 * ls, show, snapshots, files, partitions.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/view.h"
#include "lib/base/memory.h"
#include "lib/base/plain.h"

static json_t *time_text(int64_t ms)
{
    struct buf text = {0};
    view_time(ms, &text);
    json_t *json = json_string(buf_cstr(&text));
    buf_free(&text);
    return json;
}

/* A summary's number; null when it doesn't say. */
static json_t *summary_number(const json_t *snapshot, const char *key)
{
    const char *text =
        json_string_value(json_object_get(json_object_get(snapshot, "summary"), key));
    return text != NULL ? json_integer((json_int_t)strtoll(text, NULL, 10)) : json_null();
}

static json_t *member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return value != NULL ? json_incref(value) : json_null();
}

struct overview {
    const struct service *service;
    json_t *rows;
    size_t unreadable;
};

/* One that can't be read is told of, the others are listed. Not so where the catalog or the store
 * is away: that would be said, after a wait each, of all. A 500 is no sign of it: some servers
 * answer that to a name that they can't make sense of. */
static int pass_over(struct overview *overview, struct error *err)
{
    if (err->code == ERROR_RETRY && err->cause != 500)
        return err->code;
    view_complain(err);
    overview->unreadable++;
    return OK;
}

static void table_list(struct overview *overview, const char *name, const json_t *metadata)
{
    const json_t *current =
        metadata_snapshot_borrow(metadata, metadata_current_snapshot_id(metadata));
    json_array_append_new(
        overview->rows,
        json_pack("{s:o,s:I,s:o,s:o,s:o,s:o}", "table", view_text(name), "snapshots",
                  (json_int_t)json_array_size(json_object_get(metadata, "snapshots")), "files",
                  summary_number(current, "total-data-files"), "rows",
                  summary_number(current, "total-records"), "bytes",
                  summary_number(current, "total-files-size"), "updated",
                  time_text(metadata_last_updated_ms(metadata))));
}

static int namespace_list(struct overview *overview, const char *ns, struct error *err)
{
    struct catalog *catalog = overview->service->catalog;
    struct catalog_names tables = {0};
    int rc = catalog_list_tables(catalog, ns, &tables, err);
    if (rc != OK)
        rc = pass_over(overview, err);
    for (size_t i = 0; i < tables.count && rc == OK; i++) {
        struct catalog_table table = {0};
        bool found = false;
        rc = catalog_load_table(catalog, ns, tables.names[i], &table, &found, err);
        if (rc != OK) {
            rc = pass_over(overview, err);
        } else if (found) {
            char *name = memory_printf("%s.%s", ns, tables.names[i]);
            table_list(overview, name, table.metadata);
            free(name);
        }
        catalog_table_free(&table);
    }
    catalog_names_free(&tables);
    return rc;
}

int command_ls(const struct service *service, const struct config *config, struct error *err)
{
    struct catalog_names namespaces = {0};
    struct overview overview = {.service = service, .rows = json_array()};
    int rc = catalog_list_namespaces(service->catalog, &namespaces, err);
    for (size_t i = 0; i < namespaces.count && rc == OK; i++)
        rc = namespace_list(&overview, namespaces.names[i], err);
    catalog_names_free(&namespaces);
    if (rc != OK) {
        json_decref(overview.rows);
        return EXIT_FAILED;
    }
    err->text[0] = 0; /* all is said */
    view_print_rows(overview.rows, config->json);
    return overview.unreadable == 0 ? EXIT_DONE : EXIT_FAILED;
}

static void show_specs(const struct view *view)
{
    size_t i;
    size_t k;
    const json_t *spec;
    const json_t *field;
    const json_t *usual = json_object_get(view->metadata, "default-spec-id");
    json_array_foreach(json_object_get(view->metadata, "partition-specs"), i, spec)
    {
        const json_t *id = json_object_get(spec, "spec-id");
        printf("spec %" JSON_INTEGER_FORMAT "%s:", json_integer_value(id),
               json_equal(id, usual) ? " (default)" : "");
        json_array_foreach(json_object_get(spec, "fields"), k, field)
        {
            const json_t *column =
                view_column(view, json_integer_value(json_object_get(field, "source-id")));
            const char *name = json_string_value(json_object_get(column, "name"));
            const char *transform = json_string_value(json_object_get(field, "transform"));
            putchar(' ');
            plain_write(stdout, transform != NULL ? transform : "?");
            putchar('(');
            plain_write(stdout, name != NULL ? name : "?");
            putchar(')');
        }
        putchar('\n');
    }
}

static json_t *schema_rows(const struct view *view)
{
    json_t *rows = json_array();
    size_t i;
    const json_t *field;
    const json_t *schema = metadata_current_schema_borrow(view->metadata);
    json_array_foreach(json_object_get(schema, "fields"), i, field)
    {
        const json_t *type = json_object_get(field, "type");
        const char *element = json_string_value(json_object_get(type, "element"));
        char *text = json_is_string(type) ? memory_copy_cstr(json_string_value(type))
                     : element != NULL    ? memory_printf("list<%s>", element)
                                          : json_dumps(type, JSON_COMPACT | JSON_ENCODE_ANY);
        json_array_append_new(rows,
                              json_pack("{s:o,s:o,s:o,s:o}", "id", member(field, "id"), "column",
                                        member(field, "name"), "type", view_text(text), "required",
                                        member(field, "required")));
        free(text);
    }
    return rows;
}

int command_show(struct view *view, struct error *err)
{
    (void)err;
    if (view->config->json) {
        json_t *object =
            json_pack("{s:o,s:s,s:O}", "table", view_text(view->table.full), "metadata_location",
                      view->loaded.metadata_location, "metadata", view->loaded.metadata);
        json_dumpf(object, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(object);
        return EXIT_DONE;
    }
    const char *key;
    json_t *value;
    struct buf text = {0};
    view_time(metadata_last_updated_ms(view->metadata), &text);
    view_print_pair("table", view->table.full);
    view_print_pair("uuid", metadata_uuid_borrow(view->metadata));
    printf("format %" PRId64 "\n", metadata_format_version(view->metadata));
    view_print_pair("location", metadata_location_borrow(view->metadata));
    view_print_pair("metadata", view->loaded.metadata_location);
    view_print_pair("updated", buf_cstr(&text));
    buf_free(&text);
    show_specs(view);
    json_object_foreach(json_object_get(view->metadata, "properties"), key, value)
    {
        fputs("property ", stdout);
        plain_write(stdout, key);
        view_print_pair(" =", json_string_value(value));
    }
    view_print_rows(schema_rows(view), false);
    return EXIT_DONE;
}

int command_snapshots(struct view *view, struct error *err)
{
    (void)err;
    json_t *rows = json_array();
    size_t i;
    const json_t *snapshot;
    json_array_foreach(json_object_get(view->metadata, "snapshots"), i, snapshot)
        json_array_append_new(
            rows,
            json_pack(
                "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b}", "snapshot_id", member(snapshot, "snapshot-id"),
                "sequence", member(snapshot, "sequence-number"), "time",
                time_text(json_integer_value(json_object_get(snapshot, "timestamp-ms"))),
                "operation", member(json_object_get(snapshot, "summary"), "operation"),
                "added_files", summary_number(snapshot, "added-data-files"), "added_rows",
                summary_number(snapshot, "added-records"), "total_rows",
                summary_number(snapshot, "total-records"), "main", snapshot == view->snapshot));
    view_print_rows(rows, view->config->json);
    return EXIT_DONE;
}

struct listing {
    const struct view *view;
    json_t *rows; /* an array for files, an object by partition for partitions */
};

static const char *content_name(int32_t content)
{
    return content == 0 ? "data" : content == 1 ? "position deletes" : "equality deletes";
}

static int file_row(void *context, const struct manifest_file *manifest,
                    const struct manifest_entry *entry, struct error *err)
{
    (void)err;
    struct listing *listing = context;
    struct buf partition = {0};
    view_partition(listing->view, manifest->spec_id, entry, &partition);
    json_array_append_new(listing->rows,
                          json_pack("{s:s,s:i,s:o,s:I,s:I,s:o}", "content",
                                    content_name(entry->content), "spec", (int)manifest->spec_id,
                                    "partition", view_text(buf_cstr(&partition)), "rows",
                                    (json_int_t)entry->record_count, "bytes",
                                    (json_int_t)entry->file_size, "path", view_text(entry->path)));
    buf_free(&partition);
    return OK;
}

int command_files(struct view *view, struct error *err)
{
    struct listing listing = {.view = view, .rows = json_array()};
    if (view_each(view, file_row, &listing, err) != OK) {
        json_decref(listing.rows);
        return EXIT_FAILED;
    }
    view_print_rows(listing.rows, view->config->json);
    return EXIT_DONE;
}

static void add_to(json_t *row, const char *key, int64_t value)
{
    json_int_t before = json_integer_value(json_object_get(row, key));
    json_object_set_new(row, key, json_integer(before + value));
}

static int partition_row(void *context, const struct manifest_file *manifest,
                         const struct manifest_entry *entry, struct error *err)
{
    (void)err;
    struct listing *listing = context;
    struct buf partition = {0};
    if (entry->content != 0)
        return OK;
    view_partition(listing->view, manifest->spec_id, entry, &partition);
    json_t *name = view_text(buf_cstr(&partition));
    json_t *row = json_object_get(listing->rows, json_string_value(name));
    if (row == NULL) {
        row = json_pack("{s:O,s:i,s:I,s:I,s:I}", "partition", name, "spec", (int)manifest->spec_id,
                        "files", (json_int_t)0, "rows", (json_int_t)0, "bytes", (json_int_t)0);
        json_object_set_new(listing->rows, json_string_value(name), row);
    }
    add_to(row, "files", 1);
    add_to(row, "rows", entry->record_count);
    add_to(row, "bytes", entry->file_size);
    json_decref(name);
    buf_free(&partition);
    return OK;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int command_partitions(struct view *view, struct error *err)
{
    struct listing listing = {.view = view, .rows = json_object()};
    if (view_each(view, partition_row, &listing, err) != OK) {
        json_decref(listing.rows);
        return EXIT_FAILED;
    }
    const char *key;
    json_t *row;
    size_t n = 0;
    const char **names = memory_alloc(json_object_size(listing.rows) + 1, sizeof *names);
    json_object_foreach(listing.rows, key, row) names[n++] = key;
    qsort(names, n, sizeof *names, name_compare);
    json_t *sorted = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append(sorted, json_object_get(listing.rows, names[i]));
    free(names);
    json_decref(listing.rows);
    view_print_rows(sorted, view->config->json);
    return EXIT_DONE;
}
