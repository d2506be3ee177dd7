/* SPDX-License-Identifier: Apache-2.0
 *
 * A table made ready, in steps of which each is harmless to repeat: namespace, table,
 * partition specs and sort order, the first ledger (with an empty snapshot: from then on
 * the ledger never changes without one), and last the contract, which describes what is
 * there. A crash between any two is healed by the next run.
 *
 * Ids are read back from the table: a catalog may have given others, and a table made by
 * somebody else has its own.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/snapshot.h"
#include "lib/base/fault.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"

enum { INIT_ATTEMPTS = 10 };

struct init {
    const struct committer *committer;
    const struct mapping *mapping;
    struct table_name table;
    struct contract_state contract; /* as it was before */
    struct table_schema schema;     /* the mapping's, with the table's ids */
    struct table_state state;
    struct commit_report *report;
};

/* ---- the table ---- */

static json_t *properties_make(const struct table_schema *schema)
{
    json_t *properties = json_pack("{s:s,s:s,s:s,s:s}", "format-version", "2",
                                   "write.metadata.delete-after-commit.enabled", "true",
                                   "write.metadata.previous-versions-max", "100",
                                   "write.parquet.compression-codec", "zstd");
    for (size_t i = 0; i < schema->column_count; i++) {
        if (!schema->columns[i].personal)
            continue;
        char *key = memory_printf("write.metadata.metrics.column.%s", schema->columns[i].name);
        json_object_set_new(properties, key, json_string("counts"));
        free(key);
    }
    return properties;
}

/* Events of agents that know the old table would be parted from those of agents that
 * learn the new one: a person must say that this is meant. */
static int other_table_refuse(struct init *init, const struct catalog_table *loaded,
                              struct error *err)
{
    const char *named = init->contract.found ? init->contract.contract.table_uuid : NULL;
    const char *uuid = loaded->metadata != NULL ? metadata_uuid_borrow(loaded->metadata) : NULL;
    if (named == NULL || init->committer->anew || (uuid != NULL && strcmp(named, uuid) == 0))
        return OK;
    error_set(err, ERROR_DENIED,
              "the warehouse's contract names table %s, the catalog has %s: is it the right "
              "catalog? --anew begins a new table under this name",
              named, uuid != NULL ? uuid : "none");
    report_note(init->report, NOTE_ALARM, init->table.full, "", 0, "%s", err->text);
    return (int)err->code;
}

static int table_create(struct init *init, struct error *err)
{
    const struct table_schema *schema = &init->mapping->schema;
    struct catalog_table made = {0};
    bool found = false;
    int rc = catalog_load_table(init->committer->catalog, init->table.ns, init->table.name, &made,
                                &found, err);
    if (rc == OK)
        rc = other_table_refuse(init, &made, err);
    catalog_table_free(&made);
    if (rc != OK || found)
        return rc;
    json_t *request =
        json_pack("{s:s,s:o,s:o,s:o,s:o}", "name", init->table.name, "schema",
                  table_schema_to_iceberg(schema), "partition-spec",
                  partition_spec_to_iceberg(schema, &schema->specs[0]), "write-order",
                  sort_order_to_iceberg(schema), "properties", properties_make(schema));
    rc = catalog_create_table(init->committer->catalog, init->table.ns, init->table.name, request,
                              &made, err);
    json_decref(request);
    catalog_table_free(&made);
    if (rc == OK)
        report_note(init->report, NOTE_INFO, init->table.full, "", 0, "table made");
    return rc == ERROR_CONFLICT ? OK : rc; /* somebody else's run was faster */
}

/* ---- ids ---- */

static const json_t *field_by_name(const json_t *metadata, const char *name)
{
    size_t i;
    const json_t *field;
    json_array_foreach(json_object_get(metadata_current_schema_borrow(metadata), "fields"), i,
                       field)
    {
        const char *at = json_string_value(json_object_get(field, "name"));
        if (at != NULL && strcmp(at, name) == 0)
            return field;
    }
    return NULL;
}

/* A table's long takes our int, its double a float: readers promote. */
static bool type_fits(enum type ours, const json_t *theirs)
{
    const char *text = json_string_value(theirs);
    if (text == NULL)
        return false;
    return strcmp(text, type_name(ours)) == 0 || (ours == TYPE_INT && strcmp(text, "long") == 0);
}

