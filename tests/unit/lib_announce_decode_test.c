/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

#include "lib/announce/announce.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

#define EPOCH_OLD "01930000-0000-7000-8000-000000000001"
#define EPOCH_NEW "01940000-0000-7000-8000-000000000001"
#define UUID "0f0e0d0c-0b0a-4908-8706-050403020100"

struct change {
    const char *old;
    const char *new;
};

static struct buf golden(const char *path)
{
    struct error err;
    struct buf out = {0};
    assert_int_equal(file_read(path, 1 << 20, &out, &err), OK);
    return out;
}

/* `text` with the first `old` in it replaced; the test is wrong when there is none. */
static struct buf changed(struct slice text, struct change change)
{
    struct buf out = {0};
    const uint8_t *at = memmem(text.data, text.len, change.old, strlen(change.old));
    if (at == NULL)
        print_error("no %s\n", change.old);
    assert_non_null(at);
    size_t before = (size_t)(at - text.data);
    size_t behind = before + strlen(change.old);
    buf_put(&out, text.data, before);
    buf_put_cstr(&out, change.new);
    buf_put(&out, text.data + behind, text.len - behind);
    return out;
}

static void assert_refused(int rc, const struct error *err, struct change change)
{
    if (rc != ERROR_INPUT)
        print_error("%s -> %s was taken\n", change.old, change.new);
    assert_int_equal(rc, ERROR_INPUT);
    assert_true(err->text[0] != 0);
}

static const struct change absurd[] = {
    {"{\"v\":1", "{\"v\":2"},
    {"{\"v\":1", "{\"v\":\"1\""},
    {"{\"v\":1,", "{"},
    {"{\"v\":1", "[{\"v\":1"},
    {"\"stream\":\"a1b2/", "\"stream\":\"a1b2/x/"},
    {"\"stream\":\"a1b2/", "\"stream\":\"a1\\u0000b2/"},
    {"\"stream\":\"a1b2/0194", "\"stream\":\"a1b2/019x"},
    {"\"agent\":\"a1b2\"", "\"agent\":\"\""},
    {"\"agent\":\"a1b2\"", "\"agent\":7"},
    {"\"table\":\"db.bid_requests\"", "\"table\":\"db.clicks\""},
    {"\"table_uuid\":\"0f0e", "\"table_uuid\":\"0f"},
    {"\"table_uuid\":\"0f0e0d0c", "\"table_uuid\":\"../../..\""},
    {"\"schema\":{", "\"schema\":[],\"x\":{"},
    {"\"from\":0,\"to\":400000", "\"from\":400001,\"to\":400000"},
    {"\"from\":0,\"to\":400000", "\"from\":400000,\"to\":400000"},
    {"\"from\":0,\"to\":400000", "\"from\":-1,\"to\":400000"},
    {"\"from\":0,\"to\":400000", "\"from\":0,\"to\":9223372036854775808"},
    {"\"from\":0,\"to\":400000", "\"from\":0,\"to\":400000.0"},
    {"\"from\":0,\"to\":400000", "\"from\":0,\"from\":0,\"to\":400000"},
    {"\"events\":399989", "\"events\":399990"},
    {"\"events\":399989", "\"events\":399988"},
    {"\"events\":399989", "\"events\":9223372036854775807"},
    {"\"rows\":400012", "\"rows\":400013"},
    {"\"sealed_at\":1767225660000", "\"sealed_at\":9223372036854775807"},
    {"\"min\":1767225600000", "\"min\":1767225660000"},
    {"\"event_time\":{", "\"event_time\":7,\"x\":{"},
    {"\"lost\":[", "\"lost\":7,\"x\":["},
    {"\"lost\":[", "\"lost\":[7,"},
    {"\"from\":10,\"to\":20", "\"from\":10,\"to\":21"},
    {"\"from\":10,\"to\":20", "\"from\":20,\"to\":20"},
    {"\"from\":20,\"to\":21", "\"from\":20,\"to\":400001"},
    {"\"from\":20,\"to\":21", "\"from\":5,\"to\":6"},
    {"\"events\":10,\"reason\"", "\"events\":11,\"reason\""},
    {"\"events\":10,\"reason\"", "\"events\":9,\"reason\""},
    {"\"reason\":\"disk_full\"", "\"reason\":null"},
    {"\"files\":[", "\"files\":{},\"x\":["},
    {"\"files\":[", "\"files\":[null,"},
    {"\"path\":\"data/", "\"path\":\"data\\n/"},
    {"\"path\":\"data/", "\"path\":\"\",\"x\":\"data/"},
    {"\"path\":\"data/event_timestamp_day=null/x-0-400000-1.parquet",
     "\"path\":\"data/event_timestamp_day=2026-02-04/device_geo_country=USA/"
     "x-0-400000-0.parquet"},
    {"\"offset\":0", "\"offset\":1"},
    {"\"size\":123456789", "\"size\":0"},
    {"\"size\":123456789", "\"size\":-5"},
    {"\"size\":123456789", "\"size\":9223372036854775807"},
    {"\"size\":123456789", "\"size\":70000000"},
    {"\"crc32c\":\"00c0ffee\"", "\"crc32c\":\"0c0ffee\""},
    {"\"crc32c\":\"00c0ffee\"", "\"crc32c\":\"00C0FFEE\""},
    {"\"crc32c\":\"00c0ffee\"", "\"crc32c\":12648430"},
    {"\"rows\":300000", "\"rows\":-300000"},
    {"\"rows\":300000", "\"rows\":0"},
    {"\"rows\":300000", "\"rows\":9223372036854775807"},
    {"\"spec\":0", "\"spec\":2147483648"},
    {"\"sort\":1", "\"sort\":null"},
    {"\"partition\":[20488,\"USA\"]", "\"partition\":[1,2,3,4,5]"},
    {"\"partition\":[20488,\"USA\"]", "\"partition\":[20488.5]"},
    {"\"partition\":[20488,\"USA\"]", "\"partition\":[{}]"},
    {"\"splits\":[4,70000000]", "\"splits\":[4,4]"},
    {"\"splits\":[4,70000000]", "\"splits\":[-4]"},
    {"\"splits\":[4,70000000]", "\"splits\":[\"4\"]"},
    {"\"splits\":[4,70000000]", "\"splits\":[123456789]"},
    {"\"metrics\":{\"1\"", "\"metrics\":{\"0\""},
    {"\"metrics\":{\"1\"", "\"metrics\":{\"01\""},
    {"\"metrics\":{\"1\"", "\"metrics\":{\"-1\""},
    {"\"metrics\":{\"1\"", "\"metrics\":{\"4294967297\""},
    {"\"metrics\":{\"1\"", "\"metrics\":{\"x\""},
    {"\"metrics\":{\"1\"", "\"metrics\":{\"2\":[],\"1\""},
    {"\"values\":300000", "\"values\":-1"},
    {"\"nulls\":300000", "\"nulls\":300001"},
    {"\"nans\":3", "\"nans\":\"3\""},
    {"\"lower\":\"AP8=\"", "\"lower\":\"AP8\""},
    {"\"lower\":\"AP8=\"", "\"lower\":7"},
    {"\"upper\":\"eno=\"", "\"upper\":\"e\\u0000o=\""},
    {"}]}", "}]} {}"},
    {"}]}", "}]"},
};

