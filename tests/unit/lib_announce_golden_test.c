/* SPDX-License-Identifier: Apache-2.0
 *
 * The documents of lib/announce/PROTOCOL.md, frozen: agents and commit services of different
 * releases read each other's. GOLDEN_UPDATE=1 rewrites the files; review the diff.
 */
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
#include "lib/json/json.h"

#define EPOCH "01940000-0000-7000-8000-000000000001"
#define STREAM "a1b2/" EPOCH "/db.bid_requests"
#define UUID "0f0e0d0c-0b0a-4908-8706-050403020100"
#define SCHEMA                                                                                     \
    "{\"type\":\"struct\",\"schema-id\":0,\"fields\":[{\"id\":1,\"name\":\"request_id\","          \
    "\"required\":true,\"type\":\"string\"},{\"id\":20,\"name\":\"event_timestamp\","              \
    "\"required\":false,\"type\":\"timestamptz\"}]}"

static void golden_read(const char *name, struct buf *out)
{
    struct error err;
    char *path = memory_printf("tests/golden/%s", name);
    int rc = file_read(path, 1 << 20, out, &err);
    if (rc != OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, OK);
    free(path);
}

static void golden_compare(const char *name, struct slice actual)
{
    struct error err;
    struct buf expected = {0};
    if (getenv("GOLDEN_UPDATE") != NULL) {
        char *path = memory_printf("tests/golden/%s", name);
        assert_int_equal(file_replace(path, actual, 0644, &err), OK);
        free(path);
    }
    golden_read(name, &expected);
    if (!slice_equal(buf_slice(&expected), actual))
        print_error("%s differs:\n%.*s\n", name, (int)actual.len, (const char *)actual.data);
    assert_true(slice_equal(buf_slice(&expected), actual));
    buf_free(&expected);
}

/* ---- announcement ---- */

static void announcement_compare(const char *name, const struct announcement *announcement)
{
    struct error err;
    struct buf bytes = {0};
    struct buf again = {0};
    struct announcement decoded;
    announcement_encode(announcement, &bytes);
    golden_compare(name, buf_slice(&bytes));
    int rc = announcement_decode(&decoded, buf_slice(&bytes), &err);
    if (rc != OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, OK);
    announcement_encode(&decoded, &again);
    assert_true(slice_equal(buf_slice(&bytes), buf_slice(&again)));
    announcement_free(&decoded);
    buf_free(&bytes);
    buf_free(&again);
}

static void announcement_start(struct announcement *out)
{
    struct error err;
    announcement_init(out);
    out->stream = STREAM;
    out->agent = "a1b2";
    out->to = 400000;
    out->table = "db.bid_requests";
    out->writer = "bidlake 0.1.0";
    out->sealed_at_ms = 1767225660000;
    assert_int_equal(json_decode(&out->schema, slice_cstr(SCHEMA), &err), OK);
}

static void announcement_has_its_shape(void **state)
{
    (void)state;
    int64_t splits[] = {4, 70000000};
    struct file_metric metrics[] = {
        {.field_id = 1,
         .size = 900,
         .values = 300000,
         .nulls = 0,
         .nans = -1,
         .has_lower = true,
         .lower = slice_of("\x00\xff", 2),
         .has_upper = true,
         .upper = slice_cstr("zz")},
        {.field_id = 20, .size = 17, .values = 300000, .nulls = 300000, .nans = -1},
        {.field_id = 21, .size = -1, .values = -1, .nulls = -1, .nans = 3, .has_lower = true},
    };
    struct data_file files[] = {
        {.path = "data/event_timestamp_day=2026-02-04/device_geo_country=USA/x-0-400000-0.parquet",
         .size = 123456789,
         .crc32c = 0x00c0ffee,
         .rows = 300000,
         .sort = 1,
         .partition_count = 2,
         .partition = {{.number = 20488}, {.is_text = true, .text = slice_cstr("USA")}},
         .split_count = 2,
         .splits = splits,
         .metric_count = 3,
         .metrics = metrics},
        {.path = "data/event_timestamp_day=null/x-0-400000-1.parquet",
         .size = 12,
         .crc32c = 0xffffffff,
         .rows = 100012,
         .spec = 1,
         .partition_count = 1,
         .partition = {{.null = true}}},
    };
    struct lost_range lost[] = {
        {.from = 10, .to = 20, .events = 10, .reason = "disk_full"},
        {.from = 20, .to = 21, .events = 1, .reason = "bad_block"},
    };
    struct announcement announcement;
    announcement_start(&announcement);
    announcement.table_uuid = UUID;
    announcement.events = 399989;
    announcement.rows = 400012;
    announcement.has_event_time = true;
    announcement.event_time_min_ms = 1767225600000;
    announcement.event_time_max_ms = 1767225659999;
    announcement.lost = lost;
    announcement.lost_count = 2;
    announcement.files = files;
    announcement.file_count = 2;
    announcement_compare("announcement.json", &announcement);
    announcement_free(&announcement);
}