static int column_bind(struct column *column, const json_t *metadata, struct error *err)
{
    const json_t *field = field_by_name(metadata, column->name);
    if (field == NULL)
        return error_set(err, ERROR_INPUT, "the table has no column %s", column->name);
    const json_t *type = json_object_get(field, "type");
    const json_t *element = json_object_get(type, "element");
    if (column->list ? !type_fits(column->type, element) : !type_fits(column->type, type))
        return error_set(err, ERROR_INPUT, "column %s: the mapping has %s%s%s, the table another",
                         column->name, column->list ? "list<" : "", type_name(column->type),
                         column->list ? ">" : "");
    if (json_is_true(json_object_get(field, "required")) && !column->required)
        return error_set(err, ERROR_INPUT, "column %s is required in the table, not in the mapping",
                         column->name);
    column->field_id = (int32_t)json_integer_value(json_object_get(field, "id"));
    if (column->list)
        column->element_id = (int32_t)json_integer_value(json_object_get(type, "element-id"));
    return OK;
}

static int columns_bind(struct init *init, struct error *err)
{
    const json_t *metadata = init->state.loaded.metadata;
    const json_t *schema = metadata_current_schema_borrow(metadata);
    size_t i;
    const json_t *field;
    table_schema_free(&init->schema);
    table_schema_copy(&init->schema, &init->mapping->schema);
    init->schema.schema_id = (int32_t)json_integer_value(json_object_get(schema, "schema-id"));
    for (i = 0; i < init->schema.column_count; i++) {
        int rc = column_bind(&init->schema.columns[i], metadata, err);
        if (rc != OK)
            return rc;
    }
    json_array_foreach(json_object_get(schema, "fields"), i, field)
    {
        const char *name = json_string_value(json_object_get(field, "name"));
        if (name != NULL && json_is_true(json_object_get(field, "required")) &&
            table_schema_find(&init->schema, name) == SIZE_MAX)
            return error_set(err, ERROR_INPUT,
                             "the table requires column %s, which the mapping doesn't have", name);
    }
    return OK;
}

static bool spec_equal(const json_t *spec, const struct table_schema *schema,
                       const struct partition_spec *ours)
{
    const json_t *fields = json_object_get(spec, "fields");
    if (json_array_size(fields) != ours->field_count)
        return false;
    for (size_t i = 0; i < ours->field_count; i++) {
        const json_t *field = json_array_get(fields, i);
        const char *transform = json_string_value(json_object_get(field, "transform"));
        const char *wanted = ours->fields[i].transform == TRANSFORM_DAY ? "day" : "identity";
        if (transform == NULL || strcmp(transform, wanted) != 0 ||
            json_integer_value(json_object_get(field, "source-id")) !=
                schema->columns[ours->fields[i].column].field_id)
            return false;
    }
    return true;
}

/* Takes id, field ids and names over from the table's equal spec; false: it has none. */
static bool spec_bind(const json_t *metadata, const struct table_schema *schema,
                      struct partition_spec *ours)
{
    size_t i;
    const json_t *spec;
    json_array_foreach(json_object_get(metadata, "partition-specs"), i, spec)
    {
        if (!spec_equal(spec, schema, ours))
            continue;
        ours->spec_id = (int32_t)json_integer_value(json_object_get(spec, "spec-id"));
        for (size_t k = 0; k < ours->field_count; k++) {
            const json_t *field = json_array_get(json_object_get(spec, "fields"), k);
            const char *name = json_string_value(json_object_get(field, "name"));
            ours->fields[k].field_id =
                (int32_t)json_integer_value(json_object_get(field, "field-id"));
            free(ours->fields[k].name);
            ours->fields[k].name = memory_copy_cstr(name != NULL ? name : "");
        }
        return true;
    }
    return false;
}

static bool sort_bind(const json_t *metadata, struct table_schema *schema)
{
    json_t *ours = sort_order_to_iceberg(schema);
    const json_t *wanted = json_object_get(ours, "fields");
    size_t i;
    const json_t *order;
    bool found = json_array_size(wanted) == 0;
    if (found)
        schema->sort.order_id = 0;
    json_array_foreach(json_object_get(metadata, "sort-orders"), i, order)
    {
        if (!found && json_equal(json_object_get(order, "fields"), wanted)) {
            schema->sort.order_id = (int32_t)json_integer_value(json_object_get(order, "order-id"));
            found = true;
        }
    }
    json_decref(ours);
    return found;
}

