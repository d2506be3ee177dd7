/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OPTION(kind, field, key, otherwise, min, max, help)                                        \
    {OPTION_##kind, offsetof(struct agent_config, field), key, otherwise, min, max, help},
static const struct option rows[] = {
#include "agent/options.def"
};
#undef OPTION

/* Keys of the daemon's file (DESIGN 12) that an ingest has no use for: one file serves
 * both, so they are known, and what lies below them is the daemon's to judge. */
static const char *const other_keys[] = {"listen", "operations"};
static const char *const switches[] = {"--json", "--again", "--progress", "--check", "--quiet"};
static const char *const other_flags[] = {"--config", "--spool",  "--tables", "--json",
                                          "--again",  "--check",  "--quiet",  "--progress",
                                          "--help",   "--version"};

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
    *out = (struct agent_config){.tables = {.count = 1, .names = default_tables}};
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
