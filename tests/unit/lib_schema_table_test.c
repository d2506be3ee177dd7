/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "lib/schema/mapping.h"
#include "lib/schema/schema.h"

static struct table_schema preset_schema(const char *name)
{
    struct mapping mapping;
    struct error err;
    assert_int_equal(mapping_load_preset(&mapping, name, &err), OK);
    struct table_schema schema;
    table_schema_copy(&schema, &mapping.schema);
    mapping_free(&mapping);
    return schema;
}

static struct table_schema yaml_schema(const char *text)
{
    struct mapping mapping;
    struct error err;
    if (mapping_parse(&mapping, "m", slice_cstr(text), &err) != OK)
        fail_msg("%s", err.text);
    struct table_schema schema;
    table_schema_copy(&schema, &mapping.schema);
    mapping_free(&mapping);
    return schema;
}

/* A spool that is read by a later release: these bytes are its schema. */
static void the_canonical_form_is_frozen(void **state)
{
    (void)state;
    struct table_schema schema =
        yaml_schema("table: t\npartition: [day(at), c]\nsort: [c]\ncolumns:\n"
                    "  id: {type: string, from: id, required: true, bloom: true}\n"
                    "  c: {type: country, from: c}\n"
                    "  l: {type: list<double>, from: l, personal: true}\n"
                    "  p: {type: long, from: $position}\n"
                    "  at: {type: timestamptz, from: at}\n");
    struct buf bytes = {0};
    table_schema_encode(&schema, &bytes);
    assert_string_equal(
        buf_cstr(&bytes),
        "{\"columns\":[{\"bloom\":true,\"id\":1,\"name\":\"id\",\"required\":true,"
        "\"type\":\"string\"},{\"id\":2,\"name\":\"c\",\"type\":\"string\"},"
        "{\"element_id\":6,\"id\":3,\"list\":true,\"name\":\"l\",\"personal\":true,"
        "\"type\":\"double\"},{\"fill\":\"position\",\"id\":4,\"name\":\"p\",\"type\":\"long\"},"
        "{\"id\":5,\"name\":\"at\",\"type\":\"timestamptz\"}],\"schema_id\":0,"
        "\"sort\":{\"columns\":[\"c\"],\"id\":1},\"specs\":[{\"fields\":[{\"column\":\"at\","
        "\"id\":1000,\"name\":\"at_day\",\"transform\":\"day\"},{\"column\":\"c\",\"id\":1001,"
        "\"name\":\"c\",\"transform\":\"identity\"}],\"id\":0},{\"fields\":[{\"column\":\"at\","
        "\"id\":1000,\"name\":\"at_day\",\"transform\":\"day\"}],\"id\":1}],\"table\":\"t\","
        "\"v\":1}");
    uint8_t digest[SHA256_SIZE];
    sha256(buf_slice(&bytes), digest);
    assert_int_equal(table_schema_key(&schema), get_u64be(digest));
    buf_free(&bytes);
    table_schema_free(&schema);
}

/* Rows in the spool mean what the decoded schema says they mean. */
static void what_is_decoded_is_what_was_encoded(void **state)
{
    (void)state;
    for (size_t i = 0; presets[i].name != NULL; i++) {
        struct table_schema schema = preset_schema(presets[i].name);
        struct buf first = {0};
        struct buf second = {0};
        struct table_schema decoded;
        struct error err;
        table_schema_encode(&schema, &first);
        assert_int_equal(table_schema_decode(&decoded, buf_slice(&first), &err), OK);
        table_schema_encode(&decoded, &second);
        assert_true(slice_equal(buf_slice(&first), buf_slice(&second)));
        assert_int_equal(decoded.time_column, schema.time_column);
        assert_int_equal(table_schema_key(&decoded), table_schema_key(&schema));
        for (size_t c = 0; c < schema.column_count; c++) {
            assert_int_equal(decoded.columns[c].type, schema.columns[c].type);
            assert_int_equal(decoded.columns[c].element_id, schema.columns[c].element_id);
        }
        buf_free(&first);
        buf_free(&second);
        table_schema_free(&decoded);
        table_schema_free(&schema);
    }
}

