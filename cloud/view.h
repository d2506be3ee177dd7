/* SPDX-License-Identifier: Apache-2.0
 *
 * view.h: bidlake-table's look into a table: one load, its current snapshot's manifests,
 * and lists that print as columns or as JSON. Reads only (but for ledger --skip).
 */
#ifndef CLOUD_VIEW_H
#define CLOUD_VIEW_H

#include "cloud/config.h"
#include "cloud/snapshot.h"
#include "lib/base/arena.h"
#include "lib/iceberg/iceberg.h"
#include "lib/parquet/parquet.h"

struct view {
    const struct service *service;
    const struct config *config;
    struct table_name table;
    struct catalog_table loaded;
    const json_t *metadata;
    const json_t *snapshot; /* of main; NULL: none */
    struct arena arena;
    size_t manifest_count;
    struct manifest_file *manifests;
};

/* `name` without a dot is in the configured namespace. */
int view_open(struct view *out, const struct service *service, const struct config *config,
              const char *name, struct error *err) MUST_USE;
void view_close(struct view *view);

/* Live entries of all manifests (delete files too: entry.content). Stops when it fails. */
typedef int view_visit(void *context, const struct manifest_file *manifest,
                       const struct manifest_entry *entry, struct error *err);
int view_each(const struct view *view, view_visit *visit, void *context,
              struct error *err) MUST_USE;

/* The field with that id; NULL. */
const json_t *view_column(const struct view *view, int64_t field_id);

/* Reads all of a data file's pages, a row group at a time, and says what is wrong with them. */
int view_pages_check(const struct view *view, const char *key, const struct parquet_footer *footer,
                     struct parquet_pages *pages, struct error *err) MUST_USE;

/* Texts; in the buffer. */
void view_time(int64_t ms, struct buf *out);
/* "event_timestamp_day=2026-01-01/device_geo_country=USA" by the entry's spec. */
void view_partition(const struct view *view, int32_t spec_id, const struct manifest_entry *entry,
                    struct buf *out);
void view_partition_value(const json_t *field, const struct partition_value *value,
                          struct buf *out);

/* Takes an array of objects with the same keys and prints it. */
void view_print_rows(json_t *rows, bool as_json);
/* A line "what value" on stdout, and one of an error on stderr. What names and servers' words
 * hold is shown without what commands a terminal, as in rows. */
void view_print_pair(const char *what, const char *value);
void view_complain(const struct error *err);
/* A text that a stranger wrote: what is no UTF-8 becomes "?". */
json_t *view_text(const char *text);

/* The commands: an exit status. */
int command_ls(const struct service *service, const struct config *config, struct error *err);
int command_show(struct view *view, struct error *err);
int command_snapshots(struct view *view, struct error *err);
int command_files(struct view *view, struct error *err);
int command_partitions(struct view *view, struct error *err);
int command_count(struct view *view, struct error *err);
int command_check(struct view *view, struct error *err);
int command_ledger(struct view *view, struct error *err);

#endif