/* All lost and nothing written: still an announcement, else the stream stands still. */
static void announcement_of_a_loss_has_its_shape(void **state)
{
    (void)state;
    struct lost_range lost = {.to = INT64_MAX, .events = INT64_MAX, .reason = "records_gone"};
    struct announcement announcement;
    announcement_start(&announcement);
    announcement.to = INT64_MAX;
    announcement.lost = &lost;
    announcement.lost_count = 1;
    announcement_compare("announcement_lost.json", &announcement);
    announcement_free(&announcement);
}

/* A later release adds keys; an older one in between must not drop them. */
/* What waits for its commit may not lean on a document that is gone. */
static void detached_announcement_is_whole(void **state)
{
    (void)state;
    static const char *const names[] = {"announcement.json", "announcement_lost.json"};
    for (size_t i = 0; i < 2; i++) {
        struct error err;
        struct buf bytes = {0};
        struct buf again = {0};
        struct announcement decoded;
        golden_read(names[i], &bytes);
        assert_int_equal(announcement_decode(&decoded, buf_slice(&bytes), &err), OK);
        announcement_detach(&decoded);
        assert_null(decoded.document);
        announcement_encode(&decoded, &again);
        golden_compare(names[i], buf_slice(&again));
        announcement_free(&decoded);
        buf_free(&bytes);
        buf_free(&again);
    }
}

static void announcement_keeps_keys_of_later_versions(void **state)
{
    (void)state;
    struct error err;
    struct buf bytes = {0};
    struct announcement decoded;
    golden_read("announcement_later.in.json", &bytes);
    int rc = announcement_decode(&decoded, buf_slice(&bytes), &err);
    if (rc != OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, OK);
    decoded.table_uuid = UUID;
    decoded.files[0].rows++;
    decoded.rows++;
    announcement_compare("announcement_later.json", &decoded);
    announcement_free(&decoded);
    buf_free(&bytes);
}

/* ---- receipt ---- */

static void receipt_compare(const char *name, const struct receipt *receipt)
{
    struct error err;
    struct buf bytes = {0};
    struct buf again = {0};
    struct receipt decoded;
    receipt_encode(receipt, &bytes);
    golden_compare(name, buf_slice(&bytes));
    assert_int_equal(receipt_decode(&decoded, buf_slice(&bytes), &err), OK);
    assert_string_equal(decoded.stream, receipt->stream);
    assert_true(decoded.next == receipt->next);
    assert_true(decoded.has_missing == receipt->has_missing);
    assert_true(decoded.missing_from == receipt->missing_from);
    assert_true(decoded.has_refused == receipt->has_refused);
    assert_true(decoded.refused_from == receipt->refused_from);
    receipt_encode(&decoded, &again);
    assert_true(slice_equal(buf_slice(&bytes), buf_slice(&again)));
    receipt_free(&decoded);
    buf_free(&bytes);
    buf_free(&again);
}

static void receipts_have_their_shape(void **state)
{
    (void)state;
    struct receipt receipt;
    receipt_init(&receipt);
    receipt.stream = STREAM;
    receipt.next = 400000;
    receipt.committed_at_ms = 1767225665000;
    receipt_compare("receipt.json", &receipt);
    receipt.has_missing = true;
    receipt.missing_from = 400000;
    receipt_compare("receipt_missing.json", &receipt);
    receipt.has_missing = false;
    receipt.missing_from = 0;
    receipt.has_refused = true;
    receipt.refused_from = 400000;
    /* A reason quotes what a stranger wrote, and may be cut within a character. */
    receipt.refused_reason = "path \"\n\xc3\" is not below data/";
    receipt_compare("receipt_refused.json", &receipt);
    receipt_free(&receipt);
}

static void receipt_keeps_keys_of_later_versions(void **state)
{
    (void)state;
    static const char text[] = "{\"v\":1,\"region\":\"eu\",\"stream\":\"" STREAM
                               "\",\"next\":1,\"committed_at\":0,\"missing\":null,"
                               "\"refused\":{\"hint\":[1],\"from\":1,\"reason\":\"x\"}}";
    struct error err;
    struct buf bytes = {0};
    struct receipt receipt;
    assert_int_equal(receipt_decode(&receipt, slice_cstr(text), &err), OK);
    receipt_encode(&receipt, &bytes);
    assert_string_equal(buf_cstr(&bytes), text);
    receipt_free(&receipt);
    buf_free(&bytes);
}

