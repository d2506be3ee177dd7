/* SPDX-License-Identifier: Apache-2.0
 *
 * One Parquet file through the real path, for catalog_readers.py:
 *
 *   catalog_make DIR FILE FROM ROWS DAY SPEC   init, put FILE as a data file, announce [FROM,
 *                                              FROM + ROWS), commit: DIR/catalog.db, DIR/wh
 */
#include <stdio.h>
#include <stdlib.h>

#include "cloud/commit.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "tests/unit/cloud_mapping.h"

#define TABLE "db.t"
#define STREAM "edge/01900000-0000-7000-8000-000000000001/" TABLE

static struct error err;

static void must(int rc)
{
    if (rc == OK)
        return;
    fprintf(stderr, "catalog_make: %s\n", err.text);
    exit(1);
}

static void announce(struct objstore *store, const struct mapping *mapping, const struct buf *file,
                     uint64_t from, uint64_t rows, int64_t day, int32_t spec)
{
    struct announcement a;
    struct buf path = {0};
    struct buf key = {0};
    struct buf bytes = {0};
    data_file_path(NULL, STREAM, from, from + rows, 0, &path);
    key_of_data_file(TABLE, buf_cstr(&path), &key);
    must(objstore_put_bytes(store, buf_cstr(&key), buf_slice(file), PUT_IF_ABSENT, &err));
    struct data_file data = {
        .path = buf_cstr(&path),
        .size = file->len,
        .crc32c = crc32c(0, buf_slice(file)),
        .rows = rows,
        .spec = spec,
        .sort = 1,
        .partition_count = spec == 0 ? 2 : 1,
        .partition = {{.number = day}, {.is_text = true, .text = slice_cstr("DEU")}},
    };
    announcement_init(&a);
    a.stream = STREAM;
    a.agent = "edge";
    a.from = from;
    a.to = from + rows;
    a.table = TABLE;
    a.schema = table_schema_to_iceberg(&mapping->schema);
    a.writer = "catalog_make";
    a.events = a.rows = rows;
    a.file_count = 1;
    a.files = &data;
    announcement_encode(&a, &bytes);
    buf_reset(&key);
    key_of_announcement(TABLE, STREAM, from, &key);
    must(objstore_put_bytes(store, buf_cstr(&key), buf_slice(&bytes), PUT_ALWAYS, &err));
    announcement_free(&a);
    buf_free(&path);
    buf_free(&key);
    buf_free(&bytes);
}

int main(int argc, char **argv)
{
    struct committer committer = {0};
    struct commit_report report = {0};
    struct mapping mapping;
    struct buf file = {0};
    struct objstore_options store_options = {0};
    if (argc != 7)
        return 2;
    fixture_mapping(&mapping);
    char *url = memory_printf("%s/wh", argv[1]);
    char *spec = memory_printf("sqlite:%s/catalog.db", argv[1]);
    must(objstore_open(&committer.store, url, &store_options, &err));
    struct catalog_options catalog_options = {.store = committer.store};
    must(catalog_open(&committer.catalog, spec, &catalog_options, &err));
    must(commit_init_table(&committer, "db", &mapping, &report, &err));
    must(file_read(argv[2], 1 << 20, &file, &err));
    announce(committer.store, &mapping, &file, strtoull(argv[3], NULL, 10),
             strtoull(argv[4], NULL, 10), strtoll(argv[5], NULL, 10),
             (int32_t)strtol(argv[6], NULL, 10));
    must(commit_turn_table(&committer, TABLE, &report, &err));
    for (size_t i = 0; i < report.note_count; i++)
        fprintf(stderr, "%s\n", report.notes[i].text);
    printf("taken %zu snapshot %lld\n", report.taken, (long long)report.snapshot_id);
    commit_report_free(&report);
    table_schema_free(&mapping.schema);
    buf_free(&file);
    catalog_close(committer.catalog);
    objstore_close(committer.store);
    free(url);
    free(spec);
    return 0;
}
