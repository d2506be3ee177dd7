/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/memory.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/yaml/yaml.h"

#define ROW(kind, field, ...) {OPTION_##kind, offsetof(struct agent_config, field), __VA_ARGS__},
#define OPTION(kind, field, ...) ROW(kind, field, __VA_ARGS__, false)
#define OPTION_LIVE(kind, field, ...) ROW(kind, field, __VA_ARGS__, true)
static const struct option rows[] = {
#include "agent/options.def"
};
#undef OPTION_LIVE
#undef OPTION
#undef ROW

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

/* ---- listeners ---- */

static const char *const listener_kinds[] = {"http", "unix", "unix_datagram", "stdin", "tail"};
static const char *const listener_keys[] = {"http",  "unix",  "unix_datagram", "stdin",
                                            "tail",  "table", "ack",           "mode",
                                            "owner", "group", "threads"};
enum {
    LISTENER_KIND_COUNT = sizeof listener_kinds / sizeof listener_kinds[0],
    LISTENER_KEY_COUNT = sizeof listener_keys / sizeof listener_keys[0],
};

static const struct agent_listener no_listener = {
    .table = "", .ack = "", .mode = "", .owner = "", .group = "", .origin = "--listen"};

static bool set_threads(struct agent_listener *listener, const char *value)
{
    char *end = NULL;
    unsigned long threads = strtoul(value, &end, 10);
    listener->threads = (unsigned)threads;
    return isdigit((unsigned char)value[0]) != 0 && *end == 0 && threads >= 1 &&
           threads <= AGENT_THREADS_MAX;
}

/* False when the kind has no such key, or the value can't be. */
static bool set_listener_key(struct agent_listener *listener, const char *key, const char *value)
{
    struct {
        const char *key;
        const char **to;
    } keys[] = {{"table", &listener->table},
                {"ack", &listener->ack},
                {"mode", &listener->mode},
                {"owner", &listener->owner},
                {"group", &listener->group}};
    for (size_t i = 0; i < LISTENER_KIND_COUNT; i++) {
        if (strcmp(key, listener_kinds[i]) != 0)
            continue;
        if (listener->kind != NULL)
            return false;
        listener->kind = listener_kinds[i];
        listener->address = value;
        return true;
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(key, keys[i].key) == 0)
            *keys[i].to = value;
    }
    if (strcmp(key, "threads") == 0)
        return set_threads(listener, value);
    return strcmp(key, "ack") != 0 || strcmp(value, "lines") == 0;
}

/* What the kind can't do without, and what it has no use for. */
static const char *listener_mistake(const struct agent_listener *listener)
{
    if (listener->kind == NULL)
        return "names no door; one looks like http: 127.0.0.1:7180";
    bool http = strcmp(listener->kind, "http") == 0;
    bool socket = strncmp(listener->kind, "unix", 4) == 0;
    bool standard = strcmp(listener->kind, "stdin") == 0;
    bool socket_keys = listener->ack[0] != 0 || listener->mode[0] != 0 || listener->owner[0] != 0 ||
                       listener->group[0] != 0;
    if (!http && listener->table[0] == 0)
        return "wants the table that its events go to (table: clicks)";
    if (socket && listener->address[0] != '/')
        return "wants an absolute path for a unix socket";
    if (strcmp(listener->kind, "tail") == 0 && listener->address[0] != '/')
        return "wants an absolute path for the files to follow: /var/log/bidder/*.ndjson";
    if (standard && listener->address[0] != 0 && strcmp(listener->address, "true") != 0)
        return "stdin has no address: {stdin: true, table: clicks}";
    if (http && (listener->table[0] != 0 || socket_keys))
        return "http has no other key than threads: the table is in the path";
    if (!http && listener->threads > 0)
        return "threads are for http";
    if (!socket && socket_keys)
        return "ack, mode, owner and group are for unix sockets";
    if (listener->ack[0] != 0 && strcmp(listener->kind, "unix") != 0)
        return "ack is for stream sockets (unix)";
    if (strspn(listener->mode, "01234567") != strlen(listener->mode) || strlen(listener->mode) > 4)
        return "mode wants octal digits, like 0660";
    return NULL;
}