/* Without ids: with_ids gives them, and the same ones to equal fields. */
static json_t *spec_update(const struct table_schema *schema, const struct partition_spec *spec)
{
    json_t *json = partition_spec_to_iceberg(schema, spec);
    size_t i;
    json_t *field;
    json_array_foreach(json_object_get(json, "fields"), i, field)
        json_object_del(field, "field-id");
    return json_pack("{s:s,s:o}", "action", "add-spec", "spec", json);
}

static json_t *sort_update(const struct table_schema *schema)
{
    return json_pack("{s:s,s:o}", "action", "add-sort-order", "sort-order",
                     sort_order_to_iceberg(schema));
}

static void added_put(json_t *updates, const json_t *before, const json_t *after, const char *list,
                      const char *action, const char *member)
{
    const json_t *all = json_object_get(after, list);
    for (size_t i = json_array_size(json_object_get(before, list)); i < json_array_size(all); i++)
        json_array_append_new(
            updates, json_pack("{s:s,s:O}", "action", action, member, json_array_get(all, i)));
}

/* The same updates with the ids that this table would give: a server may give others, but some
 * (Java's, Nessie) take no spec, field or order without. */
static int with_ids(const json_t *metadata, json_t *updates, struct error *err)
{
    json_t *after = NULL;
    int rc = metadata_apply(&after, metadata, "", updates, metadata_last_updated_ms(metadata), err);
    if (rc != OK)
        return rc;
    json_array_clear(updates);
    added_put(updates, metadata, after, "partition-specs", "add-spec", "spec");
    added_put(updates, metadata, after, "sort-orders", "add-sort-order", "sort-order");
    json_decref(after);
    return OK;
}

/* Binds the ids; what the table lacks is added in one commit, and *again says so. */
static int ids_bind(struct init *init, bool *again, struct error *err)
{
    const json_t *metadata = init->state.loaded.metadata;
    struct table_schema *schema = &init->schema;
    json_t *updates = json_array();
    *again = false;
    int rc = columns_bind(init, err);
    for (size_t i = 0; i < schema->spec_count && rc == OK; i++)
        if (!spec_bind(metadata, schema, &schema->specs[i]))
            json_array_append_new(updates, spec_update(schema, &schema->specs[i]));
    if (rc == OK && !sort_bind(metadata, schema))
        json_array_append_new(updates, sort_update(schema));
    bool lacking = json_array_size(updates) > 0;
    if (rc == OK && lacking)
        rc = with_ids(metadata, updates, err);
    if (rc == OK && lacking) {
        json_t *requirements =
            json_pack("[{s:s,s:s},{s:s,s:O}]", "type", "assert-table-uuid", "uuid",
                      metadata_uuid_borrow(metadata), "type", "assert-last-assigned-partition-id",
                      "last-assigned-partition-id", json_object_get(metadata, "last-partition-id"));
        rc = catalog_commit(init->committer->catalog, init->table.ns, init->table.name,
                            &init->state.loaded, requirements, updates, NULL, err);
        if (rc == ERROR_INPUT)
            rc = snapshot_refusal_judge(init->committer, &init->table, &init->state, err);
        *again = rc == OK;
        json_decref(requirements);
    }
    json_decref(updates);
    return rc;
}

/* ---- ledger and contract ---- */

static int first_ledger(struct init *init, struct error *err)
{
    if (init->state.ledger != NULL)
        return OK;
    const char *uuid = metadata_uuid_borrow(init->state.loaded.metadata);
    struct append append = {.ledger = ledger_make(uuid)};
    init->report->attempts++;
    int rc = snapshot_append(init->committer, &init->table, &init->state, &append, err);
    ledger_free(append.ledger);
    if (rc == ERROR_INPUT)
        rc = snapshot_refusal_judge(init->committer, &init->table, &init->state, err);
    if (rc == OK) {
        init->report->snapshots++;
        init->report->snapshot_id = append.snapshot_id;
    }
    return rc;
}

