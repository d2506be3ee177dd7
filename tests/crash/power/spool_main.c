/* SPDX-License-Identifier: Apache-2.0
 *
 * spool: the real spool in use, and what must be left of it after a power cut.
 *
 * `write` appends from three threads while one seals, announces and trims, as the agent
 * does, and says each step into MARK: before it ("give", "trimming", "letting_go"), and
 * once it was answered ("ack", "trimmed", "announced"). An event's bytes follow from its
 * table and position. `check` opens the spool that a cut left and holds it to the remarks
 * that came before the cut: all that was answered is there, with its bytes, nothing that
 * was never given, checkpoints stand at the same place as the records they came with,
 * nothing is damaged, and it takes events again under an epoch of its own.
 *
 * usage: spool write DIRECTORY MARK SEED APPENDS | spool check DIRECTORY MARKS
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/arena.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"
#include "spool/spool.h"

enum {
    TABLES = 3,
    NAME_SIZE = 128,
    STREAMS_MAX = 256,
    SPOOL_BYTES = 6 << 20,
    SEGMENT_BYTES = 200 << 10,
    EVENTS_MAX = 2000,
    EVENT_MAX = 324,
    WAIT_US = 500,
    WAITS_MAX = 120000, /* a minute */
    MARKS_MAX = 64 << 20,
};

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "spool: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

static void must(int rc, const struct error *err)
{
    if (rc != OK)
        fail("%s", err->text);
}

static struct spool *open_spool(const char *directory)
{
    struct error err;
    struct spool *spool = NULL;
    struct spool_options options = {
        .directory = directory, .agent_id = "edge", .bytes_max = SPOOL_BYTES};
    must(spool_open(&spool, &options, &err), &err);
    return spool;
}

/* ---- events, whose bytes follow from table and position ---- */

static size_t event_put(uint8_t *out, char table, uint64_t position)
{
    size_t len = 24 + (size_t)(position * 37 % (EVENT_MAX - 24));
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)((uint64_t)table + position * 131 + i * 7 + (position >> 8));
    return len;
}

static size_t events_put(uint8_t *out, char table, uint64_t first, uint32_t count)
{
    size_t len = 0;
    for (uint32_t i = 0; i < count; i++)
        len += event_put(out + len, table, first + i);
    return len;
}

static void stream_name(char out[NAME_SIZE], const struct spool *spool, char table)
{
    snprintf(out, NAME_SIZE, "edge/%s/db.%c", spool_epoch_borrow(spool), table);
}

/* ---- write ---- */

struct writer {
    struct spool *spool;
    int mark;
    uint64_t seed;
    int appends; /* of each thread */
    char table;  /* of this thread */
    pthread_mutex_t *lock;
    int *running; /* guarded by lock */
};