static int add_listener(struct agent_config *config, const struct yaml_tree *tree,
                        const struct yaml_node *node, struct error *err)
{
    struct agent_listener listener = no_listener;
    int rc = yaml_expect(tree, node, YAML_MAP, "an entry of listen", err);
    if (rc == OK)
        rc = yaml_check_keys(tree, node, listener_keys, LISTENER_KEY_COUNT, err);
    for (size_t i = 0; rc == OK && i < node->count; i++) {
        const struct yaml_entry *entry = &node->entries[i];
        const char *text = NULL;
        rc = yaml_to_text(tree, &entry->value, entry->key, &text, err);
        if (rc == OK && !set_listener_key(&listener, entry->key,
                                          arena_copy_cstr(&config->arena, slice_cstr(text))))
            rc = yaml_error(tree, entry->line, err, "an entry of listen: %s: %.100s", entry->key,
                            text);
    }
    const char *mistake = rc == OK ? listener_mistake(&listener) : NULL;
    if (mistake != NULL)
        rc = yaml_error(tree, node->line, err, "an entry of listen %s", mistake);
    char *origin = memory_printf("%s:%d", tree->name, node->line);
    listener.origin = arena_copy_cstr(&config->arena, slice_cstr(origin));
    free(origin);
    if (rc == OK)
        config->listeners[config->listener_count++] = listener;
    return rc;
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

/* "unix:/run/x.sock?table=clicks&ack=lines" */
static bool parse_listener(struct arena *arena, const char *text, struct agent_listener *out)
{
    size_t kind_len = strcspn(text, ":");
    const char *query = strrchr(text, '?');
    size_t len = query != NULL ? (size_t)(query - text) : strlen(text);
    *out = no_listener;
    if (kind_len >= len ||
        !set_listener_key(
            out, arena_copy_cstr(arena, slice_of(text, kind_len)),
            arena_copy_cstr(arena, slice_of(text + kind_len + 1, len - kind_len - 1))) ||
        out->kind == NULL)
        return false;
    for (text += len; *text != 0;) {
        text++; /* the '?' or '&' */
        size_t pair = strcspn(text, "&");
        const char *equals = memchr(text, '=', pair);
        if (equals == NULL)
            return false;
        const char *key = arena_copy_cstr(arena, slice_of(text, (size_t)(equals - text)));
        bool known = false;
        for (size_t i = LISTENER_KIND_COUNT; i < LISTENER_KEY_COUNT; i++)
            known = known || strcmp(key, listener_keys[i]) == 0;
        const char *value =
            arena_copy_cstr(arena, slice_of(equals + 1, pair - (size_t)(equals - text) - 1));
        if (!known || !set_listener_key(out, key, value))
            return false;
        text += pair;
    }
    return true;
}

/* At commas outside of {a,b}. */
static void split_listeners(struct option_names *out, const char *text, struct arena *arena)
{
    *out = (struct option_names){.names = arena_alloc(arena, strlen(text) + 1, sizeof *out->names)};
    while (*text != 0) {
        size_t len = 0;
        for (size_t depth = 0; text[len] != 0 && (depth > 0 || text[len] != ','); len++) {
            depth += text[len] == '{';
            depth -= text[len] == '}' && depth > 0;
        }
        if (len > 0)
            out->names[out->count++] = arena_copy_cstr(arena, slice_of(text, len));
        text += len + (text[len] == ',');
    }
}

int agent_config_set_listeners(struct agent_config *config, const char *text, struct error *err)
{
    struct option_names names = {0};
    split_listeners(&names, text, &config->arena);
    config->listener_count = 0;
    config->listeners = arena_alloc(&config->arena, names.count + 1, sizeof *config->listeners);
    for (size_t i = 0; i < names.count; i++) {
        struct agent_listener *listener = &config->listeners[config->listener_count];
        if (!parse_listener(&config->arena, names.names[i], listener))
            return error_set(err, ERROR_INPUT,
                             "--listen: %s names no door; they look like http:127.0.0.1:7180 and "
                             "unix:/run/clicks.sock?table=clicks&ack=lines",
                             names.names[i]);
        const char *mistake = listener_mistake(listener);
        if (mistake != NULL)
            return error_set(err, ERROR_INPUT, "--listen: %s: %s", names.names[i], mistake);
        config->listener_count++;
    }
    return OK;
}

void agent_config_init(struct agent_config *out)
{
    static const char *default_tables[] = {"openrtb"};
    static struct agent_listener default_listeners[1];
    default_listeners[0] = no_listener;
    default_listeners[0].kind = "http";
    default_listeners[0].address = "127.0.0.1:7180";
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
    config->agent_id_is_default = config->agent_id[0] == 0;
    if (config->agent_id_is_default)
        config->agent_id = host_name_id(config);
    if (!is_name(config->agent_id))
        return error_set(err, ERROR_INPUT,
                         "agent_id: \"%s\" has other characters than A-Z a-z 0-9 . _ -, or more "
                         "than 128 of them",
                         config->agent_id);
    struct memory_shares shares;
    int rc = memory_share(config, &shares, err);
    if (rc != OK)
        return rc;
    if (!is_name(config->namespace))
        return error_set(err, ERROR_INPUT, "namespace: \"%s\" is no name", config->namespace);
    return OK;
}

static bool is_same_door(const struct agent_listener *one, const struct agent_listener *other)
{
    return strcmp(one->kind, other->kind) == 0 && strcmp(one->address, other->address) == 0 &&
           strcmp(one->table, other->table) == 0 && strcmp(one->ack, other->ack) == 0 &&
           strcmp(one->mode, other->mode) == 0 && strcmp(one->owner, other->owner) == 0 &&
           strcmp(one->group, other->group) == 0 &&
           agent_listener_threads(one) == agent_listener_threads(other);
}

static bool are_same_doors(const struct agent_config *one, const struct agent_config *other)
{
    bool same = one->listener_count == other->listener_count;
    for (size_t i = 0; same && i < one->listener_count; i++)
        same = is_same_door(&one->listeners[i], &other->listeners[i]);
    return same;
}

void agent_config_name_unreloaded(const struct agent_config *started,
                                  const struct agent_config *reloaded)
{
    struct buf keys = {0};
    struct agent_config after = *reloaded;
    /* A name that nobody chose stays, whatever the host is called by now. */
    if (after.agent_id_is_default && started->agent_id_is_default)
        after.agent_id = started->agent_id;
    options_put_changed(&agent_options, started, &after, &keys);
    if (!are_same_doors(started, reloaded))
        buf_printf(&keys, "%slisten", keys.len > 0 ? ", " : "");
    if (keys.len > 0)
        log_event(LOG_LEVEL_WARN, "daemon", "what was changed besides wants a restart",
                  "keys=\"%s\"", buf_cstr(&keys));
    buf_free(&keys);
}