static void replace_once(struct buf *text, const char *from, const char *to)
{
    char *at = strstr(buf_cstr(text), from);
    assert_non_null(at);
    struct buf out = {0};
    buf_put(&out, text->data, (size_t)(at - (char *)text->data));
    buf_put_cstr(&out, to);
    buf_put_cstr(&out, at + strlen(from));
    buf_free(text);
    *text = out;
}

/* A contract comes from a store that others can write. */
static void hostile_schemas_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from;
        const char *to;
        const char *message;
    } cases[] = {
        {"\"v\":1", "\"v\":2", "version 2 is not known"},
        {"\"v\":1", "\"v\":1.0", "\"v\" is not an integer"},
        {"\"schema_id\":0", "\"schema_id\":-1", "out of range"},
        {"\"table\":\"clicks\"", "\"table\":\"a\\u0000b\"", "is no name"},
        {"\"table\":\"clicks\"", "\"table\":\"\"", "is no name"},
        {"\"table\":\"clicks\"", "\"table\":null", "no \"table\""},
        {"\"name\":\"seat\"", "\"name\":\"imp_id\"", "have one name"},
        {"\"name\":\"seat\"", "\"name\":\"IMP_ID\"", "have one name"},
        {"\"name\":\"seat\"", "\"name\":\"a\\nb\"", "is no name"},
        {"\"name\":\"seat\"", "\"name\":5", "is not a string"},
        {"\"id\":2,", "\"id\":1,", "two columns have field id 1"},
        {"\"id\":2,", "\"id\":0,", "out of range: 0"},
        {"\"id\":2,", "\"id\":2147483448,", "out of range"},
        {"\"id\":2,", "\"id\":99999999999,", "out of range"},
        {"\"id\":2,", "\"id\":2,\"list\":true,", "no \"element_id\""},
        {"\"id\":2,", "\"id\":2,\"list\":true,\"element_id\":3,", "two columns have field id 3"},
        {"\"id\":2,", "\"id\":2,\"personal\":1,", "\"personal\" is not"},
        {"\"id\":2,", "\"id\":2,\"fill\":\"position\",", "can't be filled"},
        {"\"id\":2,", "\"id\":2,\"fill\":\"x\",", "unknown fill"},
        {"\"type\":\"string\"", "\"type\":\"text\"", "unknown type \"text\""},
        {"\"id\":1001,", "\"id\":1000,", "clash"},
        {"\"id\":1001,", "\"id\":7,", "out of range"},
        {"\"transform\":\"identity\"", "\"transform\":\"bucket[16]\"", "unknown transform"},
        {"\"transform\":\"identity\"", "\"transform\":\"day\"", "can't partition by day"},
        {"\"column\":\"device_geo_country\"", "\"column\":\"x\"", "no column \"x\""},
        {"\"column\":\"device_geo_country\"", "\"column\":\"received_at\"", "can't partition by"},
        {"\"name\":\"event_timestamp_day\"", "\"name\":\"user_id\"", "has a column's name"},
        {"{\"columns\":[\"site_domain\",", "{\"columns\":[\"nope\",", "no column \"nope\""},
        {"{\"columns\":[\"site_domain\",", "{\"columns\":[5,", "a column is no string"},
        {"{\"columns\":[\"site_domain\",", "{\"columns\":[\"event_timestamp\",", "sorted twice"},
        {"\"specs\":[", "\"specs\":[],\"specs_\":[", "without a partition spec"},
        {"\"id\":1}],\"table\"", "\"id\":0}],\"table\"", "must be the day alone"},
        {"\"id\":1}],\"table\"", "\"id\":1},{\"fields\":[],\"id\":2}],\"table\"", "at most 2"},
        {"\"columns\":[{", "\"columns\":[1,{", "is no"},
        {"\"columns\":[{", "\"columns\":[],\"x\":[{", "without columns"},
        {"],\"id\":1},\"specs\"", "],\"id\":0},\"specs\"", "sort order 0 with 3 columns"},
        {"{\"columns\"", "{\"v\":1,\"columns\"", "duplicate"},
        {"{\"columns\"", "[{\"columns\"", ""},
    };
    struct table_schema schema = preset_schema("openrtb/impressions");
    free(schema.table);
    schema.table = memory_copy_cstr("clicks");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf text = {0};
        struct error err;
        struct table_schema decoded;
        table_schema_encode(&schema, &text);
        replace_once(&text, cases[i].from, cases[i].to);
        if (table_schema_decode(&decoded, buf_slice(&text), &err) != ERROR_INPUT)
            fail_msg("taken: %s -> %s", cases[i].from, cases[i].to);
        if (strstr(err.text, cases[i].message) == NULL &&
            !(strcmp(cases[i].message, "is no") == 0 && strstr(err.text, "no \"") != NULL))
            fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].message);
        assert_null(decoded.columns); /* nothing is left to free */
        buf_free(&text);
    }
    table_schema_free(&schema);
}

