/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cloud/manifests.h"
#include "lib/base/instant.h"
#include "lib/base/memory.h"
#include "lib/base/plain.h"

static int manifests_read(struct view *view, struct error *err)
{
    const char *url = json_string_value(json_object_get(view->snapshot, "manifest-list"));
    if (view->snapshot == NULL)
        return OK;
    if (url == NULL)
        return error_set(err, ERROR_INPUT, "its snapshot has no manifest list (format 1?)");
    return manifest_list_get(view->service->store, url, &view->arena, &view->manifests,
                             &view->manifest_count, NULL, err);
}

int view_open(struct view *out, const struct service *service, const struct config *config,
              const char *name, struct error *err)
{
    bool found = false;
    *out = (struct view){.service = service, .config = config};
    const char *full =
        strchr(name, '.') != NULL ? name : arena_printf(&out->arena, "%s.%s", config->ns, name);
    int rc = table_name_parse(&out->table, full, err);
    if (rc == OK)
        rc = catalog_load_table(service->catalog, out->table.ns, out->table.name, &out->loaded,
                                &found, err);
    if (rc == OK && !found)
        rc = error_set(err, ERROR_INPUT, "no such table in the catalog");
    if (rc == OK) {
        out->metadata = out->loaded.metadata;
        out->snapshot =
            metadata_snapshot_borrow(out->metadata, metadata_current_snapshot_id(out->metadata));
        rc = manifests_read(out, err);
    }
    return rc == OK ? OK : error_wrap(err, "table %s", full);
}

void view_close(struct view *view)
{
    catalog_table_free(&view->loaded);
    arena_free(&view->arena);
}

int view_each(const struct view *view, view_visit *visit, void *context, struct error *err)
{
    struct arena arena = {0};
    int rc = OK;
    for (size_t i = 0; i < view->manifest_count && rc == OK; i++) {
        struct manifest_entry *entries = NULL;
        size_t count = 0;
        arena_reset(&arena);
        rc = manifest_get(view->service->store, &view->manifests[i], &arena, &entries, &count, err);
        for (size_t k = 0; k < count && rc == OK; k++)
            if (entries[k].status != 2)
                rc = visit(context, &view->manifests[i], &entries[k], err);
    }
    arena_free(&arena);
    return rc;
}

const json_t *view_column(const struct view *view, int64_t field_id)
{
    size_t i;
    const json_t *field;
    const json_t *schema = metadata_current_schema_borrow(view->metadata);
    json_array_foreach(json_object_get(schema, "fields"), i,
                       field) if (json_integer_value(json_object_get(field, "id")) ==
                                  field_id) return field;
    return NULL;
}

/* ---- texts ---- */

void view_time(int64_t ms, struct buf *out)
{
    int64_t seconds = ms / 1000;
    int64_t of_day = ((seconds % 86400) + 86400) % 86400;
    instant_put_day((seconds - of_day) / 86400, out);
    buf_printf(out, "T%02" PRId64 ":%02" PRId64 ":%02" PRId64 "Z", of_day / 3600, of_day / 60 % 60,
               of_day % 60);
}

void view_partition_value(const json_t *field, const struct partition_value *value, struct buf *out)
{
    const char *transform = json_string_value(json_object_get(field, "transform"));
    if (value->null)
        buf_put_cstr(out, "null");
    else if (value->is_text)
        buf_put_slice(out, value->text);
    else if (transform != NULL && strcmp(transform, "day") == 0)
        instant_put_day(value->number, out);
    else
        buf_printf(out, "%" PRId64, value->number);
}

void view_partition(const struct view *view, int32_t spec_id, const struct manifest_entry *entry,
                    struct buf *out)
{
    const json_t *spec = metadata_spec_borrow(view->metadata, spec_id);
    const json_t *fields = json_object_get(spec, "fields");
    for (size_t i = 0; i < entry->partition_count; i++) {
        const json_t *field = json_array_get(fields, i);
        const char *name = json_string_value(json_object_get(field, "name"));
        buf_printf(out, "%s%s=", i > 0 ? "/" : "", name != NULL ? name : "?");
        view_partition_value(field, &entry->partition[i], out);
    }
}

void view_complain(const struct error *err)
{
    fputs("bidlake-table: ", stderr);
    plain_write(stderr, err->text);
    fputc('\n', stderr);
}

void view_print_pair(const char *what, const char *value)
{
    plain_write(stdout, what);
    putchar(' ');
    plain_write(stdout, value != NULL ? value : "-");
    putchar('\n');
}

json_t *view_text(const char *text)
{
    json_t *json = text != NULL ? json_string(text) : json_null();
    return json != NULL ? json : json_string("?");
}

/* ---- lists ---- */

static void cell(const json_t *value, struct buf *out)
{
    buf_reset(out);
    if (json_is_string(value))
        plain_put(out, json_string_value(value));
    else if (json_is_integer(value))
        buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_true(value) || json_is_false(value))
        buf_put_cstr(out, json_is_true(value) ? "yes" : "no");
    else
        buf_put_cstr(out, "-");
}

static void print_columns(const json_t *rows)
{
    enum { COLUMNS = 16 };
    size_t widths[COLUMNS] = {0};
    struct buf text = {0};
    size_t i;
    json_t *row;
    const char *key;
    json_t *value;
    json_t *first = json_array_get(rows, 0);
    size_t n = 0;
    json_object_foreach(first, key, value) if (n < COLUMNS) widths[n++] = strlen(key);
    json_array_foreach(rows, i, row)
    {
        n = 0;
        json_object_foreach(row, key, value)
        {
            cell(value, &text);
            if (n < COLUMNS && text.len > widths[n])
                widths[n] = text.len;
            n++;
        }
    }
    n = 0;
    json_object_foreach(first, key, value)
    {
        int width = n < COLUMNS ? (int)widths[n] : 0;
        printf("%s%*s", n > 0 ? "  " : "", json_is_integer(value) ? width : -width, key);
        n++;
    }
    putchar('\n');
    json_array_foreach(rows, i, row)
    {
        n = 0;
        json_object_foreach(row, key, value)
        {
            int width = n < COLUMNS ? (int)widths[n] : 0;
            cell(value, &text);
            printf("%s%*s", n > 0 ? "  " : "", json_is_integer(value) ? width : -width,
                   buf_cstr(&text));
            n++;
        }
        putchar('\n');
    }
    buf_free(&text);
}

void view_print_rows(json_t *rows, bool as_json)
{
    if (as_json) {
        json_dumpf(rows, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (json_array_size(rows) > 0) {
        print_columns(rows);
    }
    json_decref(rows);
}
