/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables are a generation, which capture_reload replaces. An intake goes over to the
 * newest one when it begins its next request; what it shredded under the one before waits
 * in an older lane set and goes with the next cut. Table numbers stay: a new generation
 * begins with the tables of the old one.
 */
#include "agent/capture/state.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"

const struct generation *tables_current(const struct capture *capture)
{
    return atomic_load(&capture->generation);
}

size_t tables_find(const struct generation *generation, struct slice table)
{
    for (size_t i = 0; generation != NULL && i < generation->table_count; i++) {
        if (slice_is(table, generation->tables[i].mapping->schema.table))
            return i;
    }
    return SIZE_MAX;
}

size_t capture_find_table(const struct capture *capture, struct slice table)
{
    return tables_find(tables_current(capture), table);
}

size_t capture_table_count(const struct capture *capture)
{
    return tables_current(capture)->table_count;
}

const struct mapping *capture_mapping_borrow(const struct capture *capture, size_t table)
{
    const struct generation *generation = tables_current(capture);
    ASSERT(table < generation->table_count);
    return generation->tables[table].mapping;
}

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
                      const struct mapping *mapping, struct error *err)
{
    table->mapping = mapping;
    table_schema_encode(&mapping->schema, &table->schema);
    table->schema_key = table_schema_key(&mapping->schema);
    return name_stream(capture, table, err);
}

void tables_free(struct generation *generation)
{
    for (size_t i = 0; i < generation->table_count; i++)
        buf_free(&generation->tables[i].schema);
    mapping_set_free(&generation->owned);
    free(generation->tables);
    free(generation);
}

int tables_make(struct capture *capture, const struct mapping_set *mappings,
                struct generation **out, struct error *err)
{
    const struct generation *older = tables_current(capture);
    size_t kept = older != NULL ? older->table_count : 0;
    struct generation *generation = memory_alloc(1, sizeof *generation);
    generation->tables = memory_alloc(kept + mappings->count, sizeof *generation->tables);
    int rc = OK;
    for (size_t i = 0; rc == OK && i < kept + mappings->count; i++) {
        const struct mapping *mapping = i < kept ? older->tables[i].mapping : NULL;
        const struct mapping *newer = mapping != NULL
                                          ? mapping_set_find(mappings, mapping->schema.table)
                                          : &mappings->mappings[i - kept];
        if (mapping == NULL && tables_find(older, slice_cstr(newer->schema.table)) != SIZE_MAX)
            continue;
        rc = open_table(capture, &generation->tables[generation->table_count++],
                        newer != NULL ? newer : mapping, err);
    }
    if (rc != OK)
        tables_free(generation);
    else
        *out = generation;
    return rc;
}

int tables_name_streams(struct capture *capture, struct error *err)
{
    struct generation *generation = atomic_load(&capture->generation);
    int rc = OK;
    for (; rc == OK && generation != NULL; generation = generation->older) {
        for (size_t i = 0; rc == OK && i < generation->table_count; i++)
            rc = name_stream(capture, &generation->tables[i], err);
    }
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
