/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "agent/commands.h"
#include "agent/parts.h"
#include "agent/doors.h"
#include "lib/base/buf.h"
#include "lib/json/json.h"
#include "lib/objstore/objstore.h"
#include "lib/announce/announce.h"
#include "lib/schema/mapping.h"
#include "spool/spool.h"

static int fail(const struct error *err)
{
    fprintf(stderr, "bidlake-agent: %s\n", err->text);
    return EXIT_FAILED;
}

/* ---- spool ---- */

static json_t *segment_json(const struct spool_segment *segment)
{
    json_t *lost = json_array();
    for (size_t i = 0; i < segment->lost_count; i++)
        json_array_append_new(
            lost, json_pack("{s:I, s:I, s:s}", "from", (json_int_t)segment->lost[i].from, "to",
                            (json_int_t)segment->lost[i].to, "reason", segment->lost[i].reason));
    return json_pack("{s:I, s:I, s:s, s:i, s:I, s:I, s:b, s:o}", "from", (json_int_t)segment->from,
                     "to", (json_int_t)segment->to, "state", segment_state_name(segment->state),
                     "generation", (int)segment->generation, "sealed_at",
                     (json_int_t)segment->sealed_at_ms, "announced_at",
                     (json_int_t)segment->announced_at_ms, "records_gone",
                     (int)segment->records_gone, "lost", lost);
}

static json_t *stream_json(const struct spool_stream *stream)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "stream", stream->name,
                     "begin", (json_int_t)stream->begin, "next", (json_int_t)stream->next,
                     "announced", (json_int_t)stream->announced, "sealed",
                     (json_int_t)stream->sealed, "end", (json_int_t)stream->end, "bytes",
                     (json_int_t)stream->bytes, "open_rows", (json_int_t)stream->open_rows,
                     "open_bytes", (json_int_t)stream->open_bytes);
}

static void print_stream(const struct spool_stream *stream)
{
    printf("stream %s\n  committed %" PRIu64 "  announced %" PRIu64 "  sealed %" PRIu64
           "  end %" PRIu64 "  %" PRIu64 " bytes\n",
           stream->name, stream->next, stream->announced, stream->sealed, stream->end,
           stream->bytes);
}

static void print_segment(const struct spool_segment *segment)
{
    printf("  segment [%" PRIu64 ", %" PRIu64 ") %s%s generation %u\n", segment->from, segment->to,
           segment_state_name(segment->state), segment->records_gone ? ", records gone," : "",
           segment->generation);
    for (size_t i = 0; i < segment->lost_count; i++)
        printf("    lost [%" PRIu64 ", %" PRIu64 ") %s\n", segment->lost[i].from,
               segment->lost[i].to, segment->lost[i].reason);
}

static int show_stream(struct spool *spool, const struct spool_stream *stream, struct arena *arena,
                       json_t *streams, struct error *err)
{
    struct spool_segment *segments = NULL;
    size_t count = 0;
    int rc = spool_list_segments(spool, stream->name, arena, &segments, &count, err);
    if (rc != OK)
        return rc;
    json_t *list = json_array();
    if (streams == NULL)
        print_stream(stream);
    for (size_t i = 0; i < count; i++) {
        if (streams == NULL)
            print_segment(&segments[i]);
        else
            json_array_append_new(list, segment_json(&segments[i]));
    }
    if (streams != NULL) {
        json_t *object = stream_json(stream);
        json_object_set(object, "segments", list);
        json_array_append_new(streams, object);
    }
    json_decref(list);
    return OK;
}

static int show_spool(struct spool *spool, bool as_json, struct error *err)
{
    struct arena arena = {0};
    struct spool_streams streams = {0};
    struct spool_statistics statistics = {0};
    json_t *list = as_json ? json_array() : NULL;
    int rc = spool_list_streams(spool, &arena, &streams, err);
    for (size_t i = 0; rc == OK && i < streams.count; i++)
        rc = show_stream(spool, &streams.streams[i], &arena, list, err);
    spool_statistics(spool, &statistics);
    if (rc == OK && as_json) {
        struct buf text = {0};
        json_t *out = json_pack("{s:O, s:I, s:I}", "streams", list, "bytes_used",
                                (json_int_t)statistics.bytes_used, "bytes_max",
                                (json_int_t)statistics.bytes_max);
        json_encode(out, &text);
        puts(buf_cstr(&text));
        buf_free(&text);
        json_decref(out);
    } else if (rc == OK) {
        printf("%zu streams, %" PRIu64 " of %" PRIu64 " bytes used\n", streams.count,
               statistics.bytes_used, statistics.bytes_max);
    }
    json_decref(list);
    arena_free(&arena);
    return rc;
}