/* Equal but for the time: nothing to write. */
static bool contract_holds(const struct init *init, const struct contract *wanted)
{
    struct buf old = {0};
    struct buf new = {0};
    const char *uuid = init->contract.found ? init->contract.contract.table_uuid : NULL;
    if (uuid == NULL || strcmp(uuid, wanted->table_uuid) != 0)
        return false;
    table_schema_encode(&init->contract.contract.schema, &old);
    table_schema_encode(&wanted->schema, &new);
    bool same = slice_equal(buf_slice(&old), buf_slice(&new));
    buf_free(&old);
    buf_free(&new);
    return same;
}

static void uuid_change_note(struct init *init, const char *uuid)
{
    const char *before = init->contract.found ? init->contract.contract.table_uuid : NULL;
    if (before != NULL && strcmp(before, uuid) != 0)
        report_note(init->report, NOTE_ALARM, init->table.full, "", 0,
                    "the contract named table %s, the catalog has %s: another table by this name "
                    "is taken over, with an empty ledger of its own",
                    before, uuid);
}

static int contract_put(struct init *init, struct error *err)
{
    struct contract contract = {
        .table = (char *)(uintptr_t)init->table.full, /* borrowed: encode only reads */
        .table_uuid = (char *)(uintptr_t)metadata_uuid_borrow(init->state.loaded.metadata),
        .updated_at_ms = clock_wall_ms(committer_clock(init->committer)),
        .schema = init->schema,
    };
    if (contract_holds(init, &contract))
        return OK;
    struct buf bytes;
    struct buf key = {0};
    buf_init(&bytes, CONTRACT_BYTES_MAX);
    contract_encode(&contract, &bytes);
    key_of_contract(init->table.full, &key);
    int rc = objstore_put_bytes(init->committer->store, buf_cstr(&key), buf_slice(&bytes),
                                PUT_ALWAYS, err);
    if (rc == OK)
        report_note(init->report, NOTE_INFO, init->table.full, "", 0, "contract written");
    buf_free(&bytes);
    buf_free(&key);
    return rc;
}

/* ---- all of it ---- */

static int load_and_bind(struct init *init, bool *again, struct error *err)
{
    table_state_free(&init->state);
    int rc = table_state_load(init->committer, &init->table, &init->contract, true, &init->state,
                              init->report, err);
    return rc == OK ? ids_bind(init, again, err) : rc;
}

static int step(struct init *init, struct error *err)
{
    bool again = false;
    int rc = contract_state_read(init->committer, init->table.full, &init->contract, err);
    if (rc == OK)
        rc = table_create(init, err);
    if (rc == OK)
        rc = fault_point("init.table_made", err);
    if (rc == OK)
        rc = load_and_bind(init, &again, err);
    if (rc == OK && again)
        rc = load_and_bind(init, &again, err);
    /* A load that is behind, or a server that gives back another one: not for ever. */
    if (rc == OK && again)
        rc = error_set(err, ERROR_RETRY,
                       "the table doesn't show the partition spec or sort order that was added");
    if (rc == OK)
        rc = fault_point("init.ids_bound", err);
    if (rc == OK)
        rc = first_ledger(init, err);
    if (rc == OK)
        rc = fault_point("init.ledger_made", err);
    if (rc != OK)
        return rc;
    uuid_change_note(init, metadata_uuid_borrow(init->state.loaded.metadata));
    return contract_put(init, err);
}

static void init_release(struct init *init)
{
    table_schema_free(&init->schema);
    table_state_free(&init->state);
    contract_state_free(&init->contract);
}

int commit_init_table(const struct committer *committer, const char *ns,
                      const struct mapping *mapping, struct commit_report *report,
                      struct error *err)
{
    char *full = memory_printf("%s.%s", ns, mapping->schema.table);
    struct init init = {.committer = committer, .mapping = mapping, .report = report};
    int rc = table_name_parse(&init.table, full, err);
    if (rc == OK)
        rc = catalog_create_namespace(committer->catalog, ns, err);
    for (unsigned i = 1; rc == OK; i++) {
        rc = step(&init, err);
        init_release(&init);
        init.schema = (struct table_schema){0};
        if (rc == OK || (rc != ERROR_CONFLICT && rc != ERROR_RETRY) || i == INIT_ATTEMPTS)
            break;
        committer_back_off(committer, i);
        rc = committer_go_on(committer, report, err);
    }
    if (rc != OK)
        rc = error_wrap(err, "init %s", full);
    free(full);
    return rc;
}
