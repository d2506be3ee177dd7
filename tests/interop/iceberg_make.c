/* SPDX-License-Identifier: Apache-2.0
 *
 * Iceberg metadata by our own functions, for iceberg_manifest.py to hold against
 * PyIceberg's:
 *
 *   iceberg_make table DIR FILE ROWS VERSION   a table at DIR of one Parquet file (columns
 *                                      id long, day-partitioned ts, country string);
 *                                      prints the path of its metadata
 *   iceberg_make list FILE             a manifest list's records, a line each
 *   iceberg_make manifest FILE         a manifest's entries, a line each
 *   iceberg_make metadata FILE         decodes, encodes again to stdout
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"
#include "lib/json/json.h"

static struct error err;

static void must(int rc)
{
    if (rc == OK)
        return;
    fprintf(stderr, "iceberg_make: %s\n", err.text);
    exit(1);
}

static json_t *parse(const char *text)
{
    json_t *value;
    must(json_decode(&value, slice_cstr(text), &err));
    return value;
}

static char *write_file(const char *directory, const char *name, const struct buf *bytes)
{
    char *path = memory_printf("%s/metadata/%s", directory, name);
    must(file_replace(path, buf_slice(bytes), 0644, &err));
    return path;
}

static const char *const uuids[] = {"0193a1b2-0000-7000-8000-000000000001",
                                    "0193a1b2-0000-7000-8000-000000000002"};

static json_t *create(const char *location, int64_t version)
{
    json_t *request = parse(
        "{\"schema\":{\"type\":\"struct\",\"fields\":["
        "{\"id\":1,\"name\":\"id\",\"required\":true,\"type\":\"long\"},"
        "{\"id\":2,\"name\":\"ts\",\"required\":false,\"type\":\"timestamptz\"},"
        "{\"id\":3,\"name\":\"country\",\"required\":false,\"type\":\"string\"},"
        "{\"id\":4,\"name\":\"price\",\"required\":false,\"type\":\"double\"},"
        "{\"id\":5,\"name\":\"cat\",\"required\":false,\"type\":{\"type\":\"list\","
        "\"element-id\":6,\"element\":\"string\",\"element-required\":false}}]},"
        "\"partition-spec\":{\"fields\":[{\"source-id\":2,\"name\":\"ts_day\",\"transform\":"
        "\"day\"},"
        "{\"source-id\":3,\"name\":\"country\",\"transform\":\"identity\"}]},"
        "\"write-order\":{\"order-id\":1,\"fields\":[{\"transform\":\"identity\",\"source-id\":1,"
        "\"direction\":\"asc\",\"null-order\":\"nulls-first\"}]},"
        "\"properties\":{\"owner\":\"test\"}}");
    json_t *metadata;
    must(metadata_create(&metadata, request, uuids[0], location, 1767225600000, &err));
    json_decref(request);
    if (version == 3) {
        json_t *updates = parse("[{\"action\":\"upgrade-format-version\",\"format-version\":3}]");
        json_t *upgraded;
        must(metadata_apply(&upgraded, metadata, "", updates, 1767225600000, &err));
        json_decref(metadata);
        json_decref(updates);
        metadata = upgraded;
    }
    return metadata;
}

static char *write_metadata(const char *directory, const char *previous, const json_t *metadata)
{
    struct buf name = {0};
    struct buf bytes = {0};
    metadata_file_name(previous, uuids[1], &name);
    metadata_encode(metadata, &bytes);
    char *path = write_file(directory, buf_cstr(&name), &bytes);
    buf_free(&name);
    buf_free(&bytes);
    return path;
}

static struct manifest_entry entry_of(const char *path, int64_t rows, struct file_bound *bounds)
{
    static const int64_t splits[] = {4};
    static const uint8_t low[8] = {0};
    static uint8_t high[8];
    struct stat info;
    if (stat(path, &info) < 0)
        must(error_errno(&err, path));
    put_u64le(high, (uint64_t)rows - 1);
    bounds[0] = (struct file_bound){.field_id = 1,
                                    .size = 100,
                                    .values = rows,
                                    .nulls = 0,
                                    .nans = -1,
                                    .has_lower = true,
                                    .has_upper = true,
                                    .lower = slice_of(low, 8),
                                    .upper = slice_of(high, 8)};
    bounds[1] =
        (struct file_bound){.field_id = 4, .size = 50, .values = rows, .nulls = 1, .nans = 2};
    return (struct manifest_entry){
        .status = 1,
        .path = path,
        .format = "PARQUET",
        .partition_count = 2,
        .partition = {{.number = 20454}, {.is_text = true, .text = slice_cstr("DEU")}},
        .record_count = rows,
        .file_size = info.st_size,
        .bound_count = 2,
        .bounds = bounds,
        .split_count = 1,
        .splits = splits,
        .has_sort_order = true,
        .sort_order_id = 1,
    };
}

static json_t *append(const char *directory, const json_t *base, const char *file, int64_t rows)
{
    const int64_t snapshot_id = 4611686018427387905; /* a double would lose its last bit */
    struct arena arena = {0};
    struct buf bytes = {0};
    struct file_bound bounds[2];
    struct manifest_file summary;
    int version = (int)metadata_format_version(base);
    struct manifest_entry entry = entry_of(file, rows, bounds);
    must(manifest_encode(&entry, 1, metadata_current_schema_borrow(base),
                         metadata_spec_borrow(base, 0), version, snapshot_id, &bytes, &summary,
                         &arena, &err));
    char *manifest = write_file(directory, "test-m0.avro", &bytes);
    summary.path = manifest;
    summary.has_first_row_id = version == 3;
    buf_reset(&bytes);
    manifest_list_encode(&summary, 1, version, snapshot_id, -1, 1, &bytes);
    char *list = write_file(directory, "snap-test.avro", &bytes);
    json_t *snapshot = json_pack("{s:I,s:i,s:I,s:s,s:{s:s,s:s},s:i,s:i,s:I}", "snapshot-id",
                                 (json_int_t)snapshot_id, "sequence-number", 1, "timestamp-ms",
                                 (json_int_t)1767225660000, "manifest-list", list, "summary",
                                 "operation", "append", "added-data-files", "1", "schema-id", 0,
                                 "first-row-id", 0, "added-rows", (json_int_t)rows);
    json_t *updates = json_pack("[{s:s,s:o},o]", "action", "add-snapshot", "snapshot", snapshot,
                                metadata_main_update(base, snapshot_id));
    json_t *metadata;
    must(iceberg_check_writable(base, &err));
    must(metadata_apply(&metadata, base, "", updates, 1767225660000, &err));
    json_decref(updates);
    free(manifest);
    free(list);
    buf_free(&bytes);
    arena_free(&arena);
    return metadata;
}

