/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/yaml/yaml.h"

enum option_kind { OPTION_text, OPTION_ms, OPTION_count };

struct option {
    enum option_kind kind;
    size_t field; /* offset in config */
    const char *key;
    const char *otherwise;
    const char *min;
    const char *max;
    const char *help;
};

#define OPTION(kind, field, key, otherwise, min, max, help)                                        \
    {OPTION_##kind, offsetof(struct config, field), key, otherwise, min, max, help},
static const struct option options[] = {
#include "cloud/options.def"
};
#undef OPTION

enum { OPTION_COUNT = sizeof options / sizeof options[0], FLAG_MAX = 64 };

static const char **text_field(struct config *config, const struct option *option)
{
    return (const char **)(void *)((char *)config + option->field);
}

static int64_t *number_field(struct config *config, const struct option *option)
{
    return (int64_t *)(void *)((char *)config + option->field);
}

static enum yaml_unit unit_of(const struct option *option)
{
    return option->kind == OPTION_ms ? YAML_MS : YAML_COUNT;
}

static int64_t own_number(const struct option *option, const char *text)
{
    int64_t out = 0;
    bool fine = yaml_number_parse(unit_of(option), text, &out);
    ASSERT(fine);
    return out;
}

static void config_init(struct config *out)
{
    static const char *default_tables[] = {"openrtb"};
    *out = (struct config){.table_count = 1, .tables = default_tables};
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (options[i].kind == OPTION_text)
            *text_field(out, &options[i]) = options[i].otherwise;
        else
            *number_field(out, &options[i]) = own_number(&options[i], options[i].otherwise);
    }
}

void config_free(struct config *config)
{
    arena_free(&config->arena);
    *config = (struct config){0};
}

/* ---- file ---- */

static int load_option(struct config *config, const struct yaml_tree *tree,
                       const struct option *option, struct error *err)
{
    const struct yaml_node *node = yaml_find_dotted(&tree->root, option->key);
    if (node == NULL)
        return OK;
    if (option->kind != OPTION_text) {
        struct yaml_range range = {.unit = unit_of(option),
                                   .min = own_number(option, option->min),
                                   .max = own_number(option, option->max)};
        return yaml_to_number(tree, node, option->key, &range, number_field(config, option), err);
    }
    const char *text = NULL;
    int rc = yaml_to_text(tree, node, option->key, &text, err);
    if (rc == OK)
        *text_field(config, option) = arena_copy_cstr(&config->arena, slice_cstr(text));
    return rc;
}

static int load_tables(struct config *config, const struct yaml_tree *tree, struct error *err)
{
    const struct yaml_node *list = yaml_find(&tree->root, "tables");
    if (list == NULL)
        return OK;
    int rc = yaml_expect(tree, list, YAML_LIST, "tables", err);
    if (rc != OK)
        return rc;
    config->tables = arena_alloc(&config->arena, list->count + 1, sizeof *config->tables);
    config->table_count = list->count;
    for (size_t i = 0; rc == OK && i < list->count; i++) {
        const char *text = NULL;
        rc = yaml_to_text(tree, &list->entries[i].value, "a table", &text, err);
        if (rc == OK)
            config->tables[i] = arena_copy_cstr(&config->arena, slice_cstr(text));
    }
    return rc;
}

static int load_file(struct config *config, const char *path, struct error *err)
{
    const char *known[OPTION_COUNT + 1];
    struct yaml_tree tree = {0};
    for (size_t i = 0; i < OPTION_COUNT; i++)
        known[i] = options[i].key;
    known[OPTION_COUNT] = "tables";
    int rc = yaml_tree_load(&tree, path, err);
    if (rc == OK)
        rc = yaml_check_dotted(&tree, known, OPTION_COUNT + 1, err);
    for (size_t i = 0; rc == OK && i < OPTION_COUNT; i++)
        rc = load_option(config, &tree, &options[i], err);
    if (rc == OK)
        rc = load_tables(config, &tree, err);
    yaml_tree_free(&tree);
    return rc;
}

/* ---- flags ---- */

/* "ledger.retire" is "--ledger-retire". */
static void flag_name(const struct option *option, char out[FLAG_MAX])
{
    snprintf(out, FLAG_MAX, "--%s", option->key);
    for (char *at = out; *at != 0; at++)
        if (*at == '.' || *at == '_')
            *at = '-';
}

static int set_option(struct config *config, const struct option *option, const char *flag,
                      const char *value, struct error *err)
{
    int64_t number = 0;
    if (option->kind == OPTION_text) {
        *text_field(config, option) = value;
        return OK;
    }
    if (!yaml_number_parse(unit_of(option), value, &number))
        return error_set(err, ERROR_INPUT, "%s: not a number with a unit: %s (like %s)", flag,
                         value, option->otherwise);
    if (number < own_number(option, option->min) || number > own_number(option, option->max))
        return error_set(err, ERROR_INPUT, "%s: %s is not between %s and %s", flag, value,
                         option->min, option->max);
    *number_field(config, option) = number;
    return OK;
}

static void set_tables(struct config *config, const char *value)
{
    config->tables = arena_alloc(&config->arena, strlen(value) + 1, sizeof *config->tables);
    config->table_count = 0;
    while (*value != 0) {
        size_t len = strcspn(value, ",");
        if (len > 0)
            config->tables[config->table_count++] =
                arena_copy_cstr(&config->arena, slice_of(value, len));
        value += len + (value[len] == ',');
    }
}

