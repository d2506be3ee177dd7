/* SPDX-License-Identifier: Apache-2.0
 *
 * A mapping file, its preset laid under it, becomes columns, partition specs and sort
 * order. Parts keep the file and line they came from, so that a message about a merged
 * mapping still points at the text that is wrong.
 */
#include "lib/schema/mapping.h"

#include <stdlib.h>
#include <strings.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/schema/check.h"
#include "lib/schema/column.h"
#include "lib/schema/path.h"

enum { TABLE_NAME_MAX = 128 };

struct named_part {
    const char *name;
    struct part part;
};

struct draft {
    struct yaml_tree own;
    struct yaml_tree base; /* of `extends` */
    struct part table, explode, partition, sort, unmapped, priority;
    size_t column_count;
    struct named_part *columns;
};

void mapping_free(struct mapping *mapping)
{
    for (size_t i = 0; mapping->columns != NULL && i < mapping->schema.column_count; i++)
        mapping_column_free(&mapping->columns[i]);
    free(mapping->columns);
    source_free(&mapping->explode);
    table_schema_free(&mapping->schema);
    *mapping = (struct mapping){0};
}

/* ---- merging ---- */

static void lay_part(struct part *out, const struct yaml_tree *tree, const char *key)
{
    for (size_t i = 0; i < tree->root.count; i++)
        if (strcmp(tree->root.entries[i].key, key) == 0)
            *out = (struct part){tree, &tree->root.entries[i].value, tree->root.entries[i].line};
}

static int lay_columns(struct draft *draft, const struct yaml_tree *tree, struct error *err)
{
    const struct yaml_node *columns = yaml_find(&tree->root, "columns");
    if (columns == NULL)
        return OK;
    int rc = yaml_expect(tree, columns, YAML_MAP, "columns", err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < columns->count; i++) {
        const struct yaml_entry *entry = &columns->entries[i];
        size_t at = 0;
        while (at < draft->column_count && strcmp(draft->columns[at].name, entry->key) != 0)
            at++;
        if (at == COLUMNS_MAX)
            return yaml_error(tree, entry->line, err, "more than %d columns", COLUMNS_MAX);
        if (at == draft->column_count)
            draft->column_count++;
        draft->columns[at] = (struct named_part){entry->key, {tree, &entry->value, entry->line}};
    }
    return OK;
}

static int lay_tree(struct draft *draft, const struct yaml_tree *tree, struct error *err)
{
    static const char *const keys[] = {"table", "extends",  "explode",  "partition",
                                       "sort",  "unmapped", "priority", "columns"};
    int rc = yaml_check_keys(tree, &tree->root, keys, sizeof keys / sizeof keys[0], err);
    if (rc != OK)
        return rc;
    lay_part(&draft->table, tree, "table");
    lay_part(&draft->explode, tree, "explode");
    lay_part(&draft->partition, tree, "partition");
    lay_part(&draft->sort, tree, "sort");
    lay_part(&draft->unmapped, tree, "unmapped");
    lay_part(&draft->priority, tree, "priority");
    return lay_columns(draft, tree, err);
}

static size_t preset_names(const char **names, size_t max)
{
    size_t count = 0;
    for (; presets[count].name != NULL; count++) {
        ASSERT(count < max);
        names[count] = presets[count].name;
    }
    return count;
}

static const struct preset *preset_find(const char *name)
{
    for (size_t i = 0; presets[i].name != NULL; i++)
        if (strcmp(presets[i].name, name) == 0)
            return &presets[i];
    return NULL;
}

static int lay_base(struct draft *draft, struct error *err)
{
    const struct yaml_node *extends = yaml_find(&draft->own.root, "extends");
    const char *name = NULL;
    if (extends == NULL)
        return OK;
    int rc = yaml_to_text(&draft->own, extends, "extends", &name, err);
    if (rc != OK)
        return rc;
    const struct preset *preset = preset_find(name);
    const char *names[16];
    if (preset == NULL)
        return yaml_error_unknown(&draft->own, extends->line, "preset", name, names,
                                  preset_names(names, 16), err);
    rc = yaml_tree_parse(&draft->base, preset->name, slice_cstr(preset->yaml), err);
    return rc == OK ? lay_tree(draft, &draft->base, err) : rc;
}

/* ---- building ---- */