static void assert_json(json_t *value, const char *expected)
{
    char *text = json_dumps(value, JSON_COMPACT);
    assert_string_equal(text, expected);
    free(text);
    json_decref(value);
}

/* Every engine reads these; an id in another place is another column. */
static void iceberg_json_is_the_specifications(void **state)
{
    (void)state;
    struct table_schema schema =
        yaml_schema("table: t\npartition: [day(at), c]\nsort: [c, at]\ncolumns:\n"
                    "  id: {type: string, from: id, required: true}\n"
                    "  c: {type: country, from: c}\n"
                    "  l: {type: list<int>, from: l}\n"
                    "  at: {type: timestamptz, from: at}\n");
    assert_json(table_schema_to_iceberg(&schema),
                "{\"type\":\"struct\",\"schema-id\":0,\"fields\":["
                "{\"id\":1,\"name\":\"id\",\"required\":true,\"type\":\"string\"},"
                "{\"id\":2,\"name\":\"c\",\"required\":false,\"type\":\"string\"},"
                "{\"id\":3,\"name\":\"l\",\"required\":false,\"type\":{\"type\":\"list\","
                "\"element-id\":5,\"element\":\"int\",\"element-required\":false}},"
                "{\"id\":4,\"name\":\"at\",\"required\":false,\"type\":\"timestamptz\"}]}");
    assert_json(partition_spec_to_iceberg(&schema, &schema.specs[0]),
                "{\"spec-id\":0,\"fields\":[{\"source-id\":4,\"field-id\":1000,"
                "\"name\":\"at_day\",\"transform\":\"day\"},{\"source-id\":2,\"field-id\":1001,"
                "\"name\":\"c\",\"transform\":\"identity\"}]}");
    assert_json(partition_spec_to_iceberg(&schema, &schema.specs[1]),
                "{\"spec-id\":1,\"fields\":[{\"source-id\":4,\"field-id\":1000,"
                "\"name\":\"at_day\",\"transform\":\"day\"}]}");
    assert_json(sort_order_to_iceberg(&schema),
                "{\"order-id\":1,\"fields\":[{\"transform\":\"identity\",\"source-id\":2,"
                "\"direction\":\"asc\",\"null-order\":\"nulls-first\"},"
                "{\"transform\":\"identity\",\"source-id\":4,\"direction\":\"asc\","
                "\"null-order\":\"nulls-first\"}]}");
    table_schema_free(&schema);
    schema = preset_schema("openrtb/dead_letters");
    assert_json(sort_order_to_iceberg(&schema), "{\"order-id\":0,\"fields\":[]}");
    table_schema_free(&schema);
}

/* ---- binding ---- */

