/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables that one agent or commit service knows.
 */
#include "lib/schema/mapping.h"

#include <stdlib.h>

#include "lib/base/memory.h"

enum { TABLES_MAX = 256 };

void mapping_set_free(struct mapping_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        mapping_free(&set->mappings[i]);
    free(set->mappings);
    *set = (struct mapping_set){0};
}

const struct mapping *mapping_set_find(const struct mapping_set *set, const char *table)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->mappings[i].schema.table, table) == 0)
            return &set->mappings[i];
    return NULL;
}

/* Takes the mapping, also when it refuses it. */
static int add(struct mapping_set *set, struct mapping mapping, const char *from, struct error *err)
{
    int rc = OK;
    if (set->count == TABLES_MAX)
        rc = error_set(err, ERROR_INPUT, "%s: more than %d tables", from, TABLES_MAX);
    else if (mapping_set_find(set, mapping.schema.table) != NULL)
        rc = error_set(err, ERROR_INPUT, "%s: table \"%s\" is there already", from,
                       mapping.schema.table);
    if (rc != OK) {
        mapping_free(&mapping);
        return rc;
    }
    set->mappings[set->count++] = mapping;
    return OK;
}

static int add_preset(struct mapping_set *set, const char *name, struct error *err)
{
    struct mapping mapping;
    int rc = mapping_load_preset(&mapping, name, err);
    return rc == OK ? add(set, mapping, name, err) : rc;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t end_len = strlen(end);
    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

/* Presets whose name is `family` and a slash; *found tells a family from a wrong name. */
static int add_family(struct mapping_set *set, const char *family, bool *found, struct error *err)
{
    size_t len = strlen(family);
    *found = false;
    for (size_t i = 0; presets[i].name != NULL; i++) {
        if (strncmp(presets[i].name, family, len) != 0 || presets[i].name[len] != '/')
            continue;
        *found = true;
        int rc = add_preset(set, presets[i].name, err);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static int add_named(struct mapping_set *set, const char *name, struct error *err)
{
    if (ends_with(name, ".yaml") || ends_with(name, ".yml")) {
        struct mapping mapping;
        int rc = mapping_load_file(&mapping, name, err);
        return rc == OK ? add(set, mapping, name, err) : rc;
    }
    bool found = false;
    int rc = add_family(set, name, &found, err);
    if (rc != OK || found)
        return rc;
    if (strchr(name, '/') != NULL)
        return add_preset(set, name, err);
    static const char *const families[] = {"openrtb"};
    const char *near = nearest_name(name, families, 1);
    return error_set(err, ERROR_INPUT,
                     "unknown tables \"%.100s\"%s%s%s; it is openrtb, openrtb/NAME or a .yaml file",
                     name, near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
                     near != NULL ? "\"?" : "");
}

int mapping_set_load(struct mapping_set *out, const char *const *names, size_t count,
                     struct error *err)
{
    *out = (struct mapping_set){0};
    out->mappings = memory_alloc(TABLES_MAX, sizeof *out->mappings);
    int rc = OK;
    for (size_t i = 0; i < count && rc == OK; i++)
        rc = add_named(out, names[i], err);
    if (rc == OK && mapping_set_find(out, "dead_letters") == NULL)
        rc = add_preset(out, "openrtb/dead_letters", err);
    if (rc != OK)
        mapping_set_free(out);
    return rc;
}
