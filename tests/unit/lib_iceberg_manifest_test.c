/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/iceberg/iceberg.h"
#include "lib/json/json.h"

enum { COLUMNS = 22 };

static json_t *parse(const char *text)
{
    struct error err;
    json_t *value;
    assert_int_equal(json_decode(&value, slice_cstr(text), &err), OK);
    return value;
}

static json_t *test_schema(void)
{
    return parse("{\"type\":\"struct\",\"schema-id\":0,\"fields\":["
                 "{\"id\":1,\"name\":\"ts\",\"required\":true,\"type\":\"timestamptz\"},"
                 "{\"id\":2,\"name\":\"country\",\"required\":false,\"type\":\"string\"},"
                 "{\"id\":3,\"name\":\"d\",\"required\":false,\"type\":\"decimal(9, 2)\"},"
                 "{\"id\":4,\"name\":\"x\",\"required\":false,\"type\":\"double\"}]}");
}

static json_t *test_spec(void)
{
    return parse(
        "{\"spec-id\":3,\"fields\":["
        "{\"source-id\":1,\"field-id\":1000,\"name\":\"ts_day\",\"transform\":\"day\"},"
        "{\"source-id\":2,\"field-id\":1001,\"name\":\"country\",\"transform\":\"identity\"},"
        "{\"source-id\":3,\"field-id\":1002,\"name\":\"9-d\",\"transform\":\"identity\"},"
        "{\"source-id\":4,\"field-id\":1003,\"name\":\"x\",\"transform\":\"identity\"}]}");
}

static struct manifest_entry test_entry(int64_t day, const char *country)
{
    return (struct manifest_entry){
        .status = 1,
        .path = "s3://b/t/data/a.parquet",
        .format = "PARQUET",
        .partition_count = 4,
        .partition = {{.number = day},
                      {.is_text = true, .text = slice_cstr(country)},
                      {.is_text = true, .text = slice_of("\xff\x00", 2)}, /* -256 */
                      {.number = 0x3ff8000000000000}},                    /* 1.5 */
        .record_count = 10,
        .file_size = 1000,
    };
}

struct fixture {
    json_t *schema;
    json_t *spec;
    struct buf bytes;
    struct arena arena;
    struct manifest_file summary;
    struct error err;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){.schema = test_schema(), .spec = test_spec()};
}

static void end(struct fixture *f)
{
    json_decref(f->schema);
    json_decref(f->spec);
    buf_free(&f->bytes);
    arena_free(&f->arena);
}

static int encode(struct fixture *f, const struct manifest_entry *entries, size_t count,
                  int version)
{
    buf_reset(&f->bytes);
    return manifest_encode(entries, count, f->schema, f->spec, version, 77, &f->bytes, &f->summary,
                           &f->arena, &f->err);
}

