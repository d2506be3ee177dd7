/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/options/options.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/yaml/yaml.h"

enum { FLAG_MAX = 64 };

static enum yaml_unit unit_of(const struct option *option)
{
    return option->kind == OPTION_bytes ? YAML_BYTES
           : option->kind == OPTION_ms  ? YAML_MS
                                        : YAML_COUNT;
}

static const char **text_field(void *fields, const struct option *option)
{
    return (const char **)(void *)((char *)fields + option->field);
}

static int64_t *number_field(void *fields, const struct option *option)
{
    return (int64_t *)(void *)((char *)fields + option->field);
}

/* A number of the table itself: a bad one is our mistake. */
static int64_t own_number(const struct option *option, const char *text)
{
    int64_t out = 0;
    bool fine = yaml_number_parse(unit_of(option), text, &out);
    ASSERT(fine);
    return out;
}

void options_init(const struct option_table *table, void *fields)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct option *option = &table->options[i];
        if (option->kind == OPTION_text)
            *text_field(fields, option) = option->otherwise;
        else
            *number_field(fields, option) = own_number(option, option->otherwise);
    }
}

/* A text's `min` may hold the words it can be, parted by '|'. */
static bool is_choice(const struct option *option, const char *value)
{
    size_t len = strlen(value);
    const char *words = option->min;
    while (*words != 0) {
        size_t word = strcspn(words, "|");
        if (word == len && memcmp(words, value, len) == 0)
            return true;
        words += word + (words[word] == '|');
    }
    return option->min[0] == 0;
}

/* ---- file ---- */

static int load_option(const struct option *option, void *fields, const struct yaml_tree *tree,
                       struct arena *arena, struct error *err)
{
    const struct yaml_node *node = yaml_find_dotted(&tree->root, option->key);
    if (node == NULL)
        return OK;
    if (option->kind != OPTION_text) {
        struct yaml_range range = {.unit = unit_of(option),
                                   .min = own_number(option, option->min),
                                   .max = own_number(option, option->max)};
        return yaml_to_number(tree, node, option->key, &range, number_field(fields, option), err);
    }
    const char *text = NULL;
    int rc = yaml_to_text(tree, node, option->key, &text, err);
    if (rc == OK && !is_choice(option, text))
        return yaml_error(tree, node->line, err, "%s: \"%.100s\" is not known; it can be %s",
                          option->key, text, option->min);
    if (rc == OK)
        *text_field(fields, option) = arena_copy_cstr(arena, slice_cstr(text));
    return rc;
}

static int load_names(struct option_names *out, const struct yaml_tree *tree, struct arena *arena,
                      struct error *err)
{
    const struct yaml_node *list = yaml_find(&tree->root, "tables");
    if (list == NULL)
        return OK;
    int rc = yaml_expect(tree, list, YAML_LIST, "tables", err);
    if (rc != OK)
        return rc;
    out->names = arena_alloc(arena, list->count + 1, sizeof *out->names);
    out->count = list->count;
    out->origin = arena_printf(arena, "%s:%d: tables", tree->name, list->line);
    for (size_t i = 0; rc == OK && i < list->count; i++) {
        const char *text = NULL;
        rc = yaml_to_text(tree, &list->entries[i].value, "a table", &text, err);
        if (rc == OK)
            out->names[i] = arena_copy_cstr(arena, slice_cstr(text));
    }
    return rc;
}

int options_load(const struct option_table *table, void *fields, struct option_names *tables,
                 const char *path, struct arena *arena, struct error *err)
{
    struct yaml_tree tree = {0};
    size_t known_count = 0;
    const char **known =
        arena_alloc(arena, table->count + table->other_key_count + 1, sizeof *known);
    for (size_t i = 0; i < table->count; i++)
        known[known_count++] = table->options[i].key;
    for (size_t i = 0; i < table->other_key_count; i++)
        known[known_count++] = table->other_keys[i];
    known[known_count++] = "tables";
    int rc = yaml_tree_load(&tree, path, err);
    if (rc == OK)
        rc = yaml_check_dotted(&tree, known, known_count, err);
    for (size_t i = 0; rc == OK && i < table->count; i++)
        rc = load_option(&table->options[i], fields, &tree, arena, err);
    if (rc == OK)
        rc = load_names(tables, &tree, arena, err);
    yaml_tree_free(&tree);
    return rc;
}

/* ---- flags ---- */

static void flag_name(const struct option *option, char out[FLAG_MAX])
{
    snprintf(out, FLAG_MAX, "--%s", option->key);
    for (char *at = out; *at != 0; at++) {
        if (*at == '.' || *at == '_')
            *at = '-';
    }
}

static int set_number(const struct option *option, void *fields, const char *flag,
                      const char *value, struct error *err)
{
    int64_t number = 0;
    if (!yaml_number_parse(unit_of(option), value, &number))
        return error_set(err, ERROR_INPUT, "%s: not a %s: %s (like %s)", flag,
                         option->kind == OPTION_count ? "whole number" : "number with a unit",
                         value, option->otherwise);
    if (number < own_number(option, option->min) || number > own_number(option, option->max))
        return error_set(err, ERROR_INPUT, "%s: %s is not between %s and %s", flag, value,
                         option->min, option->max);
    *number_field(fields, option) = number;
    return OK;
}

