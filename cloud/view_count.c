/* SPDX-License-Identifier: Apache-2.0
 *
 * count: rows from manifests, no data file is read. By a partition column it is exact for
 * a file whose spec has that column, and for one whose bounds say that all its rows have
 * one value. What is left (small slices of several countries share a file) is "(mixed)".
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/view.h"
#include "lib/base/bytes.h"
#include "lib/base/instant.h"
#include "lib/base/memory.h"

/* truncate(16): a text bound of fewer bytes was not cut. */
enum { BOUND_EXACT_BELOW = 16 };
static const int64_t day_us = INT64_C(86400) * 1000000;
static const char mixed[] = "(mixed)";

struct counting {
    const struct view *view;
    bool by;
    int64_t source_id;
    char transform[16]; /* identity, day */
    const char *type;   /* of the column */
    json_t *groups;     /* value -> rows */
    int64_t rows;
    int64_t mixed_rows;
    bool deletes; /* delete files: rows are at most so many */
};

static const struct file_bound *bound_of(const struct manifest_entry *entry, int64_t field_id)
{
    for (size_t i = 0; i < entry->bound_count; i++)
        if (entry->bounds[i].field_id == field_id)
            return &entry->bounds[i];
    return NULL;
}

static int64_t floor_day(int64_t us)
{
    return us / day_us - (us % day_us < 0);
}

/* The one value that all rows of the file have, if its metrics prove it. */
static bool value_from_bounds(const struct counting *c, const struct manifest_entry *entry,
                              struct buf *out)
{
    const struct file_bound *b = bound_of(entry, c->source_id);
    if (b == NULL)
        return false;
    if (b->nulls >= 0 && b->nulls == entry->record_count) {
        buf_put_cstr(out, "null");
        return true;
    }
    if (b->nulls != 0 || !b->has_lower || !b->has_upper)
        return false;
    if (strcmp(c->transform, "day") == 0) {
        if (b->lower.len != 8 || b->upper.len != 8)
            return false;
        int64_t low = floor_day((int64_t)get_u64le(b->lower.data));
        if (low != floor_day((int64_t)get_u64le(b->upper.data)))
            return false;
        instant_put_day(low, out);
        return true;
    }
    if (!slice_equal(b->lower, b->upper))
        return false;
    if (strcmp(c->type, "string") == 0 && b->lower.len < BOUND_EXACT_BELOW)
        buf_put_slice(out, b->lower);
    else if (strcmp(c->type, "int") == 0 && b->lower.len == 4)
        buf_printf(out, "%" PRId32, (int32_t)get_u32le(b->lower.data));
    else if (strcmp(c->type, "boolean") == 0 && b->lower.len == 1)
        buf_printf(out, "%d", b->lower.data[0]);
    else
        return false;
    return true;
}

static bool value_from_partition(const struct counting *c, int32_t spec_id,
                                 const struct manifest_entry *entry, struct buf *out)
{
    const json_t *spec = metadata_spec_borrow(c->view->metadata, spec_id);
    const json_t *fields = json_object_get(spec, "fields");
    for (size_t i = 0; i < entry->partition_count; i++) {
        const json_t *field = json_array_get(fields, i);
        const char *transform = json_string_value(json_object_get(field, "transform"));
        if (transform == NULL || strcmp(transform, c->transform) != 0 ||
            json_integer_value(json_object_get(field, "source-id")) != c->source_id)
            continue;
        view_partition_value(field, &entry->partition[i], out);
        return true;
    }
    return false;
}