static void say(const struct writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(const struct writer *writer, const char *format, ...)
{
    char line[2 * NAME_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    line[len++] = '\n';
    if (pwrite(writer->mark, line, (size_t)len, 0) != len)
        fail("mark: %s", strerror(errno));
}

static void append(const struct writer *writer, const char *stream, uint64_t end, uint32_t count)
{
    static _Thread_local uint8_t rows[EVENTS_MAX * EVENT_MAX];
    struct error err;
    char text[2 * NAME_SIZE];
    uint64_t first = 0;
    struct spool_batch batch = {.stream = stream,
                                .schema = slice_cstr("schema"),
                                .schema_key = 1,
                                .rows = slice_of(rows, events_put(rows, writer->table, end, count)),
                                .event_count = count,
                                .row_count = count,
                                .time_min_us = INT64_MAX,
                                .time_max_us = INT64_MIN};
    snprintf(text, sizeof text, "%s %" PRIu64, stream, end + count);
    struct spool_checkpoint checkpoint = {.key = slice_of(&writer->table, 1),
                                          .value = slice_cstr(text)};
    say(writer, "give %s", text);
    int rc = OK;
    for (int i = 0; i < WAITS_MAX; i++) {
        rc = spool_append(writer->spool, &batch, 1, &checkpoint, 1, &first, &err);
        if (rc != ERROR_LIMIT)
            break;
        usleep(WAIT_US); /* for room */
    }
    must(rc, &err);
    if (first != end)
        fail("%s: position %" PRIu64 " was given, not %" PRIu64, stream, first, end);
    say(writer, "ack %s", text);
}

static void *append_all(void *context)
{
    const struct writer *writer = context;
    struct random random;
    char stream[NAME_SIZE];
    uint64_t end = 0;
    random_seed(&random, writer->seed + (uint64_t)writer->table);
    stream_name(stream, writer->spool, writer->table);
    for (int i = 0; i < writer->appends; i++) {
        bool large = random_below(&random, 25) == 0;
        uint32_t count = 1 + (uint32_t)random_below(&random, large ? EVENTS_MAX : 60);
        append(writer, stream, end, count);
        end += count;
    }
    pthread_mutex_lock(writer->lock);
    --*writer->running;
    pthread_mutex_unlock(writer->lock);
    return NULL;
}

static void announce(const struct writer *writer, struct spool_segment *segment)
{
    struct error err;
    segment->payload = slice_cstr("{}");
    for (int state = SEGMENT_BUILT; state <= SEGMENT_ANNOUNCED; state++) {
        segment->state = (enum segment_state)state;
        must(spool_update_segment(writer->spool, segment, &err), &err);
    }
    say(writer, "announced %s %" PRIu64 " %" PRIu64, segment->stream, segment->from, segment->to);
}

/* Seals, announces, trims to somewhere in what is announced. */
static void roll_stream(const struct writer *writer, const char *stream, struct arena *arena,
                        struct random *random)
{
    static const struct spool_seal_limits limits = {.bytes_max = SEGMENT_BYTES};
    struct error err;
    struct spool_segment *segments = NULL;
    size_t count = 0;
    bool sealed = random_below(random, 2) == 0;
    while (sealed)
        must(spool_seal(writer->spool, stream, &limits, &sealed, &err), &err);
    must(spool_list_segments(writer->spool, stream, arena, &segments, &count, &err), &err);
    for (size_t i = 0; i < count; i++)
        if (segments[i].state != SEGMENT_ANNOUNCED && !segments[i].records_gone)
            announce(writer, &segments[i]);
    if (count == 0)
        return;
    const struct spool_segment *last = &segments[random_below(random, count)];
    uint64_t next = random_below(random, 4) == 0
                        ? last->from + random_below(random, last->to - last->from)
                        : last->to;
    say(writer, "trimming %s %" PRIu64, stream, next);
    must(spool_trim(writer->spool, stream, next, 1, &err), &err);
    say(writer, "trimmed %s %" PRIu64, stream, next);
}

static void roll_all(const struct writer *writer)
{
    struct error err;
    struct random random;
    random_seed(&random, writer->seed);
    for (int left = 1; left > 0;) {
        struct arena arena = {0};
        struct spool_streams streams = {0};
        must(spool_list_streams(writer->spool, &arena, &streams, &err), &err);
        for (size_t i = 0; i < streams.count; i++)
            if (random_below(&random, 3) == 0)
                roll_stream(writer, streams.streams[i].name, &arena, &random);
        if (random_below(&random, 20) == 0) {
            say(writer, "letting_go");
            must(spool_let_go(writer->spool, SPOOL_BYTES / 2, &err), &err);
        }
        arena_free(&arena);
        usleep(WAIT_US);
        pthread_mutex_lock(writer->lock);
        left = *writer->running;
        pthread_mutex_unlock(writer->lock);
    }
}

static void write_spool(const char *directory, const char *mark, uint64_t seed, int appends)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[TABLES];
    struct writer writers[TABLES];
    int running = TABLES;
    struct writer writer = {.mark = open(mark, O_WRONLY | O_CLOEXEC),
                            .seed = seed,
                            .appends = appends / TABLES,
                            .lock = &lock,
                            .running = &running};
    if (writer.mark < 0)
        fail("%s: %s", mark, strerror(errno));
    writer.spool = open_spool(directory);
    say(&writer, "opened %s", spool_epoch_borrow(writer.spool));
    for (int i = 0; i < TABLES; i++) {
        writers[i] = writer;
        writers[i].table = (char)('a' + i);
        if (pthread_create(&threads[i], NULL, append_all, &writers[i]) != 0)
            fail("no thread");
    }
    roll_all(&writer);
    for (int i = 0; i < TABLES; i++)
        pthread_join(threads[i], NULL);
    spool_close(writer.spool);
}

/* ---- check ---- */

/* What was said of a stream before the cut. */
struct said {
    char name[NAME_SIZE];
    uint64_t given, acked; /* ends */
    uint64_t trimming, trimmed;
    uint64_t *announced; /* begins */
    size_t announced_count, announced_cap;
};

struct marks {
    struct said streams[STREAMS_MAX];
    size_t count;
    char epoch[NAME_SIZE]; /* the greatest that was opened */
    bool letting_go;
};

static struct said *said_of(struct marks *marks, const char *name)
{
    for (size_t i = 0; i < marks->count; i++)
        if (strcmp(marks->streams[i].name, name) == 0)
            return &marks->streams[i];
    return NULL;
}

static void take_mark(struct marks *marks, const char *line)
{
    char what[32];
    char name[NAME_SIZE];
    uint64_t number = 0;
    int words = sscanf(line, "%31s %127s %" SCNu64, what, name, &number);
    if (words == 1 && strcmp(what, "letting_go") == 0) {
        marks->letting_go = true;
        return;
    }
    if (words == 2 && strcmp(what, "opened") == 0) {
        if (strcmp(name, marks->epoch) <= 0)
            fail("epoch %s came behind %s", name, marks->epoch);
        memcpy(marks->epoch, name, sizeof name);
        return;
    }
    if (words != 3)
        fail("a remark that is none: %s", line);
    struct said *said = said_of(marks, name);
    if (said == NULL) {
        if (marks->count == STREAMS_MAX)
            fail("too many streams");
        said = &marks->streams[marks->count++];
        memcpy(said->name, name, sizeof name);
    }
    if (strcmp(what, "give") == 0)
        said->given = number;
    else if (strcmp(what, "ack") == 0)
        said->acked = number;
    else if (strcmp(what, "trimming") == 0)
        said->trimming = number > said->trimming ? number : said->trimming;
    else if (strcmp(what, "trimmed") == 0)
        said->trimmed = number > said->trimmed ? number : said->trimmed;
    else {
        if (said->announced_count == said->announced_cap) {
            said->announced_cap = said->announced_cap * 2 + 16;
            said->announced = memory_resize(said->announced, said->announced_cap, sizeof number);
        }
        said->announced[said->announced_count++] = number;
    }
}

static void read_marks(struct marks *marks, const char *path)
{
    struct error err;
    struct buf text = {0};
    must(file_read(path, MARKS_MAX, &text, &err), &err);
    buf_put_slice(&text, slice_of("", 1));
    char *rest = NULL;
    for (char *line = strtok_r((char *)text.data, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest))
        take_mark(marks, line);
    buf_free(&text);
}

static void print_damage(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "damaged: %s\n", line);
}