/* Whoever may write to the inbox writes these; one that is believed is in the table. */
static void absurd_announcements_are_refused(void **state)
{
    (void)state;
    struct error err;
    struct announcement decoded;
    struct buf text = golden("tests/golden/announcement.json");
    assert_int_equal(announcement_decode(&decoded, buf_slice(&text), &err), OK);
    announcement_free(&decoded);
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
        struct buf bad = changed(buf_slice(&text), absurd[i]);
        assert_refused(announcement_decode(&decoded, buf_slice(&bad), &err), &err, absurd[i]);
        assert_null(decoded.document);
        buf_free(&bad);
    }
    buf_free(&text);
}

/* Small documents that become large trees would end a Lambda by their memory. */
static void announcement_of_too_many_values_is_refused(void **state)
{
    (void)state;
    struct error err;
    struct announcement decoded;
    struct buf text = {0};
    buf_put_cstr(&text, "{\"v\":1,\"x\":[");
    for (size_t i = 0; i < 4000000; i++)
        buf_put_cstr(&text, "[],");
    buf_put_cstr(&text, "0]}");
    assert_int_equal(announcement_decode(&decoded, buf_slice(&text), &err), ERROR_INPUT);
    assert_non_null(strstr(err.text, "values"));
    buf_free(&text);
}

/* Offsets of a topic have gaps: there fewer events than positions are no error. */
static void kafka_ranges_may_have_gaps(void **state)
{
    (void)state;
    static const struct change gaps[] = {
        {"\"stream\":\"a1b2/" EPOCH_NEW "/db.bid_requests\"",
         "\"stream\":\"kafka/c/t/i/0/db.bid_requests\""},
        {"\"events\":399989", "\"events\":5"},
    };
    struct error err;
    struct announcement decoded;
    struct buf text = golden("tests/golden/announcement.json");
    struct buf kafka = changed(buf_slice(&text), gaps[0]);
    struct buf fewer = changed(buf_slice(&kafka), gaps[1]);
    assert_int_equal(announcement_decode(&decoded, buf_slice(&fewer), &err), OK);
    assert_int_equal(decoded.files[0].partition[0].number, 20488);
    assert_true(slice_is(decoded.files[0].partition[1].text, "USA"));
    assert_true(decoded.files[1].partition[0].null);
    assert_int_equal(decoded.files[0].metrics[0].upper.len, 2);
    assert_int_equal(decoded.files[0].metrics[0].nans, -1);
    announcement_free(&decoded);
    buf_free(&text);
    buf_free(&kafka);
    buf_free(&fewer);
}

