/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/doors.h"

#include <stdlib.h>
#include <string.h>

#include "agent/capture/capture.h"
#include "agent/source/source.h"
#include "lib/base/memory.h"

static int check_table(const char *table, const struct mapping_set *mappings, struct error *err)
{
    if (strcmp(table, CAPTURE_DEAD_LETTERS) == 0)
        return error_set(err, ERROR_INPUT, "%s is the agent's own table, no door writes it", table);
    if (table[0] == 0 || mapping_set_find(mappings, table) != NULL)
        return OK;
    const char **names = memory_alloc(mappings->count + 1, sizeof *names);
    for (size_t i = 0; i < mappings->count; i++)
        names[i] = mappings->mappings[i].schema.table;
    const char *near = nearest_name(table, names, mappings->count);
    free(names);
    if (near == NULL)
        return error_set(err, ERROR_INPUT, "there is no table %.100s", table);
    return error_set(err, ERROR_INPUT, "there is no table %.100s, did you mean %s?", table, near);
}

/* A stream's or a datagram socket: both are made at their path. */
static bool is_unix(const struct agent_listener *listener)
{
    return strncmp(listener->kind, "unix", 4) == 0;
}

static int check_door(const struct agent_listener *listener, const struct mapping_set *mappings,
                      struct error *err)
{
    if (strcmp(listener->kind, "http") == 0 && !source_is_address(listener->address))
        return error_set(err, ERROR_INPUT,
                         "%.100s is no address; one looks like 127.0.0.1:7180 or [::1]:7180",
                         listener->address);
    int rc = OK;
    if (is_unix(listener))
        rc = source_check_path(listener->address, listener->owner, listener->group, err);
    return rc == OK ? check_table(listener->table, mappings, err) : rc;
}

static bool are_kinds(const struct agent_listener *one, const struct agent_listener *other,
                      const char *kind)
{
    return strcmp(one->kind, kind) == 0 && strcmp(other->kind, kind) == 0;
}

/* Each event would come by one of them, or, of a file, by both. */
static int check_pair(const struct agent_listener *one, const struct agent_listener *other,
                      struct error *err)
{
    bool same_text = strcmp(one->address, other->address) == 0;
    if (are_kinds(one, other, "stdin"))
        return error_set(err, ERROR_INPUT, "is there twice, first in %s", other->origin);
    if (are_kinds(one, other, "tail") && same_text)
        return error_set(err, ERROR_INPUT, "%s is there twice, first in %s: a file has one table",
                         one->address, other->origin);
    if (are_kinds(one, other, "tail") && strcmp(one->table, other->table) == 0)
        return error_set(err, ERROR_INPUT,
                         "two patterns for %s, %s and %s: write them as one, with {a,b}",
                         one->table, other->address, one->address);
    if ((is_unix(one) && is_unix(other) && same_text) ||
        (are_kinds(one, other, "http") && source_is_same_address(one->address, other->address)))
        return error_set(err, ERROR_INPUT, "%s is there twice, first in %s", one->address,
                         other->origin);
    return OK;
}

static int check_others(const struct agent_config *config, size_t i, struct error *err)
{
    const struct agent_listener *one = &config->listeners[i];
    int rc = OK;
    for (size_t k = 0; rc == OK && k < i; k++)
        rc = check_pair(one, &config->listeners[k], err);
    if (rc == OK && strcmp(one->kind, "http") == 0 &&
        source_is_same_address(one->address, config->operations))
        rc = error_set(err, ERROR_INPUT, "%s is the address of operations", one->address);
    return rc;
}

int doors_check(const struct agent_config *config, const struct mapping_set *mappings,
                struct error *err)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct agent_listener *listener = &config->listeners[i];
        int rc = check_door(listener, mappings, err);
        if (rc == OK)
            rc = check_others(config, i, err);
        if (rc != OK)
            return error_wrap(err, "%s: listen: %s", listener->origin, listener->kind);
    }
    if (config->operations[0] != 0 && !source_is_address(config->operations))
        return error_set(err, ERROR_INPUT,
                         "operations: %.100s is no address; one looks like 127.0.0.1:7181",
                         config->operations);
    if (source_check_token(config->http_token_file, err) != OK) {
        err->code = ERROR_INPUT; /* whatever kept it from being read, a person must act */
        return ERROR_INPUT;
    }
    return OK;
}