/* The bytes of [from, to), whole and in order. */
static void check_records(struct spool *spool, const struct spool_segment *segment)
{
    static uint8_t rows[EVENTS_MAX * EVENT_MAX];
    struct error err;
    struct spool_reader *reader = NULL;
    char table = segment->stream[strlen(segment->stream) - 1];
    uint64_t at = segment->from;
    bool more = true;
    must(spool_reader_open(&reader, spool, segment->stream, segment->from, segment->to, &err),
         &err);
    while (more) {
        struct spool_block block;
        must(spool_reader_next(reader, &block, &more, &err), &err);
        if (!more)
            break;
        if (block.first > at || block.first + block.event_count <= at)
            fail("%s: a block [%" PRIu64 ", +%u) at %" PRIu64, segment->stream, block.first,
                 block.event_count, at);
        if (block.event_count > EVENTS_MAX)
            fail("%s: a block of %u events", segment->stream, block.event_count);
        size_t len = events_put(rows, table, block.first, block.event_count);
        if (block.rows.len != len || memcmp(block.rows.data, rows, len) != 0)
            fail("%s: other bytes at %" PRIu64, segment->stream, block.first);
        at = block.first + block.event_count;
    }
    spool_reader_close(reader);
    if (at < segment->to)
        fail("%s: records end at %" PRIu64 " of [%" PRIu64 ", %" PRIu64 ")", segment->stream, at,
             segment->from, segment->to);
}