static void absurd_receipts_are_refused(void **state)
{
    (void)state;
    static const struct change changes[] = {
        {"\"v\":1", "\"v\":0"},
        {"\"stream\":\"a1b2", "\"stream\":\"\\u001ba1b2"},
        {"\"next\":400000", "\"next\":-1"},
        {"\"next\":400000", "\"next\":\"400000\""},
        {"\"committed_at\":1767225665000", "\"committed_at\":true"},
        {"\"missing\":null", "\"missing\":-3"},
        {"\"missing\":null", "\"missing\":{}"},
        {"\"refused\":{\"from\":400000", "\"refused\":{\"from\":null"},
        {"\"refused\":{", "\"refused\":[],\"x\":{"},
    };
    struct error err;
    struct receipt decoded;
    struct buf text = golden("tests/golden/receipt_refused.json");
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct buf bad = changed(buf_slice(&text), changes[i]);
        assert_refused(receipt_decode(&decoded, buf_slice(&bad), &err), &err, changes[i]);
        buf_free(&bad);
    }
    buf_free(&text);
}

/* ---- ledger ---- */

static int decode_text(struct slice text, struct ledger **out, struct error *err)
{
    struct buf bytes = {0};
    uint8_t *at = buf_extend(&bytes, ZSTD_compressBound(text.len));
    bytes.len = ZSTD_compress(at, bytes.len, text.data, text.len, 1);
    int rc = ledger_decode(out, buf_slice(&bytes), err);
    buf_free(&bytes);
    return rc;
}

static void absurd_ledgers_are_refused(void **state)
{
    (void)state;
    static const struct change changes[] = {
        {"\"v\":1", "\"v\":3"},
        {"\"table_uuid\":\"0f0e0d0c-0b0a-4908-8706-050403020100\"", "\"table_uuid\":null"},
        {"\"snapshot_id\":9", "\"snapshot_id\":\"9\",\"x\":9"},
        {"\"streams\":{", "\"streams\":[],\"x\":{"},
        {"\"a1b2/0194", "\"a1b2/../0194"},
        {"\"next\":400000", "\"next\":-400000"},
        {"\"next\":400000", "\"next\":1e3"},
        {"\"at\":1767225665000", "\"at\":null"},
        {"\"to\":20", "\"to\":31"},
        {"\"events\":7", "\"events\":11"},
        {"\"floor\":\"0193", "\"floor\":\"019"},
    };
    struct error err;
    struct ledger *ledger = NULL;
    struct buf text = golden("tests/golden/ledger_floor.json");
    assert_int_equal(decode_text(buf_slice(&text), &ledger, &err), OK);
    ledger_free(ledger);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct buf bad = changed(buf_slice(&text), changes[i]);
        assert_refused(decode_text(buf_slice(&bad), &ledger, &err), &err, changes[i]);
        assert_null(ledger);
        buf_free(&bad);
    }
    buf_free(&text);
}

/* A ledger cut short that passed for whole would let committed ranges in again. */
static void damaged_ledger_bytes_are_refused(void **state)
{
    (void)state;
    struct error err;
    struct ledger *ledger = NULL;
    struct buf bytes = golden("tests/golden/ledger.json.zst");
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_equal(ledger_decode(&ledger, slice_of(bytes.data, len), &err), ERROR_INPUT);
    buf_put_u8(&bytes, 0);
    assert_int_equal(ledger_decode(&ledger, buf_slice(&bytes), &err), ERROR_INPUT);
    buf_free(&bytes);
}

