/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/commands.h"
#include "agent/ingest.h"
#include "lib/base/buf.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

static json_t *counters_json(const struct ingest_report *report, const struct mapping *mapping)
{
    json_t *reasons = json_object();
    json_t *nulls = json_object();
    for (size_t i = 0; i < REFUSED_REASON_COUNT; i++) {
        if (report->refused_by_reason[i] > 0)
            json_object_set_new(reasons, refusal_reason_name((enum refusal_reason)i),
                                json_integer((json_int_t)report->refused_by_reason[i]));
    }
    for (size_t i = 0; report->shred.coerced_to_null != NULL && i < mapping->schema.column_count;
         i++) {
        if (report->shred.coerced_to_null[i] > 0)
            json_object_set_new(nulls, mapping->schema.columns[i].name,
                                json_integer((json_int_t)report->shred.coerced_to_null[i]));
    }
    return json_pack("{s:o, s:o, s:I, s:I, s:I}", "refused_by_reason", reasons, "coerced_to_null",
                     nulls, "replaced_utf8", (json_int_t)report->shred.replaced_utf8,
                     "duplicate_keys", (json_int_t)report->shred.duplicate_keys, "unmapped_fields",
                     (json_int_t)report->shred.unmapped_fields);
}

static json_t *stages_json(const struct ingest_report *report)
{
    return json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "read", (double)report->read_ns / 1e9,
        "shred", (double)report->shred_ns / 1e9, "spool", (double)report->spool_ns / 1e9, "index",
        (double)report->roller.index_ns / 1e9, "sort", (double)report->roller.sort_ns / 1e9,
        "encode", (double)report->roller.encode_ns / 1e9, "zstd",
        (double)report->roller.zstd_ns / 1e9, "write", (double)report->roller.write_ns / 1e9,
        "upload", (double)report->upload_ns / 1e9);
}

/* A file's name may be any bytes, a JSON text may not. */
static json_t *path_json(const char *path)
{
    json_t *out = json_string(path);
    if (out != NULL)
        return out;
    char *copy = memory_copy_cstr(path);
    for (char *at = copy; *at != 0; at++) {
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    }
    out = json_string(copy);
    free(copy);
    return out;
}

static json_t *refusals_json(const struct ingest_report *report)
{
    json_t *out = json_array();
    for (size_t i = 0; i < report->shown_count; i++) {
        const struct ingest_refusal *shown = &report->shown[i];
        json_array_append_new(
            out, json_pack("{s:o, s:I, s:I, s:s, s:s}", "file", path_json(shown->file), "line",
                           (json_int_t)shown->line, "column", (json_int_t)shown->refusal.column,
                           "reason", refusal_reason_name(shown->refusal.reason), "text",
                           shown->refusal.text));
    }
    return out;
}

static void print_json(const struct ingest_report *report, const struct mapping *mapping)
{
    struct buf text = {0};
    json_t *out = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:o, s:o, s:o}", "table",
        mapping->schema.table, "events", (json_int_t)report->events, "rows",
        (json_int_t)report->rows, "refused", (json_int_t)report->refused, "files",
        (json_int_t)report->files_put, "segments", (json_int_t)report->segments, "bytes_in",
        (json_int_t)report->bytes_in, "bytes_out", (json_int_t)report->bytes_put, "inputs_skipped",
        (json_int_t)report->files_skipped, "seconds", report->seconds, "counters",
        counters_json(report, mapping), "stages_cpu_seconds", stages_json(report), "errors",
        refusals_json(report));
    json_encode(out, &text);
    puts(buf_cstr(&text));
    buf_free(&text);
    json_decref(out);
}

static void print_text(const struct ingest_report *report, const struct mapping *mapping)
{
    printf("table %s: %" PRIu64 " events, %" PRIu64 " rows, %" PRIu64 " refused, %" PRIu64
           " files, %.2f s\n",
           mapping->schema.table, report->events, report->rows, report->refused, report->files_put,
           report->seconds);
    if (report->files_skipped > 0)
        printf("%" PRIu64 " inputs were taken before (--again takes them anew)\n",
               report->files_skipped);
    for (size_t i = 0; report->shred.coerced_to_null != NULL && i < mapping->schema.column_count;
         i++) {
        if (report->shred.coerced_to_null[i] > 0)
            printf("column %s: %" PRIu64 " values became null\n", mapping->schema.columns[i].name,
                   report->shred.coerced_to_null[i]);
    }
}

static void print_refusals(const struct ingest_report *report)
{
    for (size_t i = 0; i < report->shown_count; i++) {
        const struct ingest_refusal *shown = &report->shown[i];
        fprintf(stderr, "%s:%" PRIu64 ":%u: refused (%s): %s\n", shown->file, shown->line,
                shown->refusal.column, refusal_reason_name(shown->refusal.reason),
                shown->refusal.text);
    }
    if (report->refused > report->shown_count)
        fprintf(stderr, "... and %" PRIu64 " more refused\n",
                report->refused - report->shown_count);
}

static const struct mapping *find_table(const struct mapping_set *set, const char *table,
                                        struct error *err)
{
    const struct mapping *mapping = mapping_set_find(set, table);
    if (mapping != NULL)
        return mapping;
    const char **names = calloc(set->count + 1, sizeof *names);
    for (size_t i = 0; names != NULL && i < set->count; i++)
        names[i] = set->mappings[i].schema.table;
    const char *near = names != NULL ? nearest_name(table, names, set->count) : NULL;
    struct buf known = {0};
    for (size_t i = 0; names != NULL && near == NULL && i < set->count; i++)
        buf_printf(&known, "%s%s", i > 0 ? ", " : "", names[i]);
    error_set(err, ERROR_INPUT, "no table %s; %s %s%s", table,
              near != NULL ? "did you mean" : "known are", near != NULL ? near : buf_cstr(&known),
              near != NULL ? "?" : "");
    buf_free(&known);
    free(names);
    return NULL;
}

int command_ingest(const struct command_line *line)
{
    static const char *const standard_input[] = {"-"};
    struct error err;
    struct mapping_set set = {0};
    struct ingest_report report = {0};
    int code = EXIT_USAGE;
    if (line->argument_count < 1) {
        fputs("bidlake-agent: ingest wants a table\n", stderr);
        return EXIT_USAGE;
    }
    const struct mapping *mapping = NULL;
    int rc = command_load_tables(line, &set, &err);
    if (rc == OK)
        mapping = find_table(&set, line->arguments[0], &err);
    if (mapping == NULL) {
        fprintf(stderr, "bidlake-agent: %s\n", err.text);
        goto out;
    }
    bool piped = line->argument_count == 1;
    struct ingest_options options = {.config = &line->config,
                                     .mapping = mapping,
                                     .files = piped ? standard_input : line->arguments + 1,
                                     .file_count = piped ? 1 : line->argument_count - 1,
                                     .again = line->again,
                                     .progress = line->progress};
    rc = ingest_run(&options, &report, &err);
    print_refusals(&report);
    if (line->json)
        print_json(&report, mapping);
    else
        print_text(&report, mapping);
    if (rc != OK)
        fprintf(stderr, "bidlake-agent: %s\n", err.text);
    code = rc != OK ? EXIT_FAILED : report.refused > 0 ? EXIT_REFUSED : EXIT_DONE;
out:
    ingest_report_free(&report);
    mapping_set_free(&set);
    return code;
}