/* A catalog may give other ids at create; files with ours would be read as nulls. */
static void binding_takes_the_tables_ids(void **state)
{
    (void)state;
    struct table_schema ours =
        yaml_schema("table: t\npartition: [day(at), c]\nsort: [at]\ncolumns:\n"
                    "  at: {type: timestamptz, from: at}\n"
                    "  l: {type: list<int>, from: l}\n"
                    "  c: {type: country, from: c}\n");
    struct table_schema table =
        yaml_schema("table: t\npartition: [day(at), c]\nsort: [c, at]\ncolumns:\n"
                    "  extra: {type: int, from: e}\n"
                    "  c: {type: country, from: c}\n"
                    "  at: {type: timestamptz, from: at}\n"
                    "  l: {type: list<int>, from: l}\n");
    table.schema_id = 7;
    table.sort.order_id = 3;
    table.specs[0].spec_id = 4;
    table.specs[1].spec_id = 2;
    table.specs[0].fields[0].field_id = 1005;
    struct error err;
    assert_int_equal(table_schema_bind(&ours, &table, &err), OK);
    assert_int_equal(ours.schema_id, 7);
    assert_int_equal(ours.columns[0].field_id, 3);
    assert_int_equal(ours.columns[1].field_id, 4);
    assert_int_equal(ours.columns[1].element_id, 5);
    assert_int_equal(ours.columns[2].field_id, 2);
    assert_int_equal(ours.specs[0].spec_id, 4);
    assert_int_equal(ours.specs[0].fields[0].field_id, 1005);
    assert_int_equal(ours.specs[0].fields[0].column, 0);
    assert_int_equal(ours.specs[1].spec_id, 2);
    assert_int_equal(ours.sort.order_id, 3);
    assert_int_equal(ours.sort.column_count, 2);
    assert_int_equal(ours.sort.columns[0], 2);
    assert_int_equal(ours.sort.columns[1], 0);
    table_schema_free(&ours);
    table_schema_free(&table);
}

static void assert_bind(const char *ours_yaml, const char *table_yaml, const char *message)
{
    struct table_schema ours = yaml_schema(ours_yaml);
    struct table_schema table = yaml_schema(table_yaml);
    struct error err;
    assert_int_equal(table_schema_bind(&ours, &table, &err), ERROR_CONFLICT);
    if (strstr(err.text, message) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, message);
    table_schema_free(&ours);
    table_schema_free(&table);
}

/* Writing on with a mapping that the table can't take would be refused file by file. */
static void what_the_table_can_not_take_is_a_conflict(void **state)
{
    (void)state;
    assert_bind("table: t\ncolumns: {a: {type: int, from: a}, b: {type: int, from: b}}\n",
                "table: t\ncolumns: {a: {type: int, from: a}}\n", "table t has no column \"b\"");
    assert_bind("table: t\ncolumns: {a: {type: int, from: a}}\n",
                "table: t\ncolumns: {a: {type: long, from: a}}\n",
                "column \"a\" is int here, long in table t");
    assert_bind("table: t\ncolumns: {a: {type: int, from: a}}\n",
                "table: t\ncolumns: {a: {type: list<int>, from: a}}\n",
                "column \"a\" is int here, a list of int in table t");
    assert_bind("table: t\ncolumns: {a: {type: int, from: a}}\n",
                "table: t\ncolumns: {a: {type: int, from: a, required: true}}\n",
                "requires column \"a\"");
    assert_bind("table: t\ncolumns: {a: {type: int, from: a}}\n",
                "table: t\ncolumns: {a: {type: int, from: a}, b: {type: int, from: b, "
                "required: true}}\n",
                "requires column \"b\"");
    assert_bind("table: t\npartition: [a]\ncolumns: {a: {type: int, from: a}}\n",
                "table: t\ncolumns: {a: {type: int, from: a}}\n", "partitioned otherwise");
}

/* A file that names an order or a spec that the table lacks makes the table unreadable. */
static void binding_names_nothing_the_table_lacks(void **state)
{
    (void)state;
    struct table_schema ours = preset_schema("openrtb/clicks");
    struct table_schema table = preset_schema("openrtb/clicks");
    struct error err;
    free(table.specs[1].fields[0].name);
    table.specs[1] = (struct partition_spec){0};
    table.spec_count = 1;
    table.sort = (struct sort_order){0};
    assert_int_equal(table_schema_bind(&ours, &table, &err), OK);
    assert_int_equal(ours.spec_count, 1);
    assert_int_equal(ours.sort.order_id, 0);
    assert_int_equal(ours.sort.column_count, 0);
    table_schema_free(&ours);
    table_schema_free(&table);
}

