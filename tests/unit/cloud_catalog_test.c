/* SPDX-License-Identifier: Apache-2.0
 *
 * The embedded catalog on real files.
 */
#include <dirent.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/unit/cloud_fixture.h"

#include "lib/base/fault.h"
#include "lib/base/file.h"

struct place {
    char directory[64];
    char *path; /* of the catalog */
    struct objstore *store;
    struct catalog *catalog;
    struct mapping mapping;
};

static void place_open_catalog(struct place *p, int64_t busy_ms)
{
    struct catalog_options options = {.store = p->store, .busy_timeout_ms = busy_ms};
    char *spec = memory_printf("sqlite:%s", p->path);
    struct error err;
    int rc = catalog_open(&p->catalog, spec, &options, &err);
    if (rc != OK)
        fail_msg("%s", err.text);
    free(spec);
}

static int place_setup(void **state)
{
    struct place *p = memory_alloc(1, sizeof *p);
    struct objstore_options options = {0};
    struct error err;
    snprintf(p->directory, sizeof p->directory, "/tmp/bidlake_catalog_XXXXXX");
    assert_non_null(mkdtemp(p->directory));
    p->path = memory_printf("%s/new/catalog.db", p->directory);
    char *url = memory_printf("file://%s/wh", p->directory);
    assert_int_equal(objstore_open(&p->store, url, &options, &err), OK);
    free(url);
    place_open_catalog(p, 0);
    fixture_mapping(&p->mapping);
    *state = p;
    return 0;
}

static int place_teardown(void **state)
{
    struct place *p = *state;
    struct error err;
    fault_install(NULL, NULL);
    catalog_close(p->catalog);
    objstore_close(p->store);
    table_schema_free(&p->mapping.schema);
    assert_int_equal(file_remove_tree(p->directory, &err), OK);
    free(p->path);
    free(p);
    return 0;
}

static int init(struct place *p, struct error *err)
{
    struct committer committer = {.store = p->store, .catalog = p->catalog};
    struct commit_report report = {0};
    int rc = commit_init_table(&committer, "db", &p->mapping, &report, err);
    commit_report_free(&report);
    return rc;
}

static void init_well(struct place *p)
{
    struct error err;
    if (init(p, &err) != OK)
        fail_msg("%s", err.text);
}

static void table_load(struct place *p, struct catalog_table *out)
{
    struct error err;
    bool found = false;
    assert_int_equal(catalog_load_table(p->catalog, "db", "t", out, &found, &err), OK);
    assert_true(found);
}

static int property_set(struct place *p, const struct catalog_table *base, const char *value,
                        struct error *err)
{
    json_t *requirements = json_array();
    json_t *updates =
        json_pack("[{s:s,s:{s:s}}]", "action", "set-properties", "updates", "a", value);
    int rc = catalog_commit(p->catalog, "db", "t", base, requirements, updates, NULL, err);
    json_decref(requirements);
    json_decref(updates);
    return rc;
}

