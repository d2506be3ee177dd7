/* SPDX-License-Identifier: Apache-2.0
 *
 * Another engine at work on the same tables, through the catalog alone. What it does is
 * done at once: it has no faults of its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/iceberg/iceberg.h"
#include "tests/crash/world.h"

static void load(struct world *world, size_t table, struct catalog_table *out)
{
    struct error err;
    bool found = false;
    int rc = catalog_load_table(world->plain_catalog, "db", world->mapping[0][table].schema.table,
                                out, &found, &err);
    ASSERT(rc == OK && found);
}

void world_foreign_update(struct world *world, size_t table, json_t *updates)
{
    struct error err;
    struct catalog_table now = {0};
    json_t *requirements = json_array();
    load(world, table, &now);
    int rc = catalog_commit(world->plain_catalog, "db", world->mapping[0][table].schema.table, &now,
                            requirements, updates, NULL, &err);
    if (rc != OK)
        fprintf(stderr, "%s\n", err.text);
    ASSERT(rc == OK);
    json_decref(requirements);
    json_decref(updates);
    catalog_table_free(&now);
}

int64_t world_current_snapshot(struct world *world, size_t table)
{
    struct catalog_table now = {0};
    load(world, table, &now);
    int64_t id = metadata_current_snapshot_id(now.metadata);
    catalog_table_free(&now);
    return id;
}

void world_foreign_snapshot(struct world *world, size_t table, const char *branch)
{
    struct catalog_table now = {0};
    load(world, table, &now);
    int64_t current = metadata_current_snapshot_id(now.metadata);
    json_int_t id = (json_int_t)(random_next(&world->random) >> 2);
    json_t *snapshot = json_deep_copy(metadata_snapshot_borrow(now.metadata, current));
    json_object_set_new(snapshot, "snapshot-id", json_integer(id));
    json_object_set_new(snapshot, "parent-snapshot-id", json_integer(current));
    json_object_set_new(snapshot, "sequence-number",
                        json_integer(metadata_last_sequence_number(now.metadata) + 1));
    int64_t now_ms = world->wall_us / 1000;
    int64_t last_ms = metadata_last_updated_ms(now.metadata);
    json_object_set_new(snapshot, "timestamp-ms",
                        json_integer(now_ms > last_ms ? now_ms : last_ms + 1));
    json_t *updates = json_pack("[{s:s,s:o},{s:s,s:s,s:s,s:I}]", "action", "add-snapshot",
                                "snapshot", snapshot, "action", "set-snapshot-ref", "ref-name",
                                branch, "type", "branch", "snapshot-id", id);
    ASSERT(updates != NULL);
    catalog_table_free(&now);
    world_note(world, "a foreign snapshot on %s of %s", branch, world->table[table]);
    world_foreign_update(world, table, updates);
}

void world_grow_table(struct world *world, size_t table)
{
    struct error err;
    struct catalog_table now = {0};
    struct commit_report report = {0};
    const struct mapping *mapping = &world->mapping[1][table];
    if (world->grown[table])
        return;
    world->grown[table] = true;
    world_mend_mess(world); /* init takes no table that is wrong */
    world_note(world, "%s gets a column", world->table[table]);
    load(world, table, &now);
    json_t *schema = json_deep_copy(metadata_current_schema_borrow(now.metadata));
    json_int_t id = json_integer_value(json_object_get(now.metadata, "last-column-id")) + 1;
    json_array_append_new(
        json_object_get(schema, "fields"),
        json_pack("{s:I,s:s,s:b,s:s}", "id", id, "name", "later", "required", 0, "type", "string"));
    json_int_t schema_id = json_integer_value(json_object_get(schema, "schema-id")) + 1;
    json_object_set_new(schema, "schema-id", json_integer(schema_id));
    catalog_table_free(&now);
    world_foreign_update(world, table,
                         json_pack("[{s:s,s:o},{s:s,s:i}]", "action", "add-schema", "schema",
                                   schema, "action", "set-current-schema", "schema-id", -1));
    struct committer committer = {.store = world->plain_store,
                                  .catalog = world->plain_catalog,
                                  .clock = &world->clock,
                                  .random = &world->random};
    int rc = commit_init_table(&committer, "db", mapping, &report, &err);
    if (rc != OK)
        fprintf(stderr, "%s\n", err.text);
    ASSERT(rc == OK);
    commit_report_free(&report);
}
