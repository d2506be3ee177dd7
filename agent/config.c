/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/yaml/yaml.h"

#define OPTION(kind, field, key, otherwise, min, max, help)                                        \
    {OPTION_##kind, offsetof(struct agent_config, field), key, otherwise, min, max, help},
static const struct option rows[] = {
#include "agent/options.def"
};
#undef OPTION

/* A list of maps, so no row of options.def: agent_config_load_listeners. */
static const char *const other_keys[] = {"listen"};
static const char *const switches[] = {"--json",  "--again", "--progress",
                                       "--check", "--quiet", "--ready"};
static const char *const other_flags[] = {"--config", "--listen",   "--spool", "--tables",
                                          "--json",   "--again",    "--check", "--ready",
                                          "--quiet",  "--progress", "--help",  "--version"};

const struct option_table agent_options = {
    .options = rows,
    .count = sizeof rows / sizeof rows[0],
    .other_keys = other_keys,
    .other_key_count = sizeof other_keys / sizeof other_keys[0],
    .other_flags = other_flags,
    .other_flag_count = sizeof other_flags / sizeof other_flags[0],
    .switches = switches,
    .switch_count = sizeof switches / sizeof switches[0],
};

void agent_config_init(struct agent_config *out)
{
    static const char *default_tables[] = {"openrtb"};
    static struct agent_listener default_listeners[] = {{"http", "127.0.0.1:7180"}};
    *out = (struct agent_config){.tables = {.count = 1, .names = default_tables},
                                 .listener_count = 1,
                                 .listeners = default_listeners};
    options_init(&agent_options, out);
}

void agent_config_free(struct agent_config *config)
{
    arena_free(&config->arena);
    *config = (struct agent_config){0};
}

/* ---- listeners ---- */

static const char *const listener_kinds[] = {"http"};
enum { LISTENER_KIND_COUNT = sizeof listener_kinds / sizeof listener_kinds[0] };

static int add_listener(struct agent_config *config, const struct yaml_tree *tree,
                        const struct yaml_node *node, struct error *err)
{
    const char *address = NULL;
    int rc = yaml_expect(tree, node, YAML_MAP, "an entry of listen", err);
    if (rc == OK)
        rc = yaml_check_keys(tree, node, listener_kinds, LISTENER_KIND_COUNT, err);
    if (rc == OK && node->count != 1)
        rc = yaml_error(tree, node->line, err,
                        "an entry of listen names one door, like http: "
                        "127.0.0.1:7180");
    if (rc == OK)
        rc = yaml_to_text(tree, &node->entries[0].value, node->entries[0].key, &address, err);
    if (rc != OK)
        return rc;
    config->listeners[config->listener_count++] = (struct agent_listener){
        .kind = arena_copy_cstr(&config->arena, slice_cstr(node->entries[0].key)),
        .address = arena_copy_cstr(&config->arena, slice_cstr(address))};
    return OK;
}

int agent_config_load_listeners(struct agent_config *config, const char *path, struct error *err)
{
    struct yaml_tree tree = {0};
    if (path == NULL)
        return OK;
    int rc = yaml_tree_load(&tree, path, err);
    const struct yaml_node *list = rc == OK ? yaml_find(&tree.root, "listen") : NULL;
    if (list != NULL) {
        rc = yaml_expect(&tree, list, YAML_LIST, "listen", err);
        config->listener_count = 0;
        config->listeners = arena_alloc(&config->arena, list->count + 1, sizeof *config->listeners);
    }
    for (size_t i = 0; rc == OK && list != NULL && i < list->count; i++)
        rc = add_listener(config, &tree, &list->entries[i].value, err);
    yaml_tree_free(&tree);
    return rc;
}

int agent_config_set_listeners(struct agent_config *config, const char *text, struct error *err)
{
    struct option_names names = {0};
    option_names_split(&names, text, &config->arena);
    config->listener_count = 0;
    config->listeners = arena_alloc(&config->arena, names.count + 1, sizeof *config->listeners);
    for (size_t i = 0; i < names.count; i++) {
        const char *colon = strchr(names.names[i], ':');
        size_t len = colon != NULL ? (size_t)(colon - names.names[i]) : 0;
        size_t kind = 0;
        while (kind < LISTENER_KIND_COUNT &&
               !slice_is(slice_of(names.names[i], len), listener_kinds[kind]))
            kind++;
        if (colon == NULL || kind == LISTENER_KIND_COUNT)
            return error_set(err, ERROR_INPUT,
                             "--listen: %s names no door; one looks like http:127.0.0.1:7180",
                             names.names[i]);
        config->listeners[config->listener_count++] =
            (struct agent_listener){.kind = listener_kinds[kind], .address = colon + 1};
    }
    return OK;
}

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
    return OK;
}