static void advance_moves_next_and_keeps_losses(void **state)
{
    (void)state;
    bool known = true;
    struct ledger *ledger = ledger_make(UUID);
    static const char stream[] = "a/" EPOCH_NEW "/db.x";
    assert_int_equal(ledger_next(ledger, stream, &known), 0);
    assert_false(known);
    struct lost_range lost[] = {
        {.from = 0, .to = 5, .events = 5, .reason = "disk_full"},
        {.from = 5, .to = 9, .events = 4, .reason = "disk_full"},
        {.from = 9, .to = 10, .events = 1, .reason = "bad_block"},
    };
    ledger_advance(ledger, stream, 10, 1, lost, 3);
    ledger_advance(ledger, stream, 10, 2, NULL, 0);
    assert_int_equal(ledger_next(ledger, stream, &known), 10);
    assert_true(known);
    struct buf bytes = {0};
    struct buf text = {0};
    ledger_encode(ledger, &bytes);
    uint8_t *at = buf_extend(&text, 1000);
    text.len = ZSTD_decompress(at, 1000, bytes.data, bytes.len);
    assert_non_null(strstr(buf_cstr(&text),
                           "\"lost\":[{\"from\":0,\"to\":9,\"events\":9,\"reason\":\"disk_full\"},"
                           "{\"from\":9,\"to\":10,\"events\":1,\"reason\":\"bad_block\"}]"));
    buf_free(&bytes);
    buf_free(&text);
    ledger_free(ledger);
}

/* A stream forgotten and then met again must not begin at 0 as if it were new. */
static void retired_streams_stay_out(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_make(UUID);
    ledger_advance(ledger, "a/" EPOCH_OLD "/db.x", 5, 100, NULL, 0);
    ledger_advance(ledger, "a/" EPOCH_NEW "/db.x", 5, 200, NULL, 0);
    ledger_advance(ledger, "kafka/c/t/i/0/db.x", 5, 0, NULL, 0);
    assert_int_equal(ledger_retire(ledger, 100), 0);
    assert_null(ledger_floor_borrow(ledger));
    assert_false(ledger_is_retired(ledger, "b/" EPOCH_OLD "/db.x"));
    assert_int_equal(ledger_retire(ledger, 101), 1);
    assert_string_equal(ledger_floor_borrow(ledger), EPOCH_OLD);
    assert_true(ledger_is_retired(ledger, "a/" EPOCH_OLD "/db.x"));
    assert_true(ledger_is_retired(ledger, "b/" EPOCH_OLD "/db.x"));
    assert_false(ledger_is_retired(ledger, "b/" EPOCH_NEW "/db.x"));
    assert_false(ledger_is_retired(ledger, "kafka/c/t/i/1/db.x"));
    assert_int_equal(ledger_retire(ledger, 1000), 1);
    assert_string_equal(ledger_floor_borrow(ledger), EPOCH_NEW);
    assert_int_equal(ledger_next(ledger, "kafka/c/t/i/0/db.x", NULL), 5);
    ledger_free(ledger);
}

struct totals {
    size_t streams;
    uint64_t next;
};

static void add_up(void *context, const char *stream, uint64_t next, int64_t at_ms,
                   const struct lost_range *lost, size_t lost_count)
{
    (void)stream;
    (void)at_ms;
    struct totals *totals = context;
    assert_int_equal(lost_count, 1);
    assert_string_equal(lost[0].reason, "disk_full");
    totals->streams++;
    totals->next += next;
}

/* Thousands of agents, a new stream at each of their starts: this is a year's ledger. */
static void ledger_of_a_hundred_thousand_streams(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    struct error err;
    struct buf bytes = {0};
    struct totals totals = {0};
    struct lost_range lost = {.to = 1, .events = 1, .reason = "disk_full"};
    struct ledger *ledger = ledger_make(UUID);
    struct ledger *decoded = NULL;
    for (unsigned i = 0; i < COUNT; i++) {
        char name[100];
        snprintf(name, sizeof name, "edge-%u/%08x-0000-7000-8000-000000000001/db.x", i % 2000,
                 i * 2654435761u);
        ledger_advance(ledger, name, i + 1, i, &lost, 1);
    }
    ledger_encode(ledger, &bytes);
    assert_int_equal(ledger_decode(&decoded, buf_slice(&bytes), &err), OK);
    ledger_visit_streams(decoded, add_up, &totals);
    assert_int_equal(totals.streams, COUNT);
    assert_int_equal(totals.next, (uint64_t)COUNT * (COUNT + 1) / 2);
    ledger_free(ledger);
    ledger_free(decoded);
    buf_free(&bytes);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(absurd_announcements_are_refused),
        cmocka_unit_test(announcement_of_too_many_values_is_refused),
        cmocka_unit_test(kafka_ranges_may_have_gaps),
        cmocka_unit_test(absurd_receipts_are_refused),
        cmocka_unit_test(absurd_ledgers_are_refused),
        cmocka_unit_test(damaged_ledger_bytes_are_refused),
        cmocka_unit_test(advance_moves_next_and_keeps_losses),
        cmocka_unit_test(retired_streams_stay_out),
        cmocka_unit_test(ledger_of_a_hundred_thousand_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