static void make_table(char **args)
{
    char *metadata_directory = memory_printf("%s/metadata", args[0]);
    must(file_make_directories(metadata_directory, 0755, &err));
    json_t *first = create(args[0], strtoll(args[3], NULL, 10));
    char *path = write_metadata(args[0], NULL, first);
    json_t *second = append(args[0], first, args[1], strtoll(args[2], NULL, 10));
    char *last = write_metadata(args[0], path, second);
    printf("%s\n", last);
    json_decref(first);
    json_decref(second);
    free(metadata_directory);
    free(path);
    free(last);
}

static void print_list(struct slice bytes, struct arena *arena)
{
    struct manifest_file *files;
    size_t count;
    must(manifest_list_decode(&files, &count, arena, bytes, &err));
    for (size_t i = 0; i < count; i++)
        printf("{\"path\":\"%s\",\"length\":%lld,\"sequence_number\":%lld,\"added_files\":%d,"
               "\"added_rows\":%lld,\"summaries\":%zu}\n",
               files[i].path, (long long)files[i].length, (long long)files[i].sequence_number,
               files[i].added_files, (long long)files[i].added_rows, files[i].summary_count);
}

static void print_entry(const struct manifest_entry *entry)
{
    printf("{\"status\":%d,\"path\":\"%s\",\"rows\":%lld,\"size\":%lld,\"partition\":[",
           entry->status, entry->path, (long long)entry->record_count, (long long)entry->file_size);
    for (size_t i = 0; i < entry->partition_count; i++) {
        const struct partition_value *value = &entry->partition[i];
        if (value->null)
            printf("%snull", i > 0 ? "," : "");
        else if (value->is_text)
            printf("%s\"%.*s\"", i > 0 ? "," : "", (int)value->text.len,
                   (const char *)value->text.data);
        else
            printf("%s%lld", i > 0 ? "," : "", (long long)value->number);
    }
    printf("],\"splits\":%zu,\"metrics\":{", entry->split_count);
    for (size_t i = 0; i < entry->bound_count; i++) {
        const struct file_bound *bound = &entry->bounds[i];
        char *lower = memory_alloc(2 * bound->lower.len + 1, 1);
        char *upper = memory_alloc(2 * bound->upper.len + 1, 1);
        hex_encode(bound->lower, lower);
        hex_encode(bound->upper, upper);
        printf("%s\"%d\":[%lld,%lld,%lld,%lld,\"%s\",\"%s\"]", i > 0 ? "," : "", bound->field_id,
               (long long)bound->size, (long long)bound->values, (long long)bound->nulls,
               (long long)bound->nans, lower, upper);
        free(lower);
        free(upper);
    }
    printf("}}\n");
}

static void print_manifest(struct slice bytes, struct arena *arena)
{
    struct manifest_entry *entries;
    size_t count;
    must(manifest_decode(&entries, &count, arena, NULL, bytes, &err));
    for (size_t i = 0; i < count; i++)
        print_entry(&entries[i]);
}

static void print_metadata(struct slice bytes)
{
    json_t *metadata;
    struct buf out = {0};
    must(metadata_decode(&metadata, bytes, &err));
    metadata_encode(metadata, &out);
    printf("%s\n", buf_cstr(&out));
    json_decref(metadata);
    buf_free(&out);
}

int main(int argc, char **argv)
{
    struct buf bytes = {0};
    struct arena arena = {0};
    if (argc == 6 && strcmp(argv[1], "table") == 0) {
        make_table(argv + 2);
        return 0;
    }
    if (argc != 3) {
        fprintf(stderr,
                "usage: iceberg_make table DIR FILE ROWS VERSION | list FILE | manifest FILE"
                " | metadata FILE\n");
        return 2;
    }
    must(file_read(argv[2], 64 << 20, &bytes, &err));
    if (strcmp(argv[1], "list") == 0)
        print_list(buf_slice(&bytes), &arena);
    else if (strcmp(argv[1], "manifest") == 0)
        print_manifest(buf_slice(&bytes), &arena);
    else
        print_metadata(buf_slice(&bytes));
    buf_free(&bytes);
    arena_free(&arena);
    return 0;
}