/* What a manifest says of a file is all that a reader knows of it. */
static void entries_come_back_as_they_were(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    const int64_t splits[] = {4, 500};
    struct file_bound bounds[] = {
        {1, 9, 10, 0, -1, true, true, slice_of("12345678", 8), slice_of("87654321", 8)},
        {2, 8, 10, 3, -1, true, false, slice_cstr(""), slice_of(NULL, 0)},
        {4, -1, -1, -1, 2, false, false, slice_of(NULL, 0), slice_of(NULL, 0)},
    };
    struct manifest_entry entry = test_entry(20454, "DEU");
    entry.partition[1] = (struct partition_value){.null = true};
    entry.bounds = bounds;
    entry.bound_count = 3;
    entry.splits = splits;
    entry.split_count = 2;
    entry.has_sort_order = true;
    entry.sort_order_id = 1;
    assert_int_equal(encode(&f, &entry, 1, 2), OK);
    f.summary.sequence_number = 5;
    struct manifest_entry *out;
    size_t count;
    assert_int_equal(
        manifest_decode(&out, &count, &f.arena, &f.summary, buf_slice(&f.bytes), &f.err), OK);
    assert_int_equal(count, 1);
    assert_string_equal(out->path, entry.path);
    assert_string_equal(out->format, "PARQUET");
    assert_int_equal(out->partition_count, 4);
    assert_int_equal(out->partition[0].number, 20454);
    assert_true(out->partition[1].null);
    assert_int_equal(out->partition[2].text.len, 4); /* decimal(9): 4 bytes, the sign filled up */
    assert_memory_equal(out->partition[2].text.data, "\xff\xff\xff\x00", 4);
    assert_int_equal(out->partition[3].number, 0x3ff8000000000000);
    assert_int_equal(out->bound_count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(out->bounds[i].field_id, bounds[i].field_id);
        assert_int_equal(out->bounds[i].size, bounds[i].size);
        assert_int_equal(out->bounds[i].values, bounds[i].values);
        assert_int_equal(out->bounds[i].nulls, bounds[i].nulls);
        assert_int_equal(out->bounds[i].nans, bounds[i].nans);
        assert_int_equal(out->bounds[i].has_lower, bounds[i].has_lower);
        assert_int_equal(out->bounds[i].has_upper, bounds[i].has_upper);
        assert_true(slice_equal(out->bounds[i].lower, bounds[i].lower));
        assert_true(slice_equal(out->bounds[i].upper, bounds[i].upper));
    }
    assert_int_equal(out->split_count, 2);
    assert_int_equal(out->splits[1], 500);
    assert_true(out->has_sort_order && out->sort_order_id == 1);
    assert_true(out->has_sequence_number && out->sequence_number == 5);
    assert_true(out->has_file_sequence_number && out->file_sequence_number == 5);
    assert_true(out->has_snapshot_id && out->snapshot_id == 77);
    end(&f);
}

/* A manifest whose summary is too narrow is skipped by readers, rows and all. */
static void summary_holds_all_entries(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct manifest_entry entries[3] = {test_entry(20454, "DEU"), test_entry(-3, "USA"),
                                        test_entry(20460, "AUT")};
    entries[1].partition[2].text = slice_of("\x05", 1);
    entries[1].partition[3].number = 0x7ff8000000000000; /* NaN */
    entries[2].partition[2].null = true;
    entries[2].status = 0;
    entries[2].has_snapshot_id = true;
    entries[2].has_sequence_number = true;
    entries[2].has_file_sequence_number = true;
    entries[2].sequence_number = 3;
    assert_int_equal(encode(&f, entries, 3, 2), OK);
    const struct manifest_file *s = &f.summary;
    assert_int_equal(s->length, f.bytes.len);
    assert_int_equal(s->spec_id, 3);
    assert_int_equal(s->added_files, 2);
    assert_int_equal(s->existing_files, 1);
    assert_int_equal(s->added_rows, 20);
    assert_int_equal(s->min_sequence_number, 3);
    assert_int_equal(s->sequence_number, -1);
    assert_int_equal(s->summary_count, 4);
    assert_int_equal((int32_t)get_u32le(s->summaries[0].lower.data), -3);
    assert_int_equal(s->summaries[0].upper.len, 4);
    assert_int_equal(get_u32le(s->summaries[0].upper.data), 20460);
    assert_true(slice_is(s->summaries[1].lower, "AUT"));
    assert_true(slice_is(s->summaries[1].upper, "USA"));
    assert_true(s->summaries[2].contains_null);
    assert_true(slice_equal(s->summaries[2].lower, slice_of("\xff\x00", 2)));
    assert_true(slice_equal(s->summaries[2].upper, slice_of("\x05", 1)));
    assert_true(s->summaries[3].contains_nan && s->summaries[3].has_bounds);
    assert_int_equal(get_u64le(s->summaries[3].upper.data), 0x3ff8000000000000);
    end(&f);
}

