/* SPDX-License-Identifier: Apache-2.0
 *
 * One read transaction of the spool spans one segment's build, since the index points
 * into the map. What is damaged is found in a first pass over the blocks and declared
 * lost before anything is written, so that the build itself sees only whole ones.
 */
#include "agent/roller.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/roller_gather.h"
#include "agent/roller_index.h"
#include "lib/base/assert.h"
#include "lib/base/fault.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/parquet/parquet.h"
#include "uploader/uploader.h"

enum {
    ROW_GROUP_ROWS = 250000,
    ROW_GROUP_ELEMENTS = 1 << 20, /* of lists: 16 MiB gathered */
    SINK_BUFFER = 1 << 20,
    BUILD_TRIES_MAX = 100,
    TRIM_ROWS = 100000, /* sorting as many leaves megabytes free */
};

/* All of one build. */
struct build {
    const struct roller_options *options;
    const struct spool_segment *segment;
    struct roller_statistics *statistics;
    struct table_schema schema; /* as spooled, bound to the contract */
    struct roller_index index;
    struct announcement announcement;
    struct parquet_field *fields;
    char *iceberg_schema;
};

/* ---- the file ---- */

struct file_sink {
    int fd;
    struct buf buffer;
    int64_t write_ns;
};

static int sink_flush(struct file_sink *sink, struct error *err)
{
    int64_t start_ns = clock_thread_cpu_ns();
    int rc = file_write_all(sink->fd, buf_slice(&sink->buffer), err);
    buf_reset(&sink->buffer);
    sink->write_ns += clock_thread_cpu_ns() - start_ns;
    return rc;
}

static int sink_write(void *context, struct slice bytes, struct error *err)
{
    struct file_sink *sink = context;
    buf_put_slice(&sink->buffer, bytes);
    return sink->buffer.len >= SINK_BUFFER ? sink_flush(sink, err) : OK;
}

/* ---- one file ---- */

static void note_partition(const struct build *build, const struct planned_file *plan,
                           struct data_file *file, struct arena *arena)
{
    const struct partition_spec *spec = &build->schema.specs[plan->spec];
    file->partition_count = spec->field_count;
    for (size_t i = 0; i < spec->field_count; i++) {
        file->partition[i] = plan->values[i];
        file->partition[i].text = arena_copy(arena, plan->values[i].text);
    }
}

/* Size, checksum and, but for `without`, the columns' metrics. */
static void note_metrics(struct data_file *file, const struct parquet_result *result, bool without,
                         struct arena *arena)
{
    file->size = result->file_size;
    file->crc32c = result->crc32c;
    file->rows = result->row_count;
    file->split_count = result->split_count;
    file->splits = arena_alloc(arena, result->split_count, sizeof *file->splits);
    memcpy(file->splits, result->splits, result->split_count * sizeof *file->splits);
    if (without)
        return;
    file->metric_count = result->metric_count;
    file->metrics = arena_alloc(arena, result->metric_count, sizeof *file->metrics);
    for (size_t i = 0; i < result->metric_count; i++) {
        const struct parquet_metric *from = &result->metrics[i];
        file->metrics[i] = (struct file_metric){
            .field_id = from->field_id,
            .size = from->size,
            .values = from->value_count,
            .nulls = from->null_count,
            .nans = from->nan_count,
            .has_lower = from->has_bounds,
            .has_upper = from->has_bounds && from->has_upper,
            .lower = arena_copy(arena, from->has_bounds ? from->lower : slice_of(NULL, 0)),
            .upper = arena_copy(arena, from->has_bounds && from->has_upper ? from->upper
                                                                           : slice_of(NULL, 0)),
        };
    }
}

/* One row group, as many columns at a time as are gathered in one pass. */
static int write_group(struct gather *gather, struct parquet_writer *writer,
                       const struct row_reference *rows, size_t count, struct error *err)
{
    size_t column = 0;
    int rc = parquet_writer_begin_group(writer, count, err);
    while (rc == OK && column < gather->index->schema->column_count) {
        size_t end = gather_pass(gather, rows, count, column);
        for (; rc == OK && column < end; column++) {
            struct parquet_column values;
            gather_column_borrow(gather, column, &values);
            rc = parquet_writer_add_column(writer, &values, err);
        }
    }
    return rc == OK ? parquet_writer_end_group(writer, err) : rc;
}

/* How many of these rows the next row group takes. An event may be made of nothing but
 * list elements, each four bytes in its image and sixteen when gathered: so they count. */
static uint32_t group_end(const struct roller_index *index, const struct planned_file *plan,
                          const struct row_reference *rows, uint32_t count)
{
    uint64_t elements = 0;
    if (plan->element_count <= ROW_GROUP_ELEMENTS)
        return count;
    for (uint32_t i = 0; i < count; i++) {
        elements += roller_index_elements(index, rows[i].row);
        if (elements > ROW_GROUP_ELEMENTS && i > 0)
            return i;
    }
    return count;
}

