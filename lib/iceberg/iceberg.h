/* SPDX-License-Identifier: Apache-2.0
 *
 * iceberg.h: table metadata, manifest lists and manifests, as the Iceberg table
 * spec (format versions 1 to 3) has them. We write v2 and leave what we don't know
 * as it is; v1 tables and ones with unknown requirements are refused by
 * iceberg_check_writable before anything is written.
 *
 * Metadata is a jansson document: unknown keys stay, integers are 64 bit.
 * Pure: bytes in, bytes out; no I/O, no clock, no random numbers.
 */
#ifndef LIB_ICEBERG_ICEBERG_H
#define LIB_ICEBERG_ICEBERG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/schema/schema.h"

enum {
    METADATA_BYTES_MAX = 256 << 20,
    MANIFEST_BYTES_MAX = 512 << 20,
    MANIFEST_PARTITION_MAX = 16, /* fields of a spec: more than we make, others do */
};

/* ---- table metadata ---- */

/* Plain or gzip; structure, ids, refs and logs checked as far as we rely on them. */
int metadata_decode(json_t **out, struct slice bytes, struct error *err) MUST_USE;
/* The same for a document that has come as part of another. */
int metadata_check(const json_t *metadata, struct error *err) MUST_USE;
void metadata_encode(const json_t *metadata, struct buf *out);

/* A new v2 table from REST's CreateTableRequest fields (schema, partition-spec,
 * write-order, properties, location). Field ids are taken as given. */
int metadata_create(json_t **out, const json_t *request, const char *uuid, const char *location,
                    int64_t now_ms, struct error *err) MUST_USE;

/* REST's requirements against this metadata: ERROR_CONFLICT names the one that fails,
 * ERROR_INPUT one that we don't know. */
int metadata_check_requirements(const json_t *metadata, const json_t *requirements,
                                struct error *err) MUST_USE;

/* Applies REST's updates to a copy: add-schema, set-current-schema, add-spec,
 * set-default-spec, add-sort-order, set-default-sort-order, add-snapshot,
 * set-snapshot-ref, remove-snapshots, remove-snapshot-ref, set-properties,
 * remove-properties, set-location, assign-uuid, upgrade-format-version; others are ERROR_INPUT.
 * Keeps snapshot-log, metadata-log (previous file: base_location, "" for none),
 * last-sequence-number, last-updated-ms by the spec's rules. */
int metadata_apply(json_t **out, const json_t *base, const char *base_location,
                   const json_t *updates, int64_t now_ms, struct error *err) MUST_USE;

/* What a writer must know to append; refuses v1, v3 features that we don't keep (row
 * lineage is kept, encryption is refused), unknown transforms in the specs used. */
int iceberg_check_writable(const json_t *metadata, struct error *err) MUST_USE;

/* The set-snapshot-ref update that moves main, with the retention that main has. New. */
json_t *metadata_main_update(const json_t *metadata, int64_t snapshot_id);

const char *metadata_uuid_borrow(const json_t *metadata);
const char *metadata_location_borrow(const json_t *metadata);
int64_t metadata_last_sequence_number(const json_t *metadata);
int64_t metadata_format_version(const json_t *metadata);
int64_t metadata_current_snapshot_id(const json_t *metadata); /* of main; -1: none */
int64_t metadata_last_updated_ms(const json_t *metadata);
json_t *metadata_snapshot_borrow(const json_t *metadata, int64_t snapshot_id); /* NULL */
const char *metadata_property_borrow(const json_t *metadata, const char *key); /* NULL */
/* Of the table's properties; what is not there, no number or below 0 is `otherwise`. */
int64_t metadata_property_i64(const json_t *metadata, const char *key, int64_t otherwise);
bool metadata_property_bool(const json_t *metadata, const char *key, bool otherwise);
json_t *metadata_current_schema_borrow(const json_t *metadata);
json_t *metadata_spec_borrow(const json_t *metadata, int64_t spec_id); /* NULL */

