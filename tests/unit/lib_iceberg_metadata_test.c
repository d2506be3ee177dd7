/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/iceberg/iceberg.h"
#include "lib/json/json.h"

static struct error err;

static json_t *parse(const char *text)
{
    json_t *value;
    assert_int_equal(json_decode(&value, slice_cstr(text), &err), OK);
    return value;
}

#define FIELDS                                                                                     \
    "{\"id\":1,\"name\":\"id\",\"required\":true,\"type\":\"long\"},"                              \
    "{\"id\":2,\"name\":\"ts\",\"required\":false,\"type\":\"timestamptz\"},"                      \
    "{\"id\":3,\"name\":\"cat\",\"required\":false,\"type\":{\"type\":\"list\",\"element-id\":4,"  \
    "\"element\":\"string\",\"element-required\":false}}"

static json_t *test_table(void)
{
    json_t *request =
        parse("{\"schema\":{\"type\":\"struct\",\"fields\":[" FIELDS "]},"
              "\"partition-spec\":{\"fields\":[{\"source-id\":2,\"name\":\"ts_day\","
              "\"transform\":\"day\"}]},\"properties\":{\"format-version\":\"2\",\"a\":\"b\"}}");
    json_t *metadata;
    assert_int_equal(metadata_create(&metadata, request, "u-1", "s3://b/t//", 1000000, &err), OK);
    json_decref(request);
    return metadata;
}

/* Applies, and replaces *metadata when it went well. */
static int apply(json_t **metadata, const char *updates, int64_t now_ms)
{
    json_t *list = parse(updates);
    json_t *next;
    int rc = metadata_apply(&next, *metadata, "s3://b/t/metadata/x.json", list, now_ms, &err);
    json_decref(list);
    if (rc != OK)
        return rc;
    json_decref(*metadata);
    *metadata = next;
    return OK;
}

static int append(json_t **metadata, int64_t id, int64_t seq, int64_t at_ms)
{
    char *text = NULL;
    json_t *updates =
        json_pack("[{s:s,s:{s:I,s:I,s:I,s:s,s:{s:s}}},o]", "action", "add-snapshot", "snapshot",
                  "snapshot-id", (json_int_t)id, "sequence-number", (json_int_t)seq, "timestamp-ms",
                  (json_int_t)at_ms, "manifest-list", "s3://b/l", "summary", "operation", "append",
                  metadata_main_update(*metadata, id));
    text = json_dumps(updates, 0);
    int rc = apply(metadata, text, at_ms);
    free(text);
    json_decref(updates);
    return rc;
}

static int64_t log_id(const json_t *metadata, size_t i)
{
    const json_t *entry = json_array_get(json_object_get(metadata, "snapshot-log"), i);
    return json_integer_value(json_object_get(entry, "snapshot-id"));
}

static size_t length(const json_t *metadata, const char *key)
{
    return json_array_size(json_object_get(metadata, key));
}

/* What create leaves out makes other engines refuse the table. */
static void new_table_is_complete(void **state)
{
    (void)state;
    json_t *metadata = test_table();
    struct buf bytes = {0};
    json_t *again;
    assert_string_equal(metadata_location_borrow(metadata), "s3://b/t");
    assert_int_equal(metadata_current_snapshot_id(metadata), -1);
    assert_int_equal(json_integer_value(json_object_get(metadata, "last-column-id")), 4);
    assert_int_equal(json_integer_value(json_object_get(metadata, "last-partition-id")), 1000);
    assert_null(metadata_property_borrow(metadata, "format-version"));
    assert_string_equal(metadata_property_borrow(metadata, "a"), "b");
    assert_int_equal(length(metadata, "sort-orders"), 1);
    assert_int_equal(iceberg_check_writable(metadata, &err), OK);
    metadata_encode(metadata, &bytes);
    assert_int_equal(metadata_decode(&again, buf_slice(&bytes), &err), OK);
    assert_true(json_equal(metadata, again));
    json_decref(again);
    json_decref(metadata);
    buf_free(&bytes);
}