static void check_stream(struct spool *spool, const struct spool_stream *stream,
                         struct marks *marks, struct arena *arena)
{
    struct error err;
    struct spool_segment *segments = NULL;
    size_t count = 0;
    const struct said *said = said_of(marks, stream->name);
    if (said == NULL)
        fail("%s was never heard of", stream->name);
    if (stream->end < said->acked || stream->end > said->given)
        fail("%s ends at %" PRIu64 ", answered %" PRIu64 ", given %" PRIu64, stream->name,
             stream->end, said->acked, said->given);
    if (stream->begin > said->trimming || stream->next < said->trimmed)
        fail("%s begins at %" PRIu64 ", next %" PRIu64 ", trimmed to %" PRIu64 " or %" PRIu64,
             stream->name, stream->begin, stream->next, said->trimmed, said->trimming);
    must(spool_list_segments(spool, stream->name, arena, &segments, &count, &err), &err);
    uint64_t at = stream->begin;
    for (size_t i = 0; i < count; i++) {
        if (segments[i].from != at || segments[i].lost_count > 0)
            fail("%s: a segment at %" PRIu64 ", not %" PRIu64, stream->name, segments[i].from, at);
        at = segments[i].to;
        for (size_t k = 0; k < said->announced_count; k++)
            if (said->announced[k] == segments[i].from && segments[i].state != SEGMENT_ANNOUNCED)
                fail("%s: announced segment at %" PRIu64 " is %s", stream->name, segments[i].from,
                     segment_state_name(segments[i].state));
        if (!segments[i].records_gone)
            check_records(spool, &segments[i]);
        else if (!marks->letting_go)
            fail("%s: records at %" PRIu64 " are gone", stream->name, segments[i].from);
    }
    if (at != stream->end)
        fail("%s: segments end at %" PRIu64 " of %" PRIu64, stream->name, at, stream->end);
}

/* A checkpoint stands where the records it came with end. */
static void check_checkpoint(struct spool *spool, char table, struct marks *marks,
                             const struct spool_streams *streams)
{
    struct error err;
    struct buf value = {0};
    char name[NAME_SIZE];
    uint64_t end = 0;
    bool found = false;
    must(spool_checkpoint_get(spool, slice_of(&table, 1), &value, &found, &err), &err);
    buf_put_slice(&value, slice_of("", 1));
    if (found && sscanf((const char *)value.data, "%127s %" SCNu64, name, &end) != 2)
        fail("checkpoint %c: %s", table, (const char *)value.data);
    buf_free(&value);
    for (size_t i = 0; found && i < streams->count; i++)
        if (strcmp(streams->streams[i].name, name) == 0 && streams->streams[i].end != end)
            fail("checkpoint %s at %" PRIu64 ", records to %" PRIu64, name, end,
                 streams->streams[i].end);
    for (size_t i = 0; i < marks->count; i++) {
        const struct said *said = &marks->streams[i];
        if (said->name[strlen(said->name) - 1] != table || said->acked == 0)
            continue;
        if (!found || (strcmp(name, said->name) == 0 && end < said->acked) ||
            strcmp(name, said->name) < 0)
            fail("checkpoint %c of %s %" PRIu64 " is gone", table, said->name, said->acked);
    }
}

static void check_spool(const char *directory, const char *marks_path)
{
    static struct marks marks;
    struct error err;
    struct arena arena = {0};
    struct spool_streams streams = {0};
    size_t damaged = 0;
    read_marks(&marks, marks_path);
    struct spool *spool = open_spool(directory);
    if (strcmp(spool_epoch_borrow(spool), marks.epoch) <= 0)
        fail("epoch %s is not behind %s", spool_epoch_borrow(spool), marks.epoch);
    must(spool_check(spool, print_damage, NULL, &damaged, &err), &err);
    if (damaged > 0)
        fail("%zu damaged", damaged);
    must(spool_list_streams(spool, &arena, &streams, &err), &err);
    for (size_t i = 0; i < streams.count; i++)
        check_stream(spool, &streams.streams[i], &marks, &arena);
    for (size_t i = 0; i < marks.count; i++) {
        bool listed = false;
        for (size_t k = 0; k < streams.count; k++)
            listed = listed || strcmp(streams.streams[k].name, marks.streams[i].name) == 0;
        if (!listed && marks.streams[i].acked > marks.streams[i].trimming)
            fail("%s with %" PRIu64 " answered is gone", marks.streams[i].name,
                 marks.streams[i].acked);
    }
    for (int i = 0; i < TABLES; i++)
        check_checkpoint(spool, (char)('a' + i), &marks, &streams);
    struct writer writer = {.spool = spool, .mark = open("/dev/null", O_WRONLY), .table = 'a'};
    char name[NAME_SIZE];
    stream_name(name, spool, writer.table);
    append(&writer, name, 0, 1);
    arena_free(&arena);
    spool_close(spool);
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "write") == 0)
        write_spool(argv[2], argv[3], strtoull(argv[4], NULL, 10), (int)strtol(argv[5], NULL, 10));
    else if (argc == 4 && strcmp(argv[1], "check") == 0)
        check_spool(argv[2], argv[3]);
    else
        fail("usage: spool write DIRECTORY MARK SEED APPENDS | spool check DIRECTORY MARKS");
    return 0;
}