int options_set_flag(const struct option_table *table, void *fields, const char *flag,
                     const char *value, struct arena *arena, struct error *err)
{
    size_t known_count = 0;
    const char **known =
        arena_alloc(arena, table->count + table->other_flag_count + 1, sizeof *known);
    for (size_t i = 0; i < table->count; i++) {
        const struct option *option = &table->options[i];
        char name[FLAG_MAX];
        flag_name(option, name);
        known[known_count++] = arena_copy_cstr(arena, slice_cstr(name));
        if (strcmp(flag, name) != 0)
            continue;
        if (option->kind != OPTION_text)
            return set_number(option, fields, flag, value, err);
        if (!is_choice(option, value))
            return error_set(err, ERROR_INPUT, "%s: \"%.100s\" is not known; it can be %s", flag,
                             value, option->min);
        *text_field(fields, option) = arena_copy_cstr(arena, slice_cstr(value));
        return OK;
    }
    for (size_t i = 0; i < table->other_flag_count; i++)
        known[known_count++] = table->other_flags[i];
    const char *near = yaml_nearest(flag, known, known_count);
    return error_set(err, ERROR_INPUT, "unknown flag %s%s%s%s", flag,
                     near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                     near != NULL ? "?" : "");
}

void option_names_split(struct option_names *out, const char *text, struct arena *arena)
{
    out->names = arena_alloc(arena, strlen(text) + 1, sizeof *out->names);
    out->count = 0;
    out->origin = NULL;
    while (*text != 0) {
        size_t len = strcspn(text, ",");
        if (len > 0)
            out->names[out->count++] = arena_copy_cstr(arena, slice_of(text, len));
        text += len + (text[len] == ',');
    }
}

int options_next_argument(int argc, char **argv, int *at, const char *const *switches,
                          size_t switch_count, struct arena *arena, const char **flag,
                          const char **value, struct error *err)
{
    const char *argument = argv[*at];
    *flag = NULL;
    *value = NULL;
    if (argument[0] != '-' || argument[1] == 0)
        return OK;
    if (argument[1] != '-')
        return error_set(err, ERROR_INPUT, "unknown flag %s (a file of that name: ./%s)", argument,
                         argument);
    const char *equals = strchr(argument, '=');
    size_t len = equals != NULL ? (size_t)(equals - argument) : strlen(argument);
    *flag = arena_copy_cstr(arena, slice_of(argument, len));
    for (size_t i = 0; i < switch_count; i++) {
        if (strcmp(*flag, switches[i]) != 0)
            continue;
        return equals == NULL ? OK : error_set(err, ERROR_INPUT, "%s takes no value", *flag);
    }
    *value = equals != NULL ? equals + 1 : NULL;
    if (*value == NULL && *at + 1 < argc)
        *value = argv[++*at];
    return *value != NULL ? OK : error_set(err, ERROR_INPUT, "%s wants a value", *flag);
}

static int take_flag(const struct option_table *table, struct option_line *line, const char *flag,
                     const char *value, struct error *err)
{
    bool known = true;
    if (strcmp(flag, "--config") == 0)
        return OK; /* read before, so that flags win */
    if (strcmp(flag, "--tables") == 0) {
        option_names_split(line->tables, value, line->arena);
        return OK;
    }
    int rc = line->take(line->context, flag, value, &known, err);
    return rc != OK || known ? rc
                             : options_set_flag(table, line->fields, flag, value, line->arena, err);
}

static int parse_pass(const struct option_table *table, struct option_line *line, int argc,
                      char **argv, bool only_file, struct error *err)
{
    int rc = OK;
    for (int i = 2; rc == OK && i < argc; i++) {
        const char *argument = argv[i];
        const char *flag = NULL;
        const char *value = NULL;
        rc = options_next_argument(argc, argv, &i, table->switches, table->switch_count,
                                   line->arena, &flag, &value, err);
        if (rc == OK && only_file && flag != NULL && strcmp(flag, "--config") == 0) {
            line->config_path = value;
            rc = options_load(table, line->fields, line->tables, value, line->arena, err);
        }
        if (rc != OK || only_file)
            continue;
        if (flag == NULL)
            line->arguments[line->argument_count++] = argument;
        else
            rc = take_flag(table, line, flag, value, err);
    }
    return rc;
}

int options_parse(const struct option_table *table, struct option_line *line, int argc, char **argv,
                  struct error *err)
{
    int rc = parse_pass(table, line, argc, argv, true, err);
    return rc == OK ? parse_pass(table, line, argc, argv, false, err) : rc;
}

static bool is_same(const struct option *option, const void *before, const void *after)
{
    const void *one = (const char *)before + option->field;
    const void *other = (const char *)after + option->field;
    if (option->kind != OPTION_text)
        return *(const int64_t *)one == *(const int64_t *)other;
    return strcmp(*(const char *const *)one, *(const char *const *)other) == 0;
}

void options_put_changed(const struct option_table *table, const void *before, const void *after,
                         struct buf *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct option *option = &table->options[i];
        if (!option->live && !is_same(option, before, after))
            buf_printf(out, "%s%s", out->len > 0 ? ", " : "", option->key);
    }
}

void options_print_help(const struct option_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct option *option = &table->options[i];
        char flag[FLAG_MAX];
        flag_name(option, flag);
        printf("  %-22s  %s%s%s%s\n", flag, option->help, option->otherwise[0] != 0 ? " (" : "",
               option->otherwise, option->otherwise[0] != 0 ? ")" : "");
    }
}