/* Logs and counters that are off make Java refuse to load the table. */
static void appends_keep_the_logs(void **state)
{
    (void)state;
    json_t *metadata = test_table();
    json_object_set_new(metadata, "x-unknown", json_string("kept"));
    assert_int_equal(append(&metadata, 4611686018427387905, 1, 2000000), OK);
    assert_int_equal(append(&metadata, 12, 2, 1990000), OK); /* the clock went back */
    assert_int_equal(metadata_current_snapshot_id(metadata), 12);
    assert_int_equal(metadata_last_sequence_number(metadata), 2);
    assert_int_equal(metadata_last_updated_ms(metadata), 2000000);
    assert_int_equal(length(metadata, "snapshot-log"), 2);
    assert_true(log_id(metadata, 0) == 4611686018427387905);
    assert_int_equal(log_id(metadata, 1), 12);
    assert_int_equal(length(metadata, "metadata-log"), 2);
    assert_string_equal(json_string_value(json_object_get(metadata, "x-unknown")), "kept");
    assert_int_equal(append(&metadata, 13, 3, 1929999), ERROR_INPUT); /* over a minute back */
    assert_int_equal(append(&metadata, 12, 3, 2000000), ERROR_CONFLICT);
    assert_int_equal(append(&metadata, 13, 2, 2000000), ERROR_CONFLICT);
    json_decref(metadata);
}

/* A snapshot that nobody could see as current must not be found by time travel. */
static void snapshots_current_only_within_a_call_are_not_logged(void **state)
{
    (void)state;
    json_t *metadata = test_table();
    const char *updates =
        "[{\"action\":\"add-snapshot\",\"snapshot\":{\"snapshot-id\":1,\"sequence-number\":1,"
        "\"timestamp-ms\":2000000,\"manifest-list\":\"l\",\"summary\":{\"operation\":\"append\"}}},"
        "{\"action\":\"set-snapshot-ref\",\"ref-name\":\"main\",\"type\":\"branch\",\"snapshot-"
        "id\":1},"
        "{\"action\":\"add-snapshot\",\"snapshot\":{\"snapshot-id\":2,\"sequence-number\":2,"
        "\"timestamp-ms\":2000001,\"manifest-list\":\"l\",\"summary\":{\"operation\":\"append\"}}},"
        "{\"action\":\"set-snapshot-ref\",\"ref-name\":\"main\",\"type\":\"branch\",\"snapshot-"
        "id\":2}]";
    assert_int_equal(apply(&metadata, updates, 2000000), OK);
    assert_int_equal(length(metadata, "snapshots"), 2);
    assert_int_equal(length(metadata, "snapshot-log"), 1);
    assert_int_equal(log_id(metadata, 0), 2);
    assert_int_equal(metadata_last_updated_ms(metadata), 2000001);
    json_decref(metadata);
}

/* What a later version keeps in a ref must not vanish with our next commit; a limit that the
 * update leaves out must. */
static void unknown_keys_of_a_ref_survive(void **state)
{
    (void)state;
    json_t *metadata = test_table();
    assert_int_equal(append(&metadata, 1, 1, 2000001), OK);
    json_t *main_ref = json_object_get(json_object_get(metadata, "refs"), "main");
    json_object_set_new(main_ref, "later", json_integer(7));
    json_object_set_new(main_ref, "max-ref-age-ms", json_integer(9));
    assert_int_equal(append(&metadata, 2, 2, 2000002), OK);
    main_ref = json_object_get(json_object_get(metadata, "refs"), "main");
    assert_int_equal(json_integer_value(json_object_get(main_ref, "later")), 7);
    assert_int_equal(json_integer_value(json_object_get(main_ref, "snapshot-id")), 2);
    assert_int_equal(json_integer_value(json_object_get(main_ref, "max-ref-age-ms")), 9);
    assert_int_equal(apply(&metadata,
                           "[{\"action\":\"set-snapshot-ref\",\"ref-name\":\"main\",\"type\":"
                           "\"branch\",\"snapshot-id\":2}]",
                           2000003),
                     OK);
    main_ref = json_object_get(json_object_get(metadata, "refs"), "main");
    assert_int_equal(json_integer_value(json_object_get(main_ref, "later")), 7);
    assert_null(json_object_get(main_ref, "max-ref-age-ms"));
    json_decref(metadata);
}