static void print_damage(void *context, const char *text)
{
    (void)context;
    fprintf(stderr, "damaged: %s\n", text);
}

int command_spool(const struct command_line *line)
{
    struct error err;
    struct spool *spool = NULL;
    size_t damaged = 0;
    struct spool_options options = agent_spool_options(&line->config);
    options.read_only = true;
    int rc = spool_open(&spool, &options, &err);
    if (rc == OK)
        rc = show_spool(spool, line->json, &err);
    if (rc == OK && line->check)
        rc = spool_check(spool, print_damage, NULL, &damaged, &err);
    if (rc == OK && line->check && !line->json)
        printf("%zu damaged\n", damaged);
    spool_close(spool);
    if (rc != OK)
        return fail(&err);
    return damaged > 0 ? EXIT_FAILED : EXIT_DONE;
}

/* ---- check ---- */

static int check_store(const struct agent_config *config, struct error *err)
{
    struct objstore *store = NULL;
    struct buf key = {0};
    int rc = agent_store_open(&store, config, err);
    if (rc == OK) {
        key_of_probe(config->agent_id, &key);
        rc = objstore_probe(store, buf_cstr(&key), err);
    }
    objstore_close(store);
    buf_free(&key);
    return rc;
}

/* Opening for writing is the test that matters: lock, format, rights, room. Beside a
 * running agent the lock is held, and that is well. */
static int check_spool(const struct agent_config *config, bool *running, struct error *err)
{
    struct spool *spool = NULL;
    struct spool_options options = agent_spool_options(config);
    int rc = spool_open(&spool, &options, err);
    *running = rc == ERROR_CONFLICT;
    spool_close(spool);
    return rc == ERROR_CONFLICT ? OK : rc;
}

static void print_checked(const struct agent_config *config, size_t table_count, bool running)
{
    struct buf text = {0};
    json_t *out = json_pack("{s:b, s:I, s:s, s:b, s:s}", "ok", 1, "tables", (json_int_t)table_count,
                            "spool", config->spool_directory, "spool_in_use", (int)running, "store",
                            config->warehouse);
    json_encode(out, &text);
    puts(buf_cstr(&text));
    buf_free(&text);
    json_decref(out);
}

int command_check(const struct command_line *line)
{
    struct error err;
    struct mapping_set set = {0};
    bool running = false;
    if (line->config.warehouse[0] == 0) {
        fputs("bidlake-agent: no warehouse: set it in the configuration or by --warehouse\n",
              stderr);
        return EXIT_USAGE;
    }
    int rc = mapping_set_load(&set, line->config.tables.names, line->config.tables.count, &err);
    if (rc != OK) {
        if (line->config.tables.origin != NULL)
            rc = error_wrap(&err, "%s", line->config.tables.origin);
        fprintf(stderr, "bidlake-agent: %s\n", err.text);
        return EXIT_USAGE;
    }
    size_t table_count = set.count;
    rc = doors_check(&line->config, &set, &err);
    mapping_set_free(&set);
    if (rc != OK) {
        fprintf(stderr, "bidlake-agent: %s\n", err.text);
        return EXIT_USAGE;
    }
    if (!line->json)
        printf("configuration: ok, %zu tables\n", table_count);
    if (check_spool(&line->config, &running, &err) != OK)
        return fail(&err);
    if (!line->json)
        printf("spool %s: ok%s\n", line->config.spool_directory,
               running ? " (another agent has it open)" : "");
    rc = check_store(&line->config, &err);
    if (rc == ERROR_INPUT) {
        fprintf(stderr, "bidlake-agent: %s\n", err.text);
        return EXIT_USAGE;
    }
    if (rc != OK)
        return fail(&err);
    if (line->json)
        print_checked(&line->config, table_count, running);
    else
        printf("store %s: ok\n", line->config.warehouse);
    return EXIT_DONE;
}