/* ---- partition paths ---- */

static void assert_path(const struct table_schema *schema, const struct partition_value *values,
                        const char *expected)
{
    struct buf path = {0};
    partition_path(schema, &schema->specs[0], values, &path);
    assert_string_equal(buf_cstr(&path), expected);
    buf_free(&path);
}

static struct partition_value text_value(const char *text)
{
    return (struct partition_value){.text = slice_cstr(text), .is_text = true};
}

static void partition_paths_are_javas(void **state)
{
    (void)state;
    struct table_schema schema = preset_schema("openrtb/bid_requests");
    struct partition_value values[2] = {{.number = 20454}, text_value("USA")};
    assert_path(&schema, values, "event_timestamp_day=2026-01-01/device_geo_country=USA");
    values[0] = (struct partition_value){.null = true};
    values[1] = (struct partition_value){.null = true, .is_text = true};
    assert_path(&schema, values, "event_timestamp_day=null/device_geo_country=null");
    values[0] = (struct partition_value){.number = 19782};
    values[1] = text_value("a b/\xc3\xbc~*-_.%+=");
    assert_path(&schema, values,
                "event_timestamp_day=2024-02-29/device_geo_country="
                "a+b%2F%C3%BC%7E*-_.%25%2B%3D");
    values[0].number = 0;
    values[1] = text_value("");
    assert_path(&schema, values, "event_timestamp_day=1970-01-01/device_geo_country=");
    values[0].number = -1;
    assert_path(&schema, values, "event_timestamp_day=1969-12-31/device_geo_country=");
    values[0].number = -719468 - 1;
    assert_path(&schema, values, "event_timestamp_day=0000-02-29/device_geo_country=");
    table_schema_free(&schema);
}

static void partition_paths_have_numbers_and_booleans(void **state)
{
    (void)state;
    struct table_schema schema =
        yaml_schema("table: t\npartition: [i, b]\ncolumns: {i: {type: int, from: i}, "
                    "b: {type: boolean, from: b}}\n");
    struct partition_value values[2] = {{.number = -5}, {.number = 1}};
    assert_path(&schema, values, "i=-5/b=true");
    values[1].number = 0;
    assert_path(&schema, values, "i=-5/b=false");
    table_schema_free(&schema);
    schema = yaml_schema("table: t\ncolumns: {i: {type: int, from: i}}\n");
    assert_path(&schema, NULL, "");
    table_schema_free(&schema);
}

/* An object key ends at 1,024 bytes; two long values of one segment need two names. */
static void long_partition_values_are_cut_but_differ(void **state)
{
    (void)state;
    struct table_schema schema = preset_schema("openrtb/bid_requests");
    char long_text[301];
    memset(long_text, '/', 300);
    long_text[300] = 0;
    struct partition_value values[2] = {{.number = 0}, text_value(long_text)};
    struct buf first = {0};
    struct buf second = {0};
    partition_path(&schema, &schema.specs[0], values, &first);
    long_text[299] = 'x';
    partition_path(&schema, &schema.specs[0], values, &second);
    assert_true(first.len < 300);
    assert_false(slice_equal(buf_slice(&first), buf_slice(&second)));
    buf_free(&first);
    buf_free(&second);
    table_schema_free(&schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_canonical_form_is_frozen),
        cmocka_unit_test(what_is_decoded_is_what_was_encoded),
        cmocka_unit_test(hostile_schemas_are_refused),
        cmocka_unit_test(iceberg_json_is_the_specifications),
        cmocka_unit_test(binding_takes_the_tables_ids),
        cmocka_unit_test(what_the_table_can_not_take_is_a_conflict),
        cmocka_unit_test(binding_names_nothing_the_table_lacks),
        cmocka_unit_test(partition_paths_are_javas),
        cmocka_unit_test(partition_paths_have_numbers_and_booleans),
        cmocka_unit_test(long_partition_values_are_cut_but_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