/* ---- ledger ---- */

static void decompress(struct slice bytes, struct buf *out)
{
    unsigned long long size = ZSTD_getFrameContentSize(bytes.data, bytes.len);
    assert_true(size < 1 << 20);
    uint8_t *at = buf_extend(out, size);
    assert_int_equal(ZSTD_decompress(at, size, bytes.data, bytes.len), size);
}

static void ledger_compare(const char *name, const struct ledger *ledger)
{
    struct error err;
    struct buf bytes = {0};
    struct buf text = {0};
    struct buf again = {0};
    struct ledger *decoded = NULL;
    ledger_encode(ledger, &bytes);
    decompress(buf_slice(&bytes), &text);
    golden_compare(name, buf_slice(&text));
    assert_int_equal(ledger_decode(&decoded, buf_slice(&bytes), &err), OK);
    ledger_encode(decoded, &again);
    assert_true(slice_equal(buf_slice(&bytes), buf_slice(&again)));
    ledger_free(decoded);
    buf_free(&bytes);
    buf_free(&text);
    buf_free(&again);
}

static struct ledger *ledger_example(void)
{
    struct lost_range lost = {.from = 10, .to = 20, .events = 7, .reason = "records_gone"};
    struct ledger *ledger = ledger_make(UUID);
    ledger_set_snapshot_id(ledger, INT64_MAX);
    ledger_advance(ledger, STREAM, 400000, 1767225665000, NULL, 0);
    ledger_advance(ledger, "kafka/c/t/i/0/db.bid_requests", 30, 1767225666000, &lost, 1);
    ledger_advance(ledger, "a1b2/01930000-0000-7000-8000-000000000001/db.bid_requests", 5,
                   1767000000000, NULL, 0);
    return ledger;
}

static void ledger_has_its_shape(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_example();
    ledger_compare("ledger.json", ledger);
    assert_int_equal(ledger_retire(ledger, 1767100000000), 1);
    ledger_compare("ledger_floor.json", ledger);
    ledger_free(ledger);
}

/* A ledger that a release can't read any more would stop its table. */
static void ledger_of_version_1_is_still_read(void **state)
{
    (void)state;
    struct error err;
    struct buf bytes = {0};
    struct ledger *ledger = NULL;
    if (getenv("GOLDEN_UPDATE") != NULL) {
        struct ledger *example = ledger_example();
        ledger_encode(example, &bytes);
        assert_int_equal(
            file_replace("tests/golden/ledger.json.zst", buf_slice(&bytes), 0644, &err), OK);
        ledger_free(example);
        buf_reset(&bytes);
    }
    golden_read("ledger.json.zst", &bytes);
    assert_int_equal(ledger_decode(&ledger, buf_slice(&bytes), &err), OK);
    assert_int_equal(ledger_next(ledger, STREAM, NULL), 400000);
    assert_string_equal(ledger_table_uuid_borrow(ledger), UUID);
    assert_true(ledger_snapshot_id(ledger) == INT64_MAX);
    ledger_free(ledger);
    buf_free(&bytes);
}

static void ledger_keeps_keys_of_later_versions(void **state)
{
    (void)state;
    struct error err;
    struct buf text = {0};
    struct buf bytes = {0};
    struct ledger *ledger = NULL;
    golden_read("ledger_later.in.json", &text);
    uint8_t *at = buf_extend(&bytes, ZSTD_compressBound(text.len));
    bytes.len = ZSTD_compress(at, bytes.len, text.data, text.len, 1);
    int rc = ledger_decode(&ledger, buf_slice(&bytes), &err);
    if (rc != OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, OK);
    ledger_advance(ledger, STREAM, 9, 99, NULL, 0);
    ledger_compare("ledger_later.json", ledger);
    ledger_free(ledger);
    buf_free(&text);
    buf_free(&bytes);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(announcement_has_its_shape),
        cmocka_unit_test(announcement_of_a_loss_has_its_shape),
        cmocka_unit_test(detached_announcement_is_whole),
        cmocka_unit_test(announcement_keeps_keys_of_later_versions),
        cmocka_unit_test(receipts_have_their_shape),
        cmocka_unit_test(receipt_keeps_keys_of_later_versions),
        cmocka_unit_test(ledger_has_its_shape),
        cmocka_unit_test(ledger_of_version_1_is_still_read),
        cmocka_unit_test(ledger_keeps_keys_of_later_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