static int write_groups(struct build *build, struct parquet_writer *writer,
                        const struct planned_file *plan, struct error *err)
{
    uint32_t group_rows = build->options->row_group_rows_max != 0
                              ? build->options->row_group_rows_max
                              : (uint32_t)ROW_GROUP_ROWS;
    struct gather gather;
    int rc = OK;
    gather_init(&gather, &build->index, build->segment->stream,
                plan->row_count < group_rows ? plan->row_count : group_rows);
    for (uint32_t done = 0; rc == OK && done < plan->row_count;) {
        uint32_t count = plan->row_count - done < group_rows ? plan->row_count - done : group_rows;
        const struct row_reference *rows = build->index.rows + plan->first_row + done;
        count = group_end(&build->index, plan, rows, count);
        rc = write_group(&gather, writer, rows, count, err);
        done += count;
    }
    gather_free(&gather);
    return rc;
}

static int encode_file(struct build *build, const struct planned_file *plan, struct file_sink *sink,
                       struct data_file *file, struct error *err)
{
    struct parquet_writer *writer = NULL;
    struct parquet_result result = {0};
    struct parquet_options options = {
        .fields = build->fields,
        .field_count = build->schema.column_count,
        .sorting = plan->sort_columns,
        .sorting_count = plan->sort_column_count,
        .created_by = "bidlake version " BIDLAKE_VERSION " (build " BIDLAKE_VERSION ")",
        .iceberg_schema = build->iceberg_schema,
        .zstd_level = build->options->zstd_level,
    };
    int64_t start_ns = clock_thread_cpu_ns();
    int rc = parquet_writer_open(&writer, &options,
                                 (struct parquet_sink){.write = sink_write, .context = sink}, err);
    if (rc == OK)
        rc = write_groups(build, writer, plan, err);
    if (rc == OK)
        rc = parquet_writer_finish(writer, &result, err);
    if (rc == OK)
        rc = sink_flush(sink, err);
    if (rc == OK) {
        int64_t zstd_ns = parquet_writer_zstd_ns(writer);
        build->statistics->zstd_ns += zstd_ns;
        build->statistics->write_ns += sink->write_ns;
        build->statistics->encode_ns += clock_thread_cpu_ns() - start_ns - zstd_ns - sink->write_ns;
        note_metrics(file, &result, build->index.file_count > ROLLER_SLICES_MAX,
                     &build->announcement.arena);
    }
    parquet_writer_close(writer);
    return rc;
}