/* Expiry that leaves a gap in the log, or a ref to nothing, breaks time travel and loads. */
static void removed_snapshots_take_what_names_them(void **state)
{
    (void)state;
    json_t *metadata = test_table();
    for (int64_t i = 1; i <= 4; i++)
        assert_int_equal(append(&metadata, i, i, 2000000 + i), OK);
    json_object_set_new(metadata, "statistics", parse("[{\"snapshot-id\":2},{\"snapshot-id\":3}]"));
    assert_int_equal(apply(&metadata,
                           "[{\"action\":\"set-snapshot-ref\",\"ref-name\":\"t\",\"type\":\"tag\","
                           "\"snapshot-id\":2,\"max-ref-age-ms\":5}]",
                           2000009),
                     OK);
    assert_int_equal(
        apply(&metadata, "[{\"action\":\"remove-snapshots\",\"snapshot-ids\":[4]}]", 2000010),
        ERROR_INPUT);
    assert_int_equal(
        apply(&metadata, "[{\"action\":\"remove-snapshots\",\"snapshot-ids\":[2]}]", 2000010), OK);
    assert_int_equal(length(metadata, "snapshots"), 3);
    assert_int_equal(length(metadata, "snapshot-log"), 2);
    assert_int_equal(log_id(metadata, 0), 3);
    assert_int_equal(length(metadata, "statistics"), 1);
    assert_null(json_object_get(json_object_get(metadata, "refs"), "t"));
    json_decref(metadata);
}

/* A log without end makes every commit slower than the one before. */
static void metadata_log_obeys_its_property(void **state)
{
    (void)state;
    json_t *metadata = test_table();
    assert_int_equal(apply(&metadata,
                           "[{\"action\":\"set-properties\",\"updates\":"
                           "{\"write.metadata.previous-versions-max\":\"3\"}}]",
                           2000000),
                     OK);
    for (int i = 0; i < 10; i++)
        assert_int_equal(apply(&metadata, "[]", 2000000 + i), OK);
    assert_int_equal(length(metadata, "metadata-log"), 3);
    const json_t *last = json_array_get(json_object_get(metadata, "metadata-log"), 2);
    assert_int_equal(json_integer_value(json_object_get(last, "timestamp-ms")), 2000008);
    json_decref(metadata);
}

/* A second spec or schema for what there is already would confuse every reader's plans. */
static void equal_schemas_and_specs_are_reused(void **state)
{
    (void)state;
    json_t *metadata = test_table();
    const char *day = "{\"source-id\":2,\"name\":\"ts_day\",\"transform\":\"day\"}";
    char text[1024];
    snprintf(text, sizeof text,
             "[{\"action\":\"add-spec\",\"spec\":{\"spec-id\":9,\"fields\":[%s,{\"source-id\":1,"
             "\"name\":\"id_bucket\",\"transform\":\"bucket[4]\"}]}},"
             "{\"action\":\"set-default-spec\",\"spec-id\":-1},"
             "{\"action\":\"add-spec\",\"spec\":{\"fields\":[%s]}},"
             "{\"action\":\"add-schema\",\"schema\":{\"type\":\"struct\",\"schema-id\":5,"
             "\"fields\":[" FIELDS "]}},{\"action\":\"set-current-schema\",\"schema-id\":-1}]",
             day, day);
    assert_int_equal(apply(&metadata, text, 2000000), OK);
    assert_int_equal(length(metadata, "partition-specs"), 2);
    assert_int_equal(json_integer_value(json_object_get(metadata, "default-spec-id")), 1);
    assert_int_equal(json_integer_value(json_object_get(metadata, "last-partition-id")), 1001);
    const json_t *fields = json_object_get(metadata_spec_borrow(metadata, 1), "fields");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(fields, 0), "field-id")),
                     1000);
    assert_int_equal(length(metadata, "schemas"), 1);
    json_decref(metadata);
}

