/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables are a generation, which a reload replaces. An intake goes over to the
 * newest one when it begins its next request; what it shredded under the one before waits
 * in an older lane set and goes with the next cut. Table numbers stay: a new generation
 * begins with the tables of the old one. A generation goes when no lane set goes by it, a
 * mapping when no generation does: so reloads leave nothing behind.
 */
#include "agent/capture/state.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"

size_t tables_find(const struct generation *generation, struct slice table)
{
    for (size_t i = 0; generation != NULL && i < generation->table_count; i++) {
        if (slice_is(table, generation->tables[i].mapping->schema.table))
            return i;
    }
    return SIZE_MAX;
}

/* ---- names ---- */

size_t capture_find_table(const struct capture *capture, struct slice table)
{
    const struct table_names *names = atomic_load(&capture->names);
    if (slice_is(table, CAPTURE_DEAD_LETTERS))
        return SIZE_MAX;
    for (size_t i = 0; i < names->count; i++) {
        if (slice_is(table, names->names[i]))
            return i;
    }
    return SIZE_MAX;
}

size_t capture_table_count(const struct capture *capture)
{
    return atomic_load(&capture->names)->count;
}

const char *capture_table_name_borrow(const struct capture *capture, size_t table)
{
    const struct table_names *names = atomic_load(&capture->names);
    ASSERT(table < names->count);
    return names->names[table];
}

static void publish_names(struct capture *capture, const struct generation *generation)
{
    struct table_names *older = atomic_load(&capture->names);
    size_t known = older != NULL ? older->count : 0;
    if (older != NULL && known == generation->table_count)
        return;
    struct table_names *names = memory_alloc(1, sizeof *names);
    names->older = older;
    names->count = generation->table_count;
    names->names = memory_alloc(names->count, sizeof *names->names);
    for (size_t i = 0; i < names->count; i++)
        names->names[i] = i < known ? older->names[i]
                                    : memory_copy_cstr(generation->tables[i].mapping->schema.table);
    atomic_store(&capture->names, names);
}

void tables_free_names(struct capture *capture)
{
    struct table_names *names = atomic_load(&capture->names);
    for (size_t i = 0; names != NULL && i < names->count; i++)
        free(names->names[i]);
    while (names != NULL) {
        struct table_names *older = names->older;
        free(names->names);
        free(names);
        names = older;
    }
}

/* ---- generations ---- */

/* Of the spool's epoch as it is now. */
static int name_stream(const struct capture *capture, struct table *table, struct error *err)
{
    const struct capture_options *options = &capture->options;
    char *name = memory_printf("%s.%s", options->namespace, table->mapping->schema.table);
    int rc = stream_name_make(table->stream, options->agent_id, spool_epoch_borrow(options->spool),
                              name, err);
    free(name);
    return rc;
}

static int open_table(const struct capture *capture, struct table *table,
                      const struct mapping *mapping, struct mapping_owner *owner, struct error *err)
{
    table->mapping = mapping;
    table->owner = owner;
    if (owner != NULL)
        owner->tables++;
    table_schema_encode(&mapping->schema, &table->schema);
    table->schema_key = table_schema_key(&mapping->schema);
    return name_stream(capture, table, err);
}

static void release_mapping(struct mapping_owner *owner)
{
    if (owner == NULL || --owner->tables > 0)
        return;
    mapping_set_free(&owner->set);
    free(owner);
}

void tables_free(struct generation *generation)
{
    for (size_t i = 0; i < generation->table_count; i++) {
        buf_free(&generation->tables[i].schema);
        release_mapping(generation->tables[i].owner);
    }
    free(generation->tables);
    free(generation);
}

int tables_make(struct capture *capture, const struct mapping_set *mappings,
                struct mapping_owner *owner, struct generation **out, struct error *err)
{
    const struct generation *older = atomic_load(&capture->generation);
    size_t kept = older != NULL ? older->table_count : 0;
    struct generation *generation = memory_alloc(1, sizeof *generation);
    generation->tables = memory_alloc(kept + mappings->count, sizeof *generation->tables);
    int rc = OK;
    for (size_t i = 0; rc == OK && i < kept + mappings->count; i++) {
        const struct table *known = i < kept ? &older->tables[i] : NULL;
        const struct mapping *newer = i < kept
                                          ? mapping_set_find(mappings, known->mapping->schema.table)
                                          : &mappings->mappings[i - kept];
        if (i >= kept && tables_find(older, slice_cstr(newer->schema.table)) != SIZE_MAX)
            continue;
        struct table *table = &generation->tables[generation->table_count++];
        if (newer != NULL)
            rc = open_table(capture, table, newer, owner, err);
        else
            rc = open_table(capture, table, known->mapping, known->owner, err);
    }
    if (rc != OK)
        tables_free(generation);
    else
        *out = generation;
    return rc;
}

void tables_publish(struct capture *capture, struct generation *generation)
{
    generation->older = atomic_load(&capture->generation);
    atomic_store(&capture->generation, generation);
    publish_names(capture, generation);
    tables_tell_priorities(capture, generation);
}

void tables_sweep(struct capture *capture)
{
    struct generation **at = &atomic_load(&capture->generation)->older;
    while (*at != NULL) {
        struct generation *generation = *at;
        if (generation->lane_sets > 0) {
            at = &generation->older;
            continue;
        }
        *at = generation->older;
        tables_free(generation);
    }
}

int tables_name_new(const struct capture *capture, struct generation *generation, struct error *err)
{
    int rc = OK;
    for (size_t i = 0; rc == OK && i < generation->table_count; i++)
        rc = name_stream(capture, &generation->tables[i], err);
    return rc;
}

int tables_name_streams(struct capture *capture, struct error *err)
{
    struct generation *generation = atomic_load(&capture->generation);
    int rc = OK;
    for (; rc == OK && generation != NULL; generation = generation->older)
        rc = tables_name_new(capture, generation, err);
    return rc;
}

_Static_assert((int)PRIORITY_NORMAL == (int)SPOOL_PRIORITY_OTHERS, "tables of older starts");

void tables_tell_priorities(const struct capture *capture, const struct generation *generation)
{
    size_t count = generation->table_count;
    struct spool_priority *priorities = memory_alloc(count, sizeof *priorities);
    for (size_t i = 0; i < count; i++) {
        const struct table *table = &generation->tables[i];
        priorities[i] = (struct spool_priority){.table = strrchr(table->stream, '/') + 1,
                                                .priority = (int)table->mapping->priority};
    }
    spool_set_priorities(capture->options.spool, priorities, count);
    free(priorities);
}