static int build_file(struct build *build, size_t number, struct error *err)
{
    const struct planned_file *plan = &build->index.files[number];
    const struct spool_segment *segment = build->segment;
    const struct partition_spec *spec = &build->schema.specs[plan->spec];
    struct data_file *file = &build->announcement.files[number];
    struct buf path = {0};
    struct file_sink sink = {.fd = -1};
    struct arena *arena = &build->announcement.arena;

    partition_path(&build->schema, spec, plan->values, &path);
    struct buf name = {0};
    data_file_path(buf_cstr(&path), segment->stream, segment->from, segment->to,
                   segment->generation, &name);
    file->path = arena_copy_cstr(arena, buf_slice(&name));
    file->spec = spec->spec_id;
    file->sort = plan->sort_order_id;
    note_partition(build, plan, file, arena);

    buf_reset(&path);
    buf_printf(&path, "%s/", spool_sealed_directory_borrow(build->options->spool));
    uploader_local_name(segment, number, &path);
    int rc = OK;
    sink.fd = open(buf_cstr(&path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (sink.fd < 0) {
        rc = error_errno(err, buf_cstr(&path));
        goto out;
    }
    rc = encode_file(build, plan, &sink, file, err);
    if (rc != OK)
        error_wrap(err, "%s", buf_cstr(&path));
    build->statistics->files++;
    build->statistics->rows += plan->row_count;
    build->statistics->bytes += file->size;
out:
    if (sink.fd >= 0)
        close(sink.fd);
    buf_free(&sink.buffer);
    buf_free(&name);
    buf_free(&path);
    return rc;
}

/* ---- one segment ---- */

static enum parquet_type parquet_type_of(enum type type)
{
    static const enum parquet_type types[] = {
        [TYPE_BOOLEAN] = PARQUET_BOOLEAN, [TYPE_INT] = PARQUET_INT32,
        [TYPE_LONG] = PARQUET_INT64,      [TYPE_DOUBLE] = PARQUET_DOUBLE,
        [TYPE_STRING] = PARQUET_STRING,   [TYPE_TIMESTAMPTZ] = PARQUET_TIMESTAMP_MICROS_UTC};
    return types[type];
}

static int load_schema(struct build *build, const struct contract *contract, struct error *err)
{
    struct buf bytes = {0};
    int rc = spool_schema_get(build->options->spool, build->segment->schema_key, &bytes, err);
    if (rc == OK)
        rc = table_schema_decode(&build->schema, buf_slice(&bytes), err);
    buf_free(&bytes);
    if (rc == OK && contract != NULL)
        rc = table_schema_bind(&build->schema, &contract->schema, err);
    if (rc != OK)
        return rc;
    build->announcement.schema = table_schema_to_iceberg(&build->schema);
    char *dump = json_dumps(build->announcement.schema, JSON_COMPACT);
    ASSERT(dump != NULL);
    build->iceberg_schema = dump;
    build->fields = memory_alloc(build->schema.column_count, sizeof *build->fields);
    for (size_t i = 0; i < build->schema.column_count; i++) {
        const struct column *column = &build->schema.columns[i];
        build->fields[i] = (struct parquet_field){.name = column->name,
                                                  .type = parquet_type_of(column->type),
                                                  .list = column->list,
                                                  .required = column->required,
                                                  .no_bounds = column->personal,
                                                  .bloom = column->bloom,
                                                  .field_id = column->field_id,
                                                  .element_id = column->element_id};
    }
    return OK;
}

/* Declares one damaged block lost; what it held is named by position. */
static int lose_block(const struct build *build, const struct spool_block *block,
                      const struct error *why, struct error *err)
{
    uint64_t from = block->first > build->segment->from ? block->first : build->segment->from;
    uint64_t to = block->first + block->event_count;
    if (to > build->segment->to)
        to = build->segment->to;
    struct spool_lost lost = {.from = from, .to = to, .events = to - from, .reason = "bad_block"};
    build->statistics->damaged_blocks++;
    log_event(LOG_LEVEL_ERROR, "roller",
              "damaged block set aside in quarantine/, its events are lost and announced so: look "
              "at the disk",
              "stream=%s from=%llu to=%llu error=\"%s\"", build->segment->stream,
              (unsigned long long)from, (unsigned long long)to, why->text);
    return spool_lose(build->options->spool, build->segment->stream, &lost, err);
}

/* Fills the index. *damaged: a block was declared lost, and the register changed. */
static int read_blocks(struct build *build, struct spool_reader *reader, bool *damaged,
                       struct error *err)
{
    for (;;) {
        struct spool_block block = {0};
        bool more = false;
        int rc = spool_reader_next(reader, &block, &more, err);
        if (rc == OK && !more)
            return OK;
        if (rc == OK)
            rc = roller_index_add_block(&build->index, &block, build->segment->from,
                                        build->segment->to, err);
        if (rc == ERROR_CORRUPT) {
            struct error why = *err;
            *damaged = true;
            rc = lose_block(build, &block, &why, err);
        }
        if (rc != OK)
            return rc;
    }
}

static void describe(struct build *build, const struct contract *contract)
{
    const struct spool_segment *segment = build->segment;
    struct announcement *out = &build->announcement;
    struct arena *arena = &out->arena;
    const char *table = strrchr(segment->stream, '/');
    out->stream = segment->stream;
    out->agent = build->options->agent_id;
    out->from = segment->from;
    out->to = segment->to;
    out->table = table != NULL ? table + 1 : segment->stream;
    out->table_uuid = contract != NULL ? contract->table_uuid : NULL;
    out->writer = "bidlake " BIDLAKE_VERSION;
    out->events = build->index.event_count;
    out->rows = build->index.row_count;
    out->sealed_at_ms = segment->sealed_at_ms;
    out->has_event_time =
        build->index.row_count > 0 && build->index.time_min_us <= build->index.time_max_us;
    if (out->has_event_time) {
        out->event_time_min_ms = build->index.time_min_us / 1000;
        out->event_time_max_ms = build->index.time_max_us / 1000;
    }
    out->lost_count = segment->lost_count;
    out->lost = arena_alloc(arena, segment->lost_count, sizeof *out->lost);
    for (size_t i = 0; i < segment->lost_count; i++)
        out->lost[i] = (struct lost_range){.from = segment->lost[i].from,
                                           .to = segment->lost[i].to,
                                           .events = segment->lost[i].events,
                                           .reason = segment->lost[i].reason};
}

static int build_files(struct build *build, struct error *err)
{
    uint64_t minimum = build->options->partition_bytes;
    int64_t start_ns = clock_thread_cpu_ns();
    roller_index_plan(&build->index, minimum * ROLLER_IMAGE_RATIO);
    memory_trim();
    build->statistics->index_ns += clock_thread_cpu_ns() - start_ns;
    int rc = OK;
    build->announcement.file_count = build->index.file_count;
    build->announcement.files = arena_alloc(&build->announcement.arena, build->index.file_count,
                                            sizeof *build->announcement.files);
    for (size_t i = 0; rc == OK && i < build->index.file_count; i++) {
        start_ns = clock_thread_cpu_ns();
        roller_index_sort(&build->index, &build->index.files[i]);
        if (build->index.files[i].row_count >= TRIM_ROWS)
            memory_trim();
        build->statistics->sort_ns += clock_thread_cpu_ns() - start_ns;
        rc = build_file(build, i, err);
        if (rc == OK)
            rc = fault_point("roll.file_written", err);
    }
    return rc;
}

static void build_free(struct build *build)
{
    roller_index_free(&build->index);
    announcement_free(&build->announcement);
    table_schema_free(&build->schema);
    free(build->fields);
    free(build->iceberg_schema);
}

/* Everything from the blocks to the files. *damaged: start again with the register's new
 * view of the segment. */
static int build_segment(struct build *build, const struct contract *contract, bool *damaged,
                         struct error *err)
{
    struct spool_reader *reader = NULL;
    int rc = load_schema(build, contract, err);
    if (rc != OK)
        return rc;
    roller_index_init(&build->index, &build->schema);
    int64_t start_ns = clock_thread_cpu_ns();
    rc = spool_reader_open(&reader, build->options->spool, build->segment->stream,
                           build->segment->from, build->segment->to, err);
    if (rc == OK)
        rc = read_blocks(build, reader, damaged, err);
    build->statistics->index_ns += clock_thread_cpu_ns() - start_ns;
    if (rc == OK && !*damaged) {
        describe(build, contract);
        rc = build_files(build, err);
    }
    spool_reader_close(reader);
    return rc;
}

static int build_once(const struct roller_options *options, const struct spool_segment *segment,
                      const struct contract *contract, struct roller_statistics *statistics,
                      bool *damaged, struct error *err)
{
    struct build build = {.options = options, .segment = segment, .statistics = statistics};
    struct buf bytes = {0};
    int rc = OK;
    *damaged = false;
    announcement_init(&build.announcement);
    if (segment->schema_key != 0) {
        rc = build_segment(&build, contract, damaged, err);
    } else {
        /* No block is left: the announcement says what was lost, in the table's schema. */
        describe(&build, contract);
        build.announcement.schema = contract != NULL ? table_schema_to_iceberg(&contract->schema)
                                                     : json_pack("{s:s,s:i,s:[]}", "type", "struct",
                                                                 "schema-id", 0, "fields");
    }
    if (rc == OK && !*damaged) {
        struct spool_segment built = *segment;
        announcement_encode(&build.announcement, &bytes);
        built.state = SEGMENT_BUILT;
        built.payload = buf_slice(&bytes);
        rc = fault_point("roll.before_register", err);
        if (rc == OK)
            rc = spool_update_segment(options->spool, &built, err);
    }
    if (rc == OK && !*damaged)
        statistics->segments++;
    buf_free(&bytes);
    build_free(&build);
    memory_trim();
    return rc;
}

/* Let go under pressure and asked for again, or cut by a receipt: it can't be built, so
 * it is announced as lost. The ledger knows better if it was committed after all. */
static int lose_gone(const struct roller_options *options, const struct spool_segment *segment,
                     struct error *err)
{
    struct spool_lost lost = {.from = segment->from,
                              .to = segment->to,
                              .events = segment->to - segment->from,
                              .reason = "records_gone"};
    log_event(LOG_LEVEL_WARN, "roller", "segment was let go and is announced as lost",
              "stream=%s from=%llu to=%llu", segment->stream, (unsigned long long)segment->from,
              (unsigned long long)segment->to);
    return spool_lose(options->spool, segment->stream, &lost, err);
}

int roller_build(const struct roller_options *options, const struct spool_segment *segment,
                 const struct contract *contract, struct roller_statistics *statistics,
                 struct error *err)
{
    ASSERT(segment->state == SEGMENT_SEALED);
    struct arena arena = {0};
    const struct spool_segment *now = segment;
    bool changed = segment->records_gone; /* the register's view of the segment, by us */
    int rc = changed ? lose_gone(options, segment, err) : OK;
    for (int tries = 0; rc == OK && (changed || tries == 0); tries++) {
        ASSERT(tries < BUILD_TRIES_MAX); /* each pass declares every damaged block lost */
        if (changed)
            rc = spool_find_segment(options->spool, segment->stream, segment->from, &arena, &now,
                                    err);
        if (rc == OK && now == NULL)
            rc = error_set(err, ERROR_CONFLICT, "trimmed while it was built");
        if (rc == OK)
            rc = build_once(options, now, contract, statistics, &changed, err);
    }
    arena_free(&arena);
    return rc == OK ? OK
                    : error_wrap(err, "building segment %llu of %s",
                                 (unsigned long long)segment->from, segment->stream);
}
