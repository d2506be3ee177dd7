/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/schema/check.h"

#include <stdlib.h>
#include <strings.h>

#include "lib/base/memory.h"

bool schema_name_ok(struct slice name)
{
    if (name.len == 0 || name.len > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] < ' ' || name.data[i] == 0x7f)
            return false;
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcasecmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_ids(const void *a, const void *b)
{
    int32_t left = *(const int32_t *)a;
    int32_t right = *(const int32_t *)b;
    return (left > right) - (left < right);
}

int schema_check_columns(const struct table_schema *schema, struct error *err)
{
    size_t count = schema->column_count;
    if (count == 0)
        return error_set(err, ERROR_INPUT, "a table without columns");
    int rc = OK;
    const char **names = memory_alloc(count, sizeof *names);
    int32_t *ids = memory_alloc(2 * count, sizeof *ids);
    size_t id_count = 0;
    for (size_t i = 0; i < count; i++) {
        names[i] = schema->columns[i].name;
        ids[id_count++] = schema->columns[i].field_id;
        if (schema->columns[i].list)
            ids[id_count++] = schema->columns[i].element_id;
    }
    /* Engines that fold case (Trino, Athena, Hive) could open neither of the two. */
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 1; i < count && rc == OK; i++)
        if (strcasecmp(names[i - 1], names[i]) == 0)
            rc = error_set(err, ERROR_INPUT, "columns \"%.100s\" and \"%.100s\" have one name",
                           names[i - 1], names[i]);
    qsort(ids, id_count, sizeof *ids, compare_ids);
    for (size_t i = 1; i < id_count && rc == OK; i++)
        if (ids[i - 1] == ids[i])
            rc = error_set(err, ERROR_INPUT, "two columns have field id %d", (int)ids[i]);
    free(names);
    free(ids);
    return rc;
}

static int check_field(const struct table_schema *schema, const struct partition_spec *spec,
                       size_t at, struct error *err)
{
    const struct partition_field *field = &spec->fields[at];
    const struct column *column = &schema->columns[field->column];
    bool fits = field->transform == TRANSFORM_DAY
                    ? column->type == TYPE_TIMESTAMPTZ
                    : column->type != TYPE_TIMESTAMPTZ && column->type != TYPE_DOUBLE;
    if (!fits || column->list || column->fill != FILL_NONE)
        return error_set(err, ERROR_INPUT, "column \"%.100s\" can't partition by %s", column->name,
                         field->transform == TRANSFORM_DAY ? "day" : "its value");
    size_t same = table_schema_find(schema, field->name);
    if (same != SIZE_MAX && (field->transform == TRANSFORM_DAY || same != field->column))
        return error_set(err, ERROR_INPUT, "partition field \"%.100s\" has a column's name",
                         field->name);
    for (size_t i = 0; i < at; i++) {
        const struct partition_field *other = &spec->fields[i];
        if (other->field_id == field->field_id || other->column == field->column ||
            strcasecmp(other->name, field->name) == 0)
            return error_set(err, ERROR_INPUT, "partition fields \"%.100s\" and \"%.100s\" clash",
                             other->name, field->name);
        if (other->transform == TRANSFORM_DAY && field->transform == TRANSFORM_DAY)
            return error_set(err, ERROR_INPUT, "a partition by two days");
    }
    return OK;
}

int schema_check_specs(const struct table_schema *schema, struct error *err)
{
    if (schema->spec_count == 0)
        return error_set(err, ERROR_INPUT, "a table without a partition spec");
    for (size_t s = 0; s < schema->spec_count; s++)
        for (size_t i = 0; i < schema->specs[s].field_count; i++) {
            int rc = check_field(schema, &schema->specs[s], i, err);
            if (rc != OK)
                return rc;
        }
    if (schema->spec_count == 1)
        return OK;
    const struct partition_spec *coarse = &schema->specs[1];
    if (coarse->spec_id == schema->specs[0].spec_id || coarse->field_count != 1 ||
        coarse->fields[0].transform != TRANSFORM_DAY ||
        coarse->fields[0].column != schema_time_column(schema))
        return error_set(err, ERROR_INPUT, "the second partition spec must be the day alone");
    return OK;
}

int schema_check_sort(const struct table_schema *schema, struct error *err)
{
    const struct sort_order *sort = &schema->sort;
    if ((sort->order_id == 0) != (sort->column_count == 0))
        return error_set(err, ERROR_INPUT, "sort order %d with %zu columns", (int)sort->order_id,
                         sort->column_count);
    for (size_t i = 0; i < sort->column_count; i++) {
        const struct column *column = &schema->columns[sort->columns[i]];
        if (column->list || column->fill != FILL_NONE)
            return error_set(err, ERROR_INPUT, "rows can't be sorted by column \"%.100s\"",
                             column->name);
        for (size_t j = 0; j < i; j++)
            if (sort->columns[i] == sort->columns[j])
                return error_set(err, ERROR_INPUT, "sorted twice by column \"%.100s\"",
                                 column->name);
    }
    return OK;
}

size_t schema_time_column(const struct table_schema *schema)
{
    const struct partition_spec *spec = &schema->specs[0];
    for (size_t i = 0; i < spec->field_count; i++)
        if (spec->fields[i].transform == TRANSFORM_DAY)
            return spec->fields[i].column;
    return SIZE_MAX;
}