static int take_flag(struct config *config, const char *flag, const char *value, struct error *err)
{
    static const char *const others[] = {"--config", "--catalog", "--tables", "--by",
                                         "--json",   "--skip",    "--help",   "--version"};
    enum { OTHERS = sizeof others / sizeof others[0] };
    char names[OPTION_COUNT][FLAG_MAX];
    const char *known[OPTION_COUNT + OTHERS];
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        flag_name(&options[i], names[i]);
        known[i] = names[i];
        if (strcmp(flag, names[i]) == 0)
            return set_option(config, &options[i], flag, value, err);
    }
    for (size_t i = 0; i < OTHERS; i++)
        known[OPTION_COUNT + i] = others[i];
    if (strcmp(flag, "--config") == 0)
        return OK; /* read before, so that flags win */
    if (strcmp(flag, "--catalog") == 0)
        config->catalog_spec = value;
    else if (strcmp(flag, "--by") == 0)
        config->by = value;
    else if (strcmp(flag, "--tables") == 0)
        set_tables(config, value);
    else {
        const char *near = yaml_nearest(flag, known, OPTION_COUNT + OTHERS);
        return error_set(err, ERROR_INPUT, "unknown flag %s%s%s", flag,
                         near != NULL ? "; did you mean " : "", near != NULL ? near : "");
    }
    return OK;
}

static bool take_switch(struct config *config, const char *flag)
{
    if (strcmp(flag, "--json") == 0)
        config->json = true;
    else if (strcmp(flag, "--skip") == 0)
        config->skip = true;
    else
        return false;
    return true;
}

/* "--flag value" and "--flag=value" alike; *at moves over what was used. */
static int parse_one(struct config *config, int argc, char **argv, int *at, bool only_file,
                     struct error *err)
{
    const char *flag = argv[*at];
    if (strncmp(flag, "--", 2) != 0) {
        if (!only_file)
            config->arguments[config->argument_count++] = flag;
        return OK;
    }
    if (take_switch(config, flag))
        return OK;
    const char *equals = strchr(flag, '=');
    const char *value = equals != NULL ? equals + 1 : NULL;
    if (value == NULL && *at + 1 < argc)
        value = argv[++*at];
    if (value == NULL)
        return error_set(err, ERROR_INPUT, "%s wants a value", flag);
    size_t len = equals != NULL ? (size_t)(equals - flag) : strlen(flag);
    const char *name = arena_copy_cstr(&config->arena, slice_of(flag, len));
    if (only_file)
        return strcmp(name, "--config") == 0 ? load_file(config, value, err) : OK;
    return take_flag(config, name, value, err);
}

static int config_finish(struct config *config, struct error *err)
{
    if (*config->warehouse == 0)
        return error_set(err, ERROR_INPUT, "no warehouse: give --warehouse or --config");
    if (config->catalog_spec == NULL && *config->catalog_path == 0)
        return error_set(err, ERROR_INPUT, "no catalog: give --catalog sqlite:PATH or --config");
    if (config->catalog_spec == NULL)
        config->catalog_spec =
            arena_printf(&config->arena, "%s:%s", config->catalog_type, config->catalog_path);
    if (*config->ns == 0 || strpbrk(config->ns, "/\\ ") != NULL)
        return error_set(err, ERROR_INPUT, "namespace \"%s\" is none", config->ns);
    return OK;
}

int config_parse(struct config *out, int argc, char **argv, struct error *err)
{
    int rc = OK;
    config_init(out);
    out->arguments = arena_alloc(&out->arena, (size_t)argc + 1, sizeof *out->arguments);
    for (int i = 2; rc == OK && i < argc; i++)
        rc = parse_one(out, argc, argv, &i, true, err);
    for (int i = 2; rc == OK && i < argc; i++)
        rc = parse_one(out, argc, argv, &i, false, err);
    return rc == OK ? config_finish(out, err) : rc;
}

void config_print_help(void)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char flag[FLAG_MAX];
        flag_name(&options[i], flag);
        printf("  %-24s%s%s%s%s\n", flag, options[i].help, options[i].otherwise[0] != 0 ? " (" : "",
               options[i].otherwise, options[i].otherwise[0] != 0 ? ")" : "");
    }
}

/* ---- what it configures ---- */

int service_open(struct service *out, const struct config *config, struct error *err)
{
    *out = (struct service){0};
    struct objstore_options store_options = {0};
    int rc = objstore_open(&out->store, config->warehouse, &store_options, err);
    if (rc == OK) {
        struct catalog_options catalog_options = {
            .name = config->catalog_name, .store = out->store, .busy_timeout_ms = config->busy_ms};
        rc = catalog_open(&out->catalog, config->catalog_spec, &catalog_options, err);
    }
    if (rc != OK)
        return rc;
    out->committer = (struct committer){
        .store = out->store,
        .catalog = out->catalog,
        .file_age_ms = config->file_age_ms,
        .attempt_ms = config->attempt_ms,
        .retire_ms = config->retire_ms,
        .ledger_keep_ms = config->ledger_keep_ms,
        .announcements_max = (size_t)config->announcements_max,
        .snapshots_age_ms = config->snapshots_age_ms,
        .snapshots_keep = (size_t)config->snapshots_keep,
    };
    return OK;
}

void service_close(struct service *service)
{
    catalog_close(service->catalog);
    objstore_close(service->store);
    *service = (struct service){0};
}
