/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/yaml/yaml.h"

enum option_kind { OPTION_text, OPTION_bytes, OPTION_ms, OPTION_count };

struct option {
    enum option_kind kind;
    size_t field; /* offset in agent_config */
    const char *key;
    const char *otherwise; /* the default */
    const char *min;
    const char *max;
    const char *help;
};

#define OPTION(kind, field, key, otherwise, min, max, help)                                        \
    {OPTION_##kind, offsetof(struct agent_config, field), key, otherwise, min, max, help},
static const struct option options[] = {
#include "agent/options.def"
};
#undef OPTION

enum { OPTION_COUNT = sizeof options / sizeof options[0] };

/* Keys of the daemon's file (DESIGN 12) that an ingest has no use for: one file serves
 * both, so they are known, and what lies below them is the daemon's to judge. */
static const char *const other_keys[] = {"tables", "listen", "operations"};
enum { OTHER_COUNT = sizeof other_keys / sizeof other_keys[0] };

static enum yaml_unit unit_of(const struct option *option)
{
    return option->kind == OPTION_bytes ? YAML_BYTES
           : option->kind == OPTION_ms  ? YAML_MS
                                        : YAML_COUNT;
}

static const char **text_field(struct agent_config *config, const struct option *option)
{
    return (const char **)(void *)((char *)config + option->field);
}

static int64_t *number_field(struct agent_config *config, const struct option *option)
{
    return (int64_t *)(void *)((char *)config + option->field);
}

static int64_t own_number(const struct option *option, const char *text)
{
    int64_t out = 0;
    bool fine = yaml_number_parse(unit_of(option), text, &out);
    ASSERT(fine);
    return out;
}

void agent_config_init(struct agent_config *out)
{
    static const char *default_tables[] = {"openrtb"};
    *out = (struct agent_config){.table_count = 1, .tables = default_tables};
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (options[i].kind == OPTION_text)
            *text_field(out, &options[i]) = options[i].otherwise;
        else
            *number_field(out, &options[i]) = own_number(&options[i], options[i].otherwise);
    }
}

void agent_config_free(struct agent_config *config)
{
    arena_free(&config->arena);
    *config = (struct agent_config){0};
}

/* ---- file ---- */

static int load_option(struct agent_config *config, const struct yaml_tree *tree,
                       const struct option *option, struct error *err)
{
    const struct yaml_node *node = yaml_find_dotted(&tree->root, option->key);
    if (node == NULL)
        return OK;
    if (option->kind == OPTION_text) {
        const char *text = NULL;
        int rc = yaml_to_text(tree, node, option->key, &text, err);
        if (rc == OK)
            *text_field(config, option) = arena_copy_cstr(&config->arena, slice_cstr(text));
        return rc;
    }
    struct yaml_range range = {.unit = unit_of(option),
                               .min = own_number(option, option->min),
                               .max = own_number(option, option->max)};
    return yaml_to_number(tree, node, option->key, &range, number_field(config, option), err);
}

static int load_tables(struct agent_config *config, const struct yaml_tree *tree, struct error *err)
{
    const struct yaml_node *list = yaml_find(&tree->root, "tables");
    if (list == NULL)
        return OK;
    int rc = yaml_expect(tree, list, YAML_LIST, "tables", err);
    if (rc != OK)
        return rc;
    config->tables = arena_alloc(&config->arena, list->count, sizeof *config->tables);
    config->table_count = list->count;
    for (size_t i = 0; rc == OK && i < list->count; i++) {
        const char *text = NULL;
        rc = yaml_to_text(tree, &list->entries[i].value, "a table", &text, err);
        if (rc == OK)
            config->tables[i] = arena_copy_cstr(&config->arena, slice_cstr(text));
    }
    return rc;
}

int agent_config_load(struct agent_config *config, const char *path, struct error *err)
{
    const char *known[OPTION_COUNT + OTHER_COUNT];
    struct yaml_tree tree = {0};
    for (size_t i = 0; i < OPTION_COUNT; i++)
        known[i] = options[i].key;
    for (size_t i = 0; i < OTHER_COUNT; i++)
        known[OPTION_COUNT + i] = other_keys[i];
    int rc = yaml_tree_load(&tree, path, err);
    if (rc == OK)
        rc = yaml_check_dotted(&tree, known, sizeof known / sizeof known[0], err);
    for (size_t i = 0; rc == OK && i < OPTION_COUNT; i++)
        rc = load_option(config, &tree, &options[i], err);
    if (rc == OK)
        rc = load_tables(config, &tree, err);
    yaml_tree_free(&tree);
    return rc;
}

