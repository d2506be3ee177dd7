/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "lib/announce/announce.h"
#include "lib/base/file.h"

#define GOLDEN "tests/golden/contract.json"
#define UUID "0f0e0d0c-0b0a-4908-8706-050403020100"

static char id_name[] = "request_id";
static char time_name[] = "event_timestamp";
static char country_name[] = "device_geo_country";
static char day_name[] = "event_timestamp_day";
static char table_name[] = "db.bid_requests";
static char schema_table[] = "bid_requests";
static char uuid[] = UUID;

static void contract_example(struct contract *out, struct column *columns)
{
    columns[0] = (struct column){
        .name = id_name, .type = TYPE_STRING, .required = true, .bloom = true, .field_id = 1};
    columns[1] = (struct column){.name = country_name, .type = TYPE_STRING, .field_id = 2};
    columns[2] = (struct column){.name = time_name, .type = TYPE_TIMESTAMPTZ, .field_id = 3};
    struct partition_field day = {
        .transform = TRANSFORM_DAY, .column = 2, .field_id = 1000, .name = day_name};
    struct partition_field country = {
        .transform = TRANSFORM_IDENTITY, .column = 1, .field_id = 1001, .name = country_name};
    *out =
        (struct contract){.table = table_name, .table_uuid = uuid, .updated_at_ms = 1767225665000};
    out->schema = (struct table_schema){
        .table = schema_table,
        .column_count = 3,
        .columns = columns,
        .spec_count = 2,
        .specs = {{.spec_id = 0, .field_count = 2, .fields = {day, country}},
                  {.spec_id = 1, .field_count = 1, .fields = {day}}},
        .sort = {.order_id = 1, .column_count = 2, .columns = {1, 2}},
        .time_column = 2,
    };
}

/* An agent of another release must find the field ids that it has to write. */
static void contract_has_its_shape(void **state)
{
    (void)state;
    struct error err;
    struct column columns[3];
    struct contract contract;
    struct contract decoded;
    struct buf bytes = {0};
    struct buf again = {0};
    struct buf expected = {0};
    contract_example(&contract, columns);
    contract_encode(&contract, &bytes);
    if (getenv("GOLDEN_UPDATE") != NULL)
        assert_int_equal(file_replace(GOLDEN, buf_slice(&bytes), 0644, &err), OK);
    assert_int_equal(file_read(GOLDEN, 1 << 20, &expected, &err), OK);
    assert_true(slice_equal(buf_slice(&expected), buf_slice(&bytes)));
    int rc = contract_decode(&decoded, buf_slice(&bytes), &err);
    if (rc != OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, OK);
    assert_string_equal(decoded.table, table_name);
    assert_string_equal(decoded.table_uuid, UUID);
    assert_int_equal(decoded.schema.columns[2].field_id, 3);
    contract_encode(&decoded, &again);
    assert_true(slice_equal(buf_slice(&again), buf_slice(&bytes)));
    contract_free(&decoded);
    buf_free(&bytes);
    buf_free(&again);
    buf_free(&expected);
}

/* An agent that took a foreign contract would write files that no table takes. */
static void absurd_contracts_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *old;
        const char *new;
    } changes[] = {
        {"\"v\":1", "\"v\":9"},
        {"\"table\":\"db.bid_requests\"", "\"table\":\"bid_requests\""},
        {"\"table\":\"db.bid_requests\"", "\"table\":\"db.clicks\""},
        {"\"table\":\"db.bid_requests\"", "\"table\":\"db.bid_requests/..\""},
        {"\"table_uuid\":\"0f0e", "\"table_uuid\":\"0f"},
        {"\"updated_at\":1767225665000", "\"updated_at\":\"now\""},
        {"\"schema\":{", "\"schema\":null,\"x\":{"},
    };
    struct error err;
    struct contract decoded;
    struct buf text = {0};
    assert_int_equal(file_read(GOLDEN, 1 << 20, &text, &err), OK);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct buf bad = {0};
        const char *whole = buf_cstr(&text);
        const char *at = strstr(whole, changes[i].old);
        assert_non_null(at);
        buf_put(&bad, whole, (size_t)(at - whole));
        buf_put_cstr(&bad, changes[i].new);
        buf_put_cstr(&bad, at + strlen(changes[i].old));
        int rc = contract_decode(&decoded, buf_slice(&bad), &err);
        if (rc != ERROR_INPUT)
            print_error("%s was taken\n", changes[i].new);
        assert_int_equal(rc, ERROR_INPUT);
        assert_null(decoded.table);
        buf_free(&bad);
    }
    buf_free(&text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(contract_has_its_shape),
        cmocka_unit_test(absurd_contracts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