/* Each of these would be read as something else, without an error, years later. */
static void wrong_entries_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct manifest_entry entry = test_entry(1, "DEU");
    entry.status = 0; /* existing, without its sequence numbers */
    assert_int_equal(encode(&f, &entry, 1, 2), ERROR_INPUT);
    entry = test_entry(1, "DEU");
    entry.content = 1;
    assert_int_equal(encode(&f, &entry, 1, 2), ERROR_INPUT);
    entry = test_entry(1, "DEU");
    entry.partition_count = 3;
    assert_int_equal(encode(&f, &entry, 1, 2), ERROR_INPUT);
    entry = test_entry(INT64_C(1) << 40, "DEU"); /* no day */
    assert_int_equal(encode(&f, &entry, 1, 2), ERROR_INPUT);
    entry = test_entry(1, "DEU");
    entry.partition[1] = (struct partition_value){.number = 5}; /* no text */
    assert_int_equal(encode(&f, &entry, 1, 2), ERROR_INPUT);
    entry = test_entry(1, "DEU");
    json_t *field = json_array_get(json_object_get(f.spec, "fields"), 0);
    json_object_set_new(field, "transform", json_string("zorder"));
    assert_int_equal(encode(&f, &entry, 1, 2), ERROR_INPUT);
    assert_non_null(strstr(f.err.text, "zorder"));
    end(&f);
}

/* v3: null row ids are the manifest's, counted on; a wrong one gives two rows one id. */
static void row_ids_are_inherited_in_order(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct manifest_entry entries[3] = {test_entry(1, "A"), test_entry(2, "B"), test_entry(3, "C")};
    entries[1].has_first_row_id = true;
    entries[1].first_row_id = 7;
    assert_int_equal(encode(&f, entries, 3, 3), OK);
    f.summary.has_first_row_id = true;
    f.summary.first_row_id = 1000;
    struct manifest_entry *out;
    size_t count;
    assert_int_equal(
        manifest_decode(&out, &count, &f.arena, &f.summary, buf_slice(&f.bytes), &f.err), OK);
    assert_int_equal(out[0].first_row_id, 1000);
    assert_int_equal(out[1].first_row_id, 7);
    assert_int_equal(out[2].first_row_id, 1010);
    end(&f);
}

/* Carried-over records must be copied to the letter, or older data changes its meaning. */
static void manifest_list_comes_back_as_it_was(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err;
    struct field_summary summaries[2] = {
        {.contains_null = true,
         .has_nan = true,
         .has_bounds = true,
         .lower = slice_cstr("a"),
         .upper = slice_cstr("b")},
        {.contains_null = false},
    };
    struct manifest_file files[3] = {
        {.path = "s3://b/m0",
         .length = 10,
         .spec_id = 1,
         .sequence_number = -1,
         .min_sequence_number = -1,
         .added_snapshot_id = 9,
         .added_files = 1,
         .added_rows = 5,
         .summary_count = 2,
         .summaries = summaries,
         .has_first_row_id = true,
         .first_row_id = 40},
        {.path = "s3://b/m1",
         .length = 11,
         .content = 1,
         .sequence_number = 3,
         .min_sequence_number = 2,
         .added_snapshot_id = INT64_MAX,
         .deleted_files = 4,
         .deleted_rows = 6,
         .existing_files = -1,
         .has_key_metadata = true,
         .key_metadata = slice_cstr("k")},
        {.path = "s3://b/m2", .length = 12, .summaries = summaries},
    };
    for (int version = 2; version <= 3; version++) {
        struct buf bytes = {0};
        struct manifest_file *out;
        size_t count;
        manifest_list_encode(files, 3, version, 9, -1, 8, &bytes);
        assert_int_equal(manifest_list_decode(&out, &count, &arena, buf_slice(&bytes), &err), OK);
        assert_int_equal(count, 3);
        assert_int_equal(out[0].sequence_number, 8);
        assert_int_equal(out[0].min_sequence_number, 8);
        assert_int_equal(out[0].summary_count, 2);
        assert_true(out[0].summaries[0].contains_null && out[0].summaries[0].has_bounds);
        assert_true(slice_is(out[0].summaries[0].upper, "b"));
        assert_false(out[0].summaries[1].has_nan || out[0].summaries[1].has_bounds);
        assert_int_equal(out[0].has_first_row_id, version == 3);
        assert_int_equal(out[1].sequence_number, 3);
        assert_int_equal(out[1].min_sequence_number, 2);
        assert_true(out[1].added_snapshot_id == INT64_MAX);
        assert_int_equal(out[1].content, 1);
        assert_int_equal(out[1].existing_files, 1); /* unknown: some */
        assert_int_equal(out[1].deleted_rows, 6);
        assert_null(out[1].summaries);
        assert_true(out[1].has_key_metadata && slice_is(out[1].key_metadata, "k"));
        assert_non_null(out[2].summaries);
        assert_int_equal(out[2].summary_count, 0);
        buf_free(&bytes);
    }
    arena_free(&arena);
}