/* ---- flags ---- */

/* "spool.directory" is "--spool-directory". */
static void flag_name(const struct option *option, char *out, size_t size)
{
    snprintf(out, size, "--%s", option->key);
    for (char *at = out; *at != 0; at++) {
        if (*at == '.' || *at == '_')
            *at = '-';
    }
}

static int set_number(struct agent_config *config, const struct option *option, const char *flag,
                      const char *value, struct error *err)
{
    int64_t number = 0;
    if (!yaml_number_parse(unit_of(option), value, &number))
        return error_set(err, ERROR_INPUT, "%s: not a number with a unit: %s (like %s)", flag,
                         value, option->otherwise);
    if (number < own_number(option, option->min) || number > own_number(option, option->max))
        return error_set(err, ERROR_INPUT, "%s: %s is not between %s and %s", flag, value,
                         option->min, option->max);
    *number_field(config, option) = number;
    return OK;
}

int agent_config_set_flag(struct agent_config *config, const char *flag, const char *value,
                          bool *known, struct error *err)
{
    char names[OPTION_COUNT][64];
    const char *pointers[OPTION_COUNT];
    *known = true;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        flag_name(&options[i], names[i], sizeof names[i]);
        pointers[i] = names[i];
        if (strcmp(flag, names[i]) != 0)
            continue;
        if (options[i].kind != OPTION_text)
            return set_number(config, &options[i], flag, value, err);
        *text_field(config, &options[i]) = arena_copy_cstr(&config->arena, slice_cstr(value));
        return OK;
    }
    const char *near = yaml_nearest(flag, pointers, OPTION_COUNT);
    if (near != NULL)
        return error_set(err, ERROR_INPUT, "unknown flag %s; did you mean %s?", flag, near);
    *known = false;
    return OK;
}

void agent_config_print_help(void)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char flag[64];
        flag_name(&options[i], flag, sizeof flag);
        printf("  %-24s%s%s%s%s\n", flag, options[i].help, options[i].otherwise[0] != 0 ? " (" : "",
               options[i].otherwise, options[i].otherwise[0] != 0 ? ")" : "");
    }
}

/* ---- the whole ---- */

static bool is_name(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        if (isalnum((unsigned char)text[i]) == 0 && strchr("._-", text[i]) == NULL)
            return false;
    }
    return len > 0 && len <= 128;
}

/* A host name as an agent id: what isn't allowed in one becomes '-'. */
static const char *host_name_id(struct agent_config *config)
{
    char host[128] = "";
    if (gethostname(host, sizeof host - 1) < 0 || host[0] == 0)
        return "agent";
    for (char *at = host; *at != 0; at++) {
        if (isalnum((unsigned char)*at) == 0 && strchr("._-", *at) == NULL)
            *at = '-';
    }
    return arena_copy_cstr(&config->arena, slice_cstr(host));
}

int agent_config_finish(struct agent_config *config, struct error *err)
{
    if (config->agent_id[0] == 0)
        config->agent_id = host_name_id(config);
    if (!is_name(config->agent_id))
        return error_set(err, ERROR_INPUT,
                         "agent_id: \"%s\" has other characters than A-Z a-z 0-9 . _ -, or more "
                         "than 128 of them",
                         config->agent_id);
    if (!is_name(config->namespace))
        return error_set(err, ERROR_INPUT, "namespace: \"%s\" is no name", config->namespace);
    if (strcmp(config->spool_when_full, "refuse") != 0)
        return error_set(err, ERROR_INPUT, "spool.when_full: \"%s\" is not known; it can be refuse",
                         config->spool_when_full);
    if (strcmp(config->spool_keep, "committed") != 0)
        return error_set(err, ERROR_INPUT, "spool.keep: \"%s\" is not known; it can be committed",
                         config->spool_keep);
    return OK;
}