/* v3: row ids given twice would make two rows one. */
static void row_ids_go_on(void **state)
{
    (void)state;
    json_t *metadata = test_table();
    const char *snapshot =
        "[{\"action\":\"add-snapshot\",\"snapshot\":{\"snapshot-id\":%d,\"sequence-number\":%d,"
        "\"timestamp-ms\":2000000,\"manifest-list\":\"l\",\"summary\":{\"operation\":\"append\"},"
        "\"first-row-id\":%d,\"added-rows\":10}}]";
    char text[512];
    assert_int_equal(
        apply(&metadata, "[{\"action\":\"upgrade-format-version\",\"format-version\":3}]", 1), OK);
    assert_true(json_is_null(json_object_get(metadata, "current-snapshot-id")));
    assert_int_equal(append(&metadata, 1, 1, 2000000), ERROR_INPUT); /* no first-row-id */
    snprintf(text, sizeof text, snapshot, 1, 1, 0);
    assert_int_equal(apply(&metadata, text, 2000000), OK);
    assert_int_equal(json_integer_value(json_object_get(metadata, "next-row-id")), 10);
    snprintf(text, sizeof text, snapshot, 2, 2, 9);
    assert_int_equal(apply(&metadata, text, 2000000), ERROR_CONFLICT);
    json_decref(metadata);
}