/* Damage at any byte ends in an error or in bounded values, never in a crash. */
static void damage_does_no_harm(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct manifest_entry entry = test_entry(20454, "DEU");
    assert_int_equal(encode(&f, &entry, 1, 3), OK);
    size_t refused = 0;
    for (size_t i = 0; i < f.bytes.len; i++) {
        struct manifest_entry *out;
        size_t count;
        struct arena arena = {0};
        f.bytes.data[i] ^= 0x55;
        int rc = manifest_decode(&out, &count, &arena, &f.summary, buf_slice(&f.bytes), &f.err);
        refused += rc != OK;
        f.bytes.data[i] ^= 0x55;
        arena_free(&arena);
    }
    assert_true(refused > f.bytes.len / 4);
    end(&f);
}

/* A turn over 10,000 files has five seconds in all: encoding them may not
 * take one of them, even in a sanitizer build. */
static void ten_thousand_files_are_quick(void **state)
{
    (void)state;
    enum { FILES = 10000 };
    struct fixture f;
    begin(&f);
    struct file_bound bounds[COLUMNS];
    for (int i = 0; i < COLUMNS; i++)
        bounds[i] = (struct file_bound){i + 1,
                                        1000,
                                        1000,
                                        0,
                                        -1,
                                        true,
                                        true,
                                        slice_of("0123456789abcdef", 16),
                                        slice_of("0123456789abcdef", 16)};
    struct manifest_entry *entries = calloc(FILES, sizeof *entries);
    for (int i = 0; i < FILES; i++) {
        entries[i] = test_entry(i % 30, "DEU");
        entries[i].bounds = bounds;
        entries[i].bound_count = COLUMNS;
    }
    int64_t start = clock_thread_cpu_ns();
    assert_int_equal(encode(&f, entries, FILES, 2), OK);
    int64_t encoded = clock_thread_cpu_ns();
    struct manifest_entry *out;
    size_t count;
    assert_int_equal(
        manifest_decode(&out, &count, &f.arena, &f.summary, buf_slice(&f.bytes), &f.err), OK);
    int64_t decoded = clock_thread_cpu_ns();
    assert_int_equal(count, FILES);
    assert_int_equal(out[FILES - 1].bound_count, COLUMNS);
    print_message("%zu bytes: encode %lld us, decode %lld us\n", f.bytes.len,
                  (long long)(encoded - start) / 1000, (long long)(decoded - encoded) / 1000);
    assert_true(encoded - start < 2000000000);
    free(entries);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_back_as_they_were),
        cmocka_unit_test(summary_holds_all_entries),
        cmocka_unit_test(wrong_entries_are_refused),
        cmocka_unit_test(row_ids_are_inherited_in_order),
        cmocka_unit_test(manifest_list_comes_back_as_it_was),
        cmocka_unit_test(damage_does_no_harm),
        cmocka_unit_test(ten_thousand_files_are_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