static int build_table(struct mapping *out, const struct draft *draft, struct error *err)
{
    const struct part *part = &draft->table;
    const char *name = NULL;
    if (part->node == NULL)
        return yaml_error(&draft->own, 1, err, "no `table`");
    int rc = yaml_to_text(part->tree, part->node, "table", &name, err);
    if (rc != OK)
        return rc;
    size_t len = strlen(name);
    bool fits = len > 0 && len <= TABLE_NAME_MAX && !(*name >= '0' && *name <= '9');
    for (size_t i = 0; i < len; i++)
        fits = fits && ((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') ||
                        name[i] == '_');
    if (!fits)
        return yaml_error(part->tree, part->node->line, err,
                          "\"%.100s\" is no table name: a-z, digits and _, at most %d", name,
                          TABLE_NAME_MAX);
    out->schema.table = memory_copy_cstr(name);
    return OK;
}

static int build_explode(struct mapping *out, const struct draft *draft, struct error *err)
{
    const struct part *part = &draft->explode;
    const char *text = NULL;
    if (part->node == NULL)
        return OK;
    int rc = yaml_to_text(part->tree, part->node, "explode", &text, err);
    if (rc != OK)
        return rc;
    rc = path_parse_explode(text, &out->explode, err);
    if (rc != OK)
        return error_wrap(err, "%s:%d: explode", part->tree->name, part->node->line);
    out->explode_level_count = out->explode.each_count;
    return OK;
}

static int build_unmapped(struct mapping *out, const struct draft *draft, struct error *err)
{
    static const char *const words[] = {"ignore", "count"};
    size_t choice = UNMAPPED_IGNORE;
    const struct part *part = &draft->unmapped;
    int rc = OK;
    if (part->node != NULL)
        rc = yaml_to_choice(part->tree, part->node, "unmapped", words, 2, &choice, err);
    out->unmapped = (enum unmapped)choice;
    return rc;
}

static int build_priority(struct mapping *out, const struct draft *draft, struct error *err)
{
    static const char *const words[] = {"low", "normal", "high"};
    size_t choice = PRIORITY_NORMAL;
    const struct part *part = &draft->priority;
    int rc = OK;
    if (part->node != NULL)
        rc = yaml_to_choice(part->tree, part->node, "priority", words, 3, &choice, err);
    out->priority = (enum priority)choice;
    return rc;
}

static int build_columns(struct mapping *out, const struct draft *draft, struct error *err)
{
    struct table_schema *schema = &out->schema;
    if (draft->column_count == 0)
        return yaml_error(&draft->own, 1, err, "no `columns`");
    schema->columns = memory_alloc(draft->column_count, sizeof *schema->columns);
    out->columns = memory_alloc(draft->column_count, sizeof *out->columns);
    int32_t next_id = 1;
    for (size_t i = 0; i < draft->column_count; i++) {
        const struct named_part *named = &draft->columns[i];
        /* Engines that fold case (Trino, Athena) could open neither of the two. */
        for (size_t j = 0; j < i; j++)
            if (strcasecmp(named->name, draft->columns[j].name) == 0)
                return yaml_error(named->part.tree, named->part.line, err,
                                  "columns \"%.100s\" and \"%.100s\" differ only by case",
                                  draft->columns[j].name, named->name);
        schema->column_count = i + 1;
        int rc = column_parse(&schema->columns[i], &out->columns[i], named->name, &named->part,
                              &out->explode, err);
        if (rc != OK)
            return rc;
        schema->columns[i].field_id = next_id++;
    }
    for (size_t i = 0; i < schema->column_count; i++)
        if (schema->columns[i].list)
            schema->columns[i].element_id = next_id++;
    return OK;
}

/* The column that a partition or sort names. */
static int find_column(const struct mapping *mapping, const struct yaml_tree *tree, int line,
                       const char *name, size_t *out, struct error *err)
{
    const struct table_schema *schema = &mapping->schema;
    *out = table_schema_find(schema, name);
    if (*out != SIZE_MAX)
        return OK;
    const char **names = memory_alloc(schema->column_count, sizeof *names);
    for (size_t i = 0; i < schema->column_count; i++)
        names[i] = schema->columns[i].name;
    int rc = yaml_error_unknown(tree, line, "column", name, names, schema->column_count, err);
    free(names);
    return rc;
}

/* "day(x)" or "x": its transform, and x as a copy. */
static int parse_transform(const struct yaml_tree *tree, const struct yaml_node *node,
                           enum transform *transform, char **column, struct error *err)
{
    const char *text = NULL;
    int rc = yaml_to_text(tree, node, "a partition field", &text, err);
    if (rc != OK)
        return rc;
    size_t len = strlen(text);
    const char *open = strchr(text, '(');
    *transform = open == NULL ? TRANSFORM_IDENTITY : TRANSFORM_DAY;
    if (open == NULL) {
        *column = memory_copy_cstr(text);
        return OK;
    }
    if (strncmp(text, "day(", 4) != 0 || text[len - 1] != ')')
        return yaml_error(tree, node->line, err,
                          "unknown transform \"%.100s\": a partition is a column or day(column)",
                          text);
    *column = memory_copy_slice(slice_of(text + 4, len - 5));
    return OK;
}

/* A partition by free text would be a file for each text that a stranger sends. */
static bool has_closed_domain(const struct mapping *mapping, size_t column)
{
    const struct column *wanted = &mapping->schema.columns[column];
    return !wanted->list && (mapping->columns[column].coercion != COERCE_TYPE ||
                             wanted->type == TYPE_BOOLEAN || wanted->type == TYPE_INT);
}

static int check_partition(const struct mapping *mapping, const struct yaml_tree *tree, int line,
                           const struct partition_field *field, struct error *err)
{
    const struct column *column = &mapping->schema.columns[field->column];
    const struct mapping_column *rule = &mapping->columns[field->column];
    if (field->transform == TRANSFORM_DAY && (column->type != TYPE_TIMESTAMPTZ || column->list))
        return yaml_error(tree, line, err, "day(%s): the column is no timestamptz", column->name);
    if (field->transform == TRANSFORM_IDENTITY && !has_closed_domain(mapping, field->column))
        return yaml_error(
            tree, line, err,
            "column \"%s\" can't be a partition: its values are not bounded (country, "
            "enum, boolean and int are)",
            column->name);
    if (column->personal)
        return yaml_error(tree, line, err,
                          "column \"%s\" is personal: a partition would show its values",
                          column->name);
    for (size_t i = 0; i < rule->domain_count; i++)
        if (strcmp(rule->domain[i], "null") == 0)
            return yaml_error(tree, line, err,
                              "column \"%s\" can't be a partition: its value \"null\" would share "
                              "a path with null",
                              column->name);
    return OK;
}

static int build_partition_field(struct mapping *out, const struct yaml_tree *tree,
                                 const struct yaml_node *node, struct error *err)
{
    struct partition_spec *spec = &out->schema.specs[0];
    enum transform transform = TRANSFORM_IDENTITY;
    char *name = NULL;
    struct partition_field field = {0};
    int rc = parse_transform(tree, node, &transform, &name, err);
    if (rc == OK)
        rc = find_column(out, tree, node->line, name, &field.column, err);
    free(name);
    if (rc != OK)
        return rc;
    field.transform = transform;
    field.field_id = PARTITION_ID_MIN + (int32_t)spec->field_count;
    rc = check_partition(out, tree, node->line, &field, err);
    if (rc != OK)
        return rc;
    field.name = memory_printf("%s%s", out->schema.columns[field.column].name,
                               transform == TRANSFORM_DAY ? "_day" : "");
    spec->fields[spec->field_count++] = field;
    /* What is left to find are fields that clash with each other or with a column. */
    rc = schema_check_specs(&out->schema, err);
    return rc == OK ? OK : error_wrap(err, "%s:%d", tree->name, node->line);
}

/* Small slices of a day share a file under the day alone (the second spec). */
static void add_coarse_spec(struct table_schema *schema)
{
    const struct partition_spec *fine = &schema->specs[0];
    if (fine->field_count < 2)
        return;
    for (size_t i = 0; i < fine->field_count; i++) {
        if (fine->fields[i].transform != TRANSFORM_DAY)
            continue;
        schema->spec_count = 2;
        schema->specs[1] = (struct partition_spec){.spec_id = 1, .field_count = 1};
        schema->specs[1].fields[0] = fine->fields[i];
        schema->specs[1].fields[0].name = memory_copy_cstr(fine->fields[i].name);
        return;
    }
}

static int build_partition(struct mapping *out, const struct draft *draft, struct error *err)
{
    const struct part *part = &draft->partition;
    out->schema.spec_count = 1;
    if (part->node != NULL) {
        int rc = yaml_expect(part->tree, part->node, YAML_LIST, "partition", err);
        if (rc == OK && part->node->count > PARTITION_FIELDS_MAX)
            rc = yaml_error(part->tree, part->node->line, err, "more than %d partition fields",
                            PARTITION_FIELDS_MAX);
        for (size_t i = 0; rc == OK && i < part->node->count; i++)
            rc = build_partition_field(out, part->tree, &part->node->entries[i].value, err);
        if (rc != OK)
            return rc;
    }
    add_coarse_spec(&out->schema);
    out->schema.time_column = schema_time_column(&out->schema);
    return OK;
}

static int build_sort(struct mapping *out, const struct draft *draft, struct error *err)
{
    const struct part *part = &draft->sort;
    struct sort_order *sort = &out->schema.sort;
    if (part->node == NULL)
        return OK;
    int rc = yaml_expect(part->tree, part->node, YAML_LIST, "sort", err);
    if (rc == OK && part->node->count > SORT_FIELDS_MAX)
        rc = yaml_error(part->tree, part->node->line, err, "sorted by more than %d columns",
                        SORT_FIELDS_MAX);
    for (size_t i = 0; rc == OK && i < part->node->count; i++) {
        const struct yaml_node *node = &part->node->entries[i].value;
        const char *name = NULL;
        rc = yaml_to_text(part->tree, node, "a sort column", &name, err);
        if (rc == OK)
            rc = find_column(out, part->tree, node->line, name, &sort->columns[i], err);
        if (rc != OK)
            break;
        sort->order_id = 1;
        sort->column_count = i + 1;
        rc = schema_check_sort(&out->schema, err);
        if (rc != OK)
            rc = error_wrap(err, "%s:%d", part->tree->name, node->line);
    }
    return rc;
}

static int build(struct mapping *out, const struct draft *draft, struct error *err)
{
    int rc = build_table(out, draft, err);
    if (rc == OK)
        rc = build_explode(out, draft, err);
    if (rc == OK)
        rc = build_unmapped(out, draft, err);
    if (rc == OK)
        rc = build_priority(out, draft, err);
    if (rc == OK)
        rc = build_columns(out, draft, err);
    if (rc == OK)
        rc = build_partition(out, draft, err);
    if (rc == OK)
        rc = build_sort(out, draft, err);
    return rc;
}

static void draft_free(struct draft *draft)
{
    free(draft->columns);
    yaml_tree_free(&draft->own);
    yaml_tree_free(&draft->base);
}

/* Of a file that is parsed already; takes the tree. */
static int mapping_from_tree(struct mapping *out, struct yaml_tree own, struct error *err)
{
    struct draft draft = {.own = own};
    draft.columns = memory_alloc(COLUMNS_MAX, sizeof *draft.columns);
    int rc = lay_base(&draft, err);
    if (rc == OK)
        rc = lay_tree(&draft, &draft.own, err);
    if (rc == OK)
        rc = build(out, &draft, err);
    draft_free(&draft);
    if (rc != OK)
        mapping_free(out);
    return rc;
}

int mapping_parse(struct mapping *out, const char *name, struct slice text, struct error *err)
{
    struct yaml_tree tree;
    *out = (struct mapping){0};
    int rc = yaml_tree_parse(&tree, name, text, err);
    return rc == OK ? mapping_from_tree(out, tree, err) : rc;
}

int mapping_load_file(struct mapping *out, const char *path, struct error *err)
{
    struct yaml_tree tree;
    *out = (struct mapping){0};
    int rc = yaml_tree_load(&tree, path, err);
    return rc == OK ? mapping_from_tree(out, tree, err) : rc;
}

int mapping_load_preset(struct mapping *out, const char *name, struct error *err)
{
    const struct preset *preset = preset_find(name);
    *out = (struct mapping){0};
    if (preset != NULL)
        return mapping_parse(out, preset->name, slice_cstr(preset->yaml), err);
    const char *names[16];
    const char *near = nearest_name(name, names, preset_names(names, 16));
    if (near == NULL)
        return error_set(err, ERROR_INPUT, "unknown preset \"%.100s\"", name);
    return error_set(err, ERROR_INPUT, "unknown preset \"%.100s\", did you mean \"%s\"?", name,
                     near);
}

const char *nearest_name(const char *wrong, const char *const *names, size_t count)
{
    return yaml_nearest(wrong, names, count);
}