static char *text_of(struct place *p, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    const char *text = (const char *)sqlite3_column_text(statement, 0);
    char *copy = memory_copy_cstr(text != NULL ? text : "(null)");
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return copy;
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static size_t metadata_count(struct place *p)
{
    struct objstore_list list = {0};
    struct error err;
    size_t count = 0;
    assert_int_equal(objstore_list(p->store, "db/t/metadata/", NULL, 1000, &list, &err), OK);
    for (size_t i = 0; i < list.count; i++)
        count += strstr(list.entries[i].key, ".metadata.json") != NULL;
    objstore_list_free(&list);
    return count;
}

/* PyIceberg and Java look the row up by these columns and values, to the letter. */
static void row_is_what_other_clients_read(void **state)
{
    struct place *p = *state;
    struct catalog_table table = {0};
    init_well(p);
    table_load(p, &table);
    char *row = text_of(p, "SELECT catalog_name||'|'||table_namespace||'|'||table_name||'|'||"
                           "iceberg_type||'|'||metadata_location FROM iceberg_tables");
    char *wanted = memory_printf("bidlake|db|t|TABLE|%s", table.metadata_location);
    assert_string_equal(row, wanted);
    assert_int_equal(strncmp(table.metadata_location, "file:///", 8), 0);
    free(row);
    free(wanted);
    row = text_of(p, "SELECT namespace||'|'||property_key||'|'||property_value FROM "
                     "iceberg_namespace_properties");
    assert_string_equal(row, "db|exists|true");
    free(row);
    catalog_table_free(&table);
}

/* A second writer must find out that it lost, and its work must change nothing. */
static void stale_base_is_a_conflict(void **state)
{
    struct place *p = *state;
    struct catalog_table base = {0};
    struct catalog_table after = {0};
    struct error err;
    init_well(p);
    table_load(p, &base);
    assert_int_equal(property_set(p, &base, "first", &err), OK);
    assert_int_equal(property_set(p, &base, "second", &err), ERROR_CONFLICT);
    table_load(p, &after);
    assert_string_equal(metadata_property_borrow(after.metadata, "a"), "first");
    char *previous = text_of(p, "SELECT previous_metadata_location FROM iceberg_tables");
    assert_string_equal(previous, base.metadata_location);
    free(previous);
    catalog_table_free(&base);
    catalog_table_free(&after);
}

/* Locked for longer than the deadline: an error that says so, and nothing half done. */
static void locked_file_waits_then_says_so(void **state)
{
    struct place *p = *state;
    struct catalog_table base = {0};
    struct error err;
    sqlite3 *other = NULL;
    init_well(p);
    catalog_close(p->catalog);
    place_open_catalog(p, 50);
    table_load(p, &base);
    assert_int_equal(sqlite3_open(p->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(property_set(p, &base, "x", &err), ERROR_RETRY);
    assert_non_null(strstr(err.text, "locked"));
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(property_set(p, &base, "x", &err), OK);
    catalog_table_free(&base);
}

/* To look is allowed while somebody writes: a reader that takes the write lock stands in the
 * way of commits, and waits for them. */
static void reader_waits_for_no_lock(void **state)
{
    struct place *p = *state;
    struct catalog_options options = {
        .store = p->store, .busy_timeout_ms = 50, .must_exist = true, .only_read = true};
    struct catalog *reader = NULL;
    struct catalog_names names;
    struct error err;
    sqlite3 *other = NULL;
    init_well(p);
    assert_int_equal(sqlite3_open(p->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    char *spec = memory_printf("sqlite:%s", p->path);
    assert_int_equal(catalog_open(&reader, spec, &options, &err), OK);
    assert_int_equal(catalog_list_tables(reader, "db", &names, &err), OK);
    assert_int_equal(names.count, 1);
    catalog_names_free(&names);
    catalog_close(reader);
    free(spec);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
}

static void replace_file(struct place *p)
{
    char *moved = memory_printf("%s.moved", p->path);
    assert_int_equal(rename(p->path, moved), 0);
    run_sql(p->path, "CREATE TABLE other (a)");
    free(moved);
}

/* A commit into a file that somebody moved away would be lost after it was acknowledged. */
static void replaced_file_is_an_error(void **state)
{
    struct place *p = *state;
    struct catalog_table base = {0};
    struct catalog_names names = {0};
    struct error err;
    init_well(p);
    table_load(p, &base);
    replace_file(p);
    assert_int_equal(property_set(p, &base, "x", &err), ERROR_IO);
    assert_non_null(strstr(err.text, "moved or replaced"));
    assert_int_equal(catalog_list_tables(p->catalog, "db", &names, &err), ERROR_IO);
    catalog_table_free(&base);
}

static int move_before_swap(void *context, const char *name, struct error *err)
{
    (void)err;
    if (strcmp(name, "catalog.sqlite.before_swap") == 0)
        replace_file(context);
    return OK;
}

static void file_replaced_during_a_commit(void **state)
{
    struct place *p = *state;
    struct catalog_table base = {0};
    struct error err;
    init_well(p);
    table_load(p, &base);
    fault_install(move_before_swap, p);
    assert_int_equal(property_set(p, &base, "x", &err), ERROR_IO);
    fault_install(NULL, NULL);
    catalog_table_free(&base);
}

/* Files of older PyIceberg have no column iceberg_type; rows of newer ones may be views. */
static void old_form_is_used_as_it_is(void **state)
{
    struct place *p = *state;
    struct catalog_table base = {0};
    struct error err;
    catalog_close(p->catalog);
    run_sql(p->path, "DROP TABLE iceberg_tables; CREATE TABLE iceberg_tables (catalog_name "
                     "VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name "
                     "VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), "
                     "previous_metadata_location VARCHAR(1000), PRIMARY KEY (catalog_name, "
                     "table_namespace, table_name))");
    place_open_catalog(p, 0);
    init_well(p);
    table_load(p, &base);
    assert_int_equal(property_set(p, &base, "x", &err), OK);
    catalog_table_free(&base);
}

static void view_is_no_table(void **state)
{
    struct place *p = *state;
    struct catalog_table table = {0};
    struct error err;
    bool found = true;
    init_well(p);
    run_sql(p->path, "UPDATE iceberg_tables SET iceberg_type = 'VIEW'");
    assert_int_equal(catalog_load_table(p->catalog, "db", "t", &table, &found, &err), OK);
    assert_false(found);
}

/* An idle service must not parse a megabyte for each table at each look; and must see what
 * others have done meanwhile. */
static void known_metadata_is_not_read_again(void **state)
{
    struct place *p = *state;
    struct catalog *ours = p->catalog;
    struct catalog_table first = {0};
    struct catalog_table second = {0};
    struct catalog_table third = {0};
    struct error err;
    init_well(p);
    table_load(p, &first);
    table_load(p, &second);
    assert_ptr_equal(first.metadata, second.metadata);
    place_open_catalog(p, 0);
    assert_int_equal(property_set(p, &first, "theirs", &err), OK);
    catalog_close(p->catalog);
    p->catalog = ours;
    table_load(p, &third);
    assert_string_equal(metadata_property_borrow(third.metadata, "a"), "theirs");
    assert_null(metadata_property_borrow(second.metadata, "a"));
    assert_int_equal(property_set(p, &third, "ours", &err), OK);
    char key[OBJSTORE_KEY_MAX + 1];
    catalog_table_free(&second);
    table_load(p, &second); /* kept from the commit: nothing is read */
    assert_string_equal(metadata_property_borrow(second.metadata, "a"), "ours");
    assert_true(objstore_key_of(p->store, second.metadata_location, key));
    assert_int_equal(objstore_remove(p->store, key, &err), OK);
    catalog_table_free(&first);
    table_load(p, &first);
    assert_ptr_equal(first.metadata, second.metadata);
    catalog_table_free(&first);
    catalog_table_free(&second);
    catalog_table_free(&third);
}

/* Every minute a metadata file: they must not pile up where the table says otherwise. */
static void old_metadata_files_go(void **state)
{
    struct place *p = *state;
    struct error err;
    init_well(p);
    for (int i = 0; i < 110; i++) {
        struct catalog_table base = {0};
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        table_load(p, &base);
        assert_int_equal(property_set(p, &base, text, &err), OK);
        catalog_table_free(&base);
    }
    assert_int_equal(metadata_count(p), 101); /* the current one and 100 in its log */
}

static int fail_at(void *context, const char *name, struct error *err)
{
    const char *wanted = context;
    return strcmp(name, wanted) == 0 ? error_set(err, ERROR_IO, "stopped") : OK;
}

/* Whatever step init dies at, the contract is not there yet, and the next run ends with the
 * same table and one ledger. */
static void init_heals_what_is_half_done(void **state)
{
    static char *const points[] = {
        "catalog.sqlite.before_create", "init.table_made", "init.ids_bound",
        "commit.ledger_written",        "commit.swapped",  "init.ledger_made"};
    struct place *p = *state;
    struct catalog_table table = {0};
    struct objstore_info info;
    struct error err;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        fault_install(fail_at, points[i]);
        assert_int_equal(init(p, &err), ERROR_IO);
        fault_install(NULL, NULL);
        assert_int_equal(objstore_head(p->store, "_bidlake/tables/db.t.json", &info, &err), OK);
        assert_false(info.found);
    }
    init_well(p);
    table_load(p, &table);
    assert_int_equal(json_array_size(json_object_get(table.metadata, "snapshots")), 1);
    assert_int_equal(json_array_size(json_object_get(table.metadata, "partition-specs")), 2);
    char *before = memory_copy_cstr(table.metadata_location);
    catalog_table_free(&table);
    init_well(p);
    table_load(p, &table);
    assert_string_equal(table.metadata_location, before);
    free(before);
    catalog_table_free(&table);
}

/* A table that lacks a column of the mapping would refuse every announcement. */
static void init_refuses_a_table_that_does_not_fit(void **state)
{
    struct place *p = *state;
    struct catalog_table table = {0};
    struct error err;
    json_t *request = json_pack("{s:s,s:{s:s,s:i,s:[{s:i,s:s,s:b,s:s}]}}", "name", "t", "schema",
                                "type", "struct", "schema-id", 0, "fields", "id", 1, "name", "id",
                                "required", 1, "type", "string");
    assert_int_equal(catalog_create_namespace(p->catalog, "db", &err), OK);
    assert_int_equal(catalog_create_table(p->catalog, "db", "t", request, &table, &err), OK);
    json_decref(request);
    catalog_table_free(&table);
    assert_int_equal(init(p, &err), ERROR_INPUT);
    assert_non_null(strstr(err.text, "country"));
}

/* A table of somebody else's making, with other ids and another spec, is adopted as it is. */
static void init_adopts_a_table_of_others(void **state)
{
    struct place *p = *state;
    struct catalog_table table = {0};
    struct contract contract;
    struct buf bytes = {0};
    struct objstore_info info;
    struct error err;
    json_t *request =
        json_pack("{s:s,s:{s:s,s:i,s:[{s:i,s:s,s:b,s:s},{s:i,s:s,s:b,s:s},{s:i,s:s,s:b,s:s},"
                  "{s:i,s:s,s:b,s:s}]}}",
                  "name", "t", "schema", "type", "struct", "schema-id", 0, "fields", "id", 11,
                  "name", "more", "required", 0, "type", "long", "id", 12, "name", "at", "required",
                  0, "type", "timestamptz", "id", 13, "name", "country", "required", 0, "type",
                  "string", "id", 14, "name", "id", "required", 1, "type", "string");
    assert_int_equal(catalog_create_namespace(p->catalog, "db", &err), OK);
    assert_int_equal(catalog_create_table(p->catalog, "db", "t", request, &table, &err), OK);
    json_decref(request);
    catalog_table_free(&table);
    init_well(p);
    assert_int_equal(objstore_get(p->store, "_bidlake/tables/db.t.json", CONTRACT_BYTES_MAX, &bytes,
                                  &info, &err),
                     OK);
    assert_int_equal(contract_decode(&contract, buf_slice(&bytes), &err), OK);
    size_t at = table_schema_find(&contract.schema, "at");
    size_t country = table_schema_find(&contract.schema, "country");
    assert_int_equal(contract.schema.columns[at].field_id, 12);
    assert_int_equal(contract.schema.columns[country].field_id, 13);
    assert_int_equal(contract.schema.specs[0].spec_id, 1); /* 0 is the unpartitioned default */
    assert_int_equal(contract.schema.specs[1].spec_id, 2);
    table_load(p, &table);
    assert_int_equal(json_integer_value(json_object_get(table.metadata, "default-spec-id")), 0);
    catalog_table_free(&table);
    contract_free(&contract);
    buf_free(&bytes);
}

#define T(test) cmocka_unit_test_setup_teardown(test, place_setup, place_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(row_is_what_other_clients_read),   T(stale_base_is_a_conflict),
        T(locked_file_waits_then_says_so),   T(reader_waits_for_no_lock),
        T(replaced_file_is_an_error),        T(file_replaced_during_a_commit),
        T(old_form_is_used_as_it_is),        T(view_is_no_table),
        T(known_metadata_is_not_read_again), T(old_metadata_files_go),
        T(init_heals_what_is_half_done),     T(init_refuses_a_table_that_does_not_fit),
        T(init_adopts_a_table_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