/* An update that we don't know, skipped, would be a commit that was only half done. */
static void unknown_updates_and_requirements_are_refused(void **state)
{
    (void)state;
    json_t *metadata = test_table();
    const struct {
        const char *requirement;
        int rc;
    } cases[] = {
        {"[{\"type\":\"assert-table-uuid\",\"uuid\":\"U-1\"}]", OK},
        {"[{\"type\":\"assert-table-uuid\",\"uuid\":\"u-2\"}]", ERROR_CONFLICT},
        {"[{\"type\":\"assert-create\"}]", ERROR_CONFLICT},
        {"[{\"type\":\"assert-ref-snapshot-id\",\"ref\":\"main\",\"snapshot-id\":null}]", OK},
        {"[{\"type\":\"assert-ref-snapshot-id\",\"ref\":\"main\",\"snapshot-id\":5}]",
         ERROR_CONFLICT},
        {"[{\"type\":\"assert-ref-snapshot-id\",\"ref\":\"main\"}]", ERROR_INPUT},
        {"[{\"type\":\"assert-last-assigned-field-id\",\"last-assigned-field-id\":4}]", OK},
        {"[{\"type\":\"assert-current-schema-id\",\"current-schema-id\":1}]", ERROR_CONFLICT},
        {"[{\"type\":\"assert-something\"}]", ERROR_INPUT},
        {"{}", ERROR_INPUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *list = parse(cases[i].requirement);
        assert_int_equal(metadata_check_requirements(metadata, list, &err), cases[i].rc);
        json_decref(list);
    }
    assert_int_equal(apply(&metadata, "[{\"action\":\"add-view-version\"}]", 1), ERROR_INPUT);
    assert_int_equal(apply(&metadata, "[{\"action\":\"assign-uuid\",\"uuid\":\"other\"}]", 1),
                     ERROR_INPUT);
    assert_int_equal(
        apply(&metadata, "[{\"action\":\"set-properties\",\"updates\":{\"uuid\":\"x\"}}]", 1),
        ERROR_INPUT);
    json_decref(metadata);
}

/* A table that we don't fully know must be refused before anything is written to it. */
static void tables_that_we_do_not_know_are_not_written(void **state)
{
    (void)state;
    const struct {
        const char *key;
        const char *value;
    } cases[] = {
        {"format-version", "1"},
        {"format-version", "4"},
        {"encryption-keys", "[{\"key-id\":\"k\"}]"},
        {"partition-specs", "[{\"spec-id\":0,\"fields\":[{\"source-id\":2,\"field-id\":1000,"
                            "\"name\":\"z\",\"transform\":\"zorder\"}]}]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *metadata = test_table();
        json_error_t at;
        json_object_set_new(metadata, cases[i].key,
                            json_loads(cases[i].value, JSON_DECODE_ANY, &at));
        assert_int_equal(iceberg_check_writable(metadata, &err), ERROR_INPUT);
        json_decref(metadata);
    }
}

/* Files whose columns mean something else must not get into the table. */
static void announced_schemas_are_compared(void **state)
{
    (void)state;
    json_t *table = parse("{\"fields\":[" FIELDS
                          ",{\"id\":9,\"name\":\"new\",\"required\":false,\"type\":\"int\"}]}");
    const struct {
        const char *schema;
        enum schema_relation relation;
    } cases[] = {
        {"{\"fields\":[" FIELDS "]}", SCHEMA_SAME},
        {"{\"fields\":[{\"id\":1,\"name\":\"id\",\"required\":true,\"type\":\"int\"}]}",
         SCHEMA_SAME},
        {"{\"fields\":[{\"id\":1,\"name\":\"id\",\"required\":true,\"type\":\"string\"}]}",
         SCHEMA_REFUSED},
        {"{\"fields\":[{\"id\":1,\"name\":\"id\",\"required\":false,\"type\":\"long\"}]}",
         SCHEMA_REFUSED},
        {"{\"fields\":[{\"id\":1,\"name\":\"key\",\"required\":true,\"type\":\"long\"}]}",
         SCHEMA_REFUSED},
        {"{\"fields\":[{\"id\":2,\"name\":\"ts\",\"required\":false,\"type\":\"timestamptz\"}]}",
         SCHEMA_REFUSED},
        {"{\"fields\":[{\"id\":1,\"name\":\"id\",\"required\":true,\"type\":\"long\"},"
         "{\"id\":7,\"name\":\"x\",\"required\":false,\"type\":\"long\"}]}",
         SCHEMA_REFUSED},
        {"{\"fields\":[{\"id\":1,\"name\":\"id\",\"required\":true,\"type\":\"long\"},"
         "{\"id\":3,\"name\":\"cat\",\"required\":false,\"type\":{\"type\":\"list\","
         "\"element-id\":5,\"element\":\"string\",\"element-required\":false}}]}",
         SCHEMA_REFUSED},
        {"{}", SCHEMA_REFUSED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[200] = "";
        json_t *schema = parse(cases[i].schema);
        assert_int_equal(schema_compare(schema, table, why, sizeof why), cases[i].relation);
        assert_int_equal(*why == 0, cases[i].relation == SCHEMA_SAME);
        json_decref(schema);
    }
    json_decref(table);
}

/* A name used twice overwrites metadata that a snapshot may still need. */
static void metadata_files_are_numbered_on(void **state)
{
    (void)state;
    const struct {
        const char *location;
        const char *name;
    } cases[] = {
        {NULL, "00000-u.metadata.json"},
        {"s3://b/t/metadata/00007-x.metadata.json", "00008-u.metadata.json"},
        {"s3://b/1-2/metadata/v3.metadata.json", "00000-u.metadata.json"},
        {"99999-x.metadata.json", "100000-u.metadata.json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};
        metadata_file_name(cases[i].location, "u", &out);
        assert_string_equal(buf_cstr(&out), cases[i].name);
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_table_is_complete),
        cmocka_unit_test(appends_keep_the_logs),
        cmocka_unit_test(snapshots_current_only_within_a_call_are_not_logged),
        cmocka_unit_test(unknown_keys_of_a_ref_survive),
        cmocka_unit_test(removed_snapshots_take_what_names_them),
        cmocka_unit_test(metadata_log_obeys_its_property),
        cmocka_unit_test(equal_schemas_and_specs_are_reused),
        cmocka_unit_test(row_ids_go_on),
        cmocka_unit_test(unknown_updates_and_requirements_are_refused),
        cmocka_unit_test(tables_that_we_do_not_know_are_not_written),
        cmocka_unit_test(announced_schemas_are_compared),
        cmocka_unit_test(metadata_files_are_numbered_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
