/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/commands.h"
#include "agent/daemon.h"
#include "agent/doors.h"
#include "agent/parts.h"

/* A warehouse of a kind that nobody knows is a mistake of usage, not a failure. */
static int check_warehouse(const struct agent_config *config, struct error *err)
{
    struct objstore *store = NULL;
    if (config->warehouse[0] == 0)
        return error_set(err, ERROR_INPUT,
                         "no warehouse: set it in the configuration or by --warehouse");
    int rc = agent_store_open(&store, config, err);
    objstore_close(store);
    return rc == ERROR_INPUT ? rc : OK;
}

int command_load_tables(const struct command_line *line, struct mapping_set *out, struct error *err)
{
    const struct option_names *tables = &line->config.tables;
    int rc = check_warehouse(&line->config, err);
    if (rc != OK)
        return rc;
    rc = mapping_set_load(out, tables->names, tables->count, err);
    return rc != OK && tables->origin != NULL ? error_wrap(err, "%s", tables->origin) : rc;
}

/* The tables as they are configured now. The log's level and the like were taken at the
 * start and stay. */
static int load_again(void *context, struct agent_config *config, struct mapping_set *mappings,
                      struct error *err)
{
    const struct command_line *first = context;
    struct command_line line = {.config = *config};
    int rc = command_line_parse(&line, first->argc, first->argv, err);
    if (rc == OK)
        rc = command_load_tables(&line, mappings, err);
    if (rc == OK)
        rc = doors_check(&line.config, mappings, err);
    *config = line.config;
    free(line.arguments);
    return rc;
}

int command_run(const struct command_line *line)
{
    struct error err;
    struct mapping_set set = {0};
    struct daemon_reload reload = {.load = load_again, .context = (void *)(uintptr_t)line};
    int code = EXIT_USAGE;
    int rc = command_load_tables(line, &set, &err);
    if (rc == OK)
        rc = doors_check(&line->config, &set, &err);
    if (rc == OK) {
        rc = daemon_run(&line->config, &set, &reload, &err);
        code = rc == OK ? EXIT_DONE : rc == ERROR_INPUT ? EXIT_USAGE : EXIT_FAILED;
    }
    if (rc != OK)
        fprintf(stderr, "bidlake-agent: %s\n", err.text);
    mapping_set_free(&set);
    return code;
}