static int count_entry(void *context, const struct manifest_file *manifest,
                       const struct manifest_entry *entry, struct error *err)
{
    (void)err;
    struct counting *c = context;
    if (entry->content != 0) {
        c->deletes = true;
        return OK;
    }
    c->rows += entry->record_count;
    if (!c->by)
        return OK;
    struct buf value = {0};
    if (!value_from_partition(c, manifest->spec_id, entry, &value) &&
        !value_from_bounds(c, entry, &value)) {
        buf_reset(&value);
        buf_put_cstr(&value, mixed);
        c->mixed_rows += entry->record_count;
    }
    json_t *name = view_text(buf_cstr(&value));
    json_int_t before = json_integer_value(json_object_get(c->groups, json_string_value(name)));
    json_object_set_new(c->groups, json_string_value(name),
                        json_integer(before + entry->record_count));
    json_decref(name);
    buf_free(&value);
    return OK;
}

/* A column, or the name of a partition field, of any spec. */
static int column_find(struct counting *c, const char *wanted, struct error *err)
{
    struct buf known = {0};
    size_t i;
    size_t k;
    const json_t *spec;
    const json_t *field;
    json_array_foreach(json_object_get(c->view->metadata, "partition-specs"), i, spec)
    {
        json_array_foreach(json_object_get(spec, "fields"), k, field)
        {
            int64_t id = json_integer_value(json_object_get(field, "source-id"));
            const json_t *column = view_column(c->view, id);
            const char *name = json_string_value(json_object_get(column, "name"));
            const char *own = json_string_value(json_object_get(field, "name"));
            const char *transform = json_string_value(json_object_get(field, "transform"));
            const char *type = json_string_value(json_object_get(column, "type"));
            if (name == NULL || own == NULL || transform == NULL || type == NULL ||
                (strcmp(transform, "day") != 0 && strcmp(transform, "identity") != 0))
                continue;
            if (strcmp(name, wanted) == 0 || strcmp(own, wanted) == 0) {
                c->source_id = id;
                c->type = type;
                snprintf(c->transform, sizeof c->transform, "%s", transform);
                buf_free(&known);
                return OK;
            }
            if (strstr(known.len > 0 ? buf_cstr(&known) : "", name) == NULL)
                buf_printf(&known, "%s%s", known.len > 0 ? ", " : "", name);
        }
    }
    error_set(err, ERROR_INPUT,
              "--by %s: not a partition column, so manifests don't have it; these are: %s", wanted,
              buf_cstr(&known));
    buf_free(&known);
    return (int)err->code;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static json_t *groups_sorted(const struct counting *c, const char *column)
{
    const char **names = memory_alloc(json_object_size(c->groups) + 1, sizeof *names);
    const char *key;
    json_t *value;
    size_t n = 0;
    json_object_foreach(c->groups, key, value) names[n++] = key;
    qsort(names, n, sizeof *names, name_compare);
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(rows, json_pack("{s:s,s:O}", column, names[i], "rows",
                                              json_object_get(c->groups, names[i])));
    free(names);
    return rows;
}

static void count_print(const struct counting *c, const char *by)
{
    if (by != NULL)
        view_print_rows(groups_sorted(c, by), c->view->config->json);
    else if (c->view->config->json)
        printf("{\"rows\":%" PRId64 ",\"exact\":%s}\n", c->rows, c->deletes ? "false" : "true");
    else
        printf("%" PRId64 "\n", c->rows);
    if (c->mixed_rows > 0)
        fprintf(stderr,
                "bidlake-table: %" PRId64 " of %" PRId64 " rows are in files that hold several "
                "values of %s, so manifests don't part them: each count is at least what is shown, "
                "at most %" PRId64 " more\n",
                c->mixed_rows, c->rows, by, c->mixed_rows);
    if (c->deletes)
        fputs("bidlake-table: the table has delete files: rows are at most what is shown\n",
              stderr);
}

int command_count(struct view *view, struct error *err)
{
    const char *by = view->config->by;
    struct counting counting = {.view = view, .by = by != NULL, .groups = json_object()};
    int rc = by != NULL ? column_find(&counting, by, err) : OK;
    if (rc == OK)
        rc = view_each(view, count_entry, &counting, err);
    if (rc == OK)
        count_print(&counting, by);
    json_decref(counting.groups);
    return rc == OK ? EXIT_DONE : EXIT_FAILED;
}