/* Appends the URL of the directory for metadata files, manifests and manifest lists. */
void metadata_directory(const json_t *metadata, struct buf *out);

/* The name of the metadata file after `location` ("00012-<uuid>.metadata.json"; the
 * first for NULL), without directory. */
void metadata_file_name(const char *location, const char *uuid, struct buf *out);

/* ---- schemas ---- */

/* How an announced schema stands to the table's current one, by field ids. */
enum schema_relation {
    SCHEMA_SAME,    /* every announced column is there with the same name and type */
    SCHEMA_REFUSED, /* another type, another name for an id, an unknown column, a required one
                     * left out */
};
enum schema_relation schema_compare(const json_t *announced, const json_t *table, char *why,
                                    size_t why_size);

/* ---- manifests ---- */

/* Sequence numbers of -1 are the commit's own (manifest_encode leaves them so). Counts of
 * -1 are not known (v1). summaries: NULL where the list has none. */
struct manifest_file { /* one record of a manifest list */
    const char *path;
    int64_t length;
    int32_t spec_id;
    int32_t content; /* 0 data, 1 deletes */
    int64_t sequence_number;
    int64_t min_sequence_number;
    int64_t added_snapshot_id;
    int32_t added_files, existing_files, deleted_files;
    int64_t added_rows, existing_rows, deleted_rows;
    size_t summary_count;
    struct field_summary {
        bool contains_null;
        bool has_nan;
        bool contains_nan;
        bool has_bounds;
        struct slice lower, upper;
    } * summaries;
    bool has_key_metadata;
    struct slice key_metadata;
    bool has_first_row_id;
    int64_t first_row_id;
};

/* Format version 2 or 3; parent -1: none. Records are written as given, but for -1. */
void manifest_list_encode(const struct manifest_file *files, size_t count, int format_version,
                          int64_t snapshot_id, int64_t parent_id, int64_t sequence_number,
                          struct buf *out);
/* v1 lists too, with the spec's defaults. Everything lives in `arena`. */
int manifest_list_decode(struct manifest_file **out, size_t *count, struct arena *arena,
                         struct slice bytes, struct error *err) MUST_USE;

struct file_bound {
    int32_t field_id;
    int64_t size; /* -1: not given, as the next three */
    int64_t values, nulls, nans;
    bool has_lower, has_upper;
    struct slice lower, upper;
};

struct manifest_entry {
    int32_t status; /* 0 existing, 1 added, 2 deleted */
    bool has_snapshot_id, has_sequence_number, has_file_sequence_number;
    int64_t snapshot_id, sequence_number, file_sequence_number;
    int32_t content;
    const char *path;
    const char *format; /* "PARQUET" */
    size_t partition_count;
    struct partition_value partition[MANIFEST_PARTITION_MAX];
    int64_t record_count;
    int64_t file_size;
    size_t bound_count;
    struct file_bound *bounds;
    size_t split_count;
    const int64_t *splits;
    bool has_sort_order;
    int32_t sort_order_id;
    bool has_first_row_id;
    int64_t first_row_id;
    bool partial; /* read: it has more than is kept here, so it must not be written anew */
};

/* One manifest of one spec. schema and spec are the table's JSON (spec: the object
 * with spec-id and fields). The record of the manifest list that stands for it is
 * filled in `summary` (its path is the caller's; arrays in `arena`). */
int manifest_encode(const struct manifest_entry *entries, size_t count, const json_t *schema,
                    const json_t *spec, int format_version, int64_t snapshot_id, struct buf *out,
                    struct manifest_file *summary, struct arena *arena, struct error *err) MUST_USE;
/* Sequence numbers, snapshot ids and row ids are inherited from `list` where null; a NULL
 * list: they stay unset. Codecs null, deflate, zstandard. */
int manifest_decode(struct manifest_entry **out, size_t *count, struct arena *arena,
                    const struct manifest_file *list, struct slice bytes,
                    struct error *err) MUST_USE;

#endif
