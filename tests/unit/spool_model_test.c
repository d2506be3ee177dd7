/* SPDX-License-Identifier: Apache-2.0
 *
 * Random histories of a small spool that is often full, against a model that knows for
 * each position what became of it. SPOOL_MODEL_SEED picks one history.
 */
#include "tests/unit/spool_support.h"

#include "lib/base/random.h"

enum { STREAMS_MAX = 64, POSITIONS_MAX = 4096, STEPS = 700, HISTORIES = 6 };

enum fate { FATE_HELD, FATE_LOST, FATE_GONE };

struct model_stream {
    char name[SPOOL_STREAM_NAME_MAX + 1];
    uint64_t begin;
    uint64_t end;
    uint8_t fate[POSITIONS_MAX];
    uint64_t block[POSITIONS_MAX]; /* first position of the block it came in */
};

struct model {
    struct fixture fixture;
    struct random random;
    size_t count; /* of streams; the last one may be current */
    bool current;
    struct model_stream streams[STREAMS_MAX];
    size_t refused;
};

static struct model_stream *current_stream(struct model *model)
{
    if (!model->current) {
        assert_true(model->count < STREAMS_MAX);
        struct model_stream *stream = &model->streams[model->count++];
        memcpy(stream->name, model->fixture.stream, sizeof stream->name);
        model->current = true;
    }
    return &model->streams[model->count - 1];
}

static void step_append(struct model *model)
{
    struct error err;
    struct model_stream *stream = current_stream(model);
    uint32_t count = 1 + (uint32_t)random_below(&model->random, 8);
    static const size_t sizes[] = {16, 300, 4000, 30000};
    size_t size = sizes[random_below(&model->random, 4)];
    uint64_t first = 0;
    if (stream->end + count > POSITIONS_MAX)
        return;
    int rc = append_to(model->fixture.spool, stream->name, model->count - 1, stream->end, count,
                       size, 1 + random_below(&model->random, 20) / 19, &first, &err);
    if (rc == ERROR_LIMIT) {
        model->refused++;
        if (stream->end == 0) {
            *stream = (struct model_stream){0};
            model->count--;
            model->current = false;
        }
        return;
    }
    must(rc, &err);
    assert_int_equal(first, stream->end);
    for (uint32_t i = 0; i < count; i++)
        stream->block[stream->end++] = first;
}

static struct model_stream *any_stream(struct model *model)
{
    return model->count == 0 ? NULL : &model->streams[random_below(&model->random, model->count)];
}

static bool known(struct model *model, const struct model_stream *stream, struct arena *arena)
{
    return stream != NULL && stream_of(model->fixture.spool, stream->name, arena).name != NULL;
}

static void step_seal(struct model *model)
{
    struct error err;
    bool sealed = false;
    struct spool_seal_limits limits = {.rows_max = 1 + random_below(&model->random, 60)};
    if (!model->current)
        return;
    must(spool_seal(model->fixture.spool, model->fixture.stream, &limits, &sealed, &err), &err);
}

static void step_trim(struct model *model, struct arena *arena)
{
    struct error err;
    struct model_stream *stream = any_stream(model);
    if (!known(model, stream, arena))
        return;
    announce(&model->fixture, stream->name);
    uint64_t sealed = stream_of(model->fixture.spool, stream->name, arena).sealed;
    uint64_t next = stream->begin + random_below(&model->random, sealed - stream->begin + 1);
    if (random_below(&model->random, 3) == 0)
        next = sealed;
    must(spool_trim(model->fixture.spool, stream->name, next, 1, &err), &err);
    stream->begin = next > stream->begin ? next : stream->begin;
}

static void step_lose(struct model *model, struct arena *arena)
{
    struct error err;
    struct model_stream *stream = any_stream(model);
    if (!known(model, stream, arena) || stream->begin == stream->end)
        return;
    uint64_t from = stream->begin + random_below(&model->random, stream->end - stream->begin);
    while (from > stream->begin && stream->block[from] != from)
        from--;
    uint64_t to = from + 1 + random_below(&model->random, 20);
    if (to > stream->end)
        to = stream->end;
    while (to < stream->end && stream->block[to] != to)
        to++;
    struct spool_lost lost = {.from = from, .to = to, .events = to - from, .reason = "test"};
    must(spool_lose(model->fixture.spool, stream->name, &lost, &err), &err);
    for (uint64_t at = from; at < to; at++)
        stream->fate[at] = FATE_LOST;
}

static void step_let_go(struct model *model, struct arena *arena)
{
    struct error err;
    must(spool_let_go(model->fixture.spool, random_below(&model->random, 2 << 20), &err), &err);
    for (size_t i = 0; i < model->count; i++) {
        struct model_stream *stream = &model->streams[i];
        struct spool_segment *segments = NULL;
        if (!known(model, stream, arena))
            continue;
        size_t count = segments_of(model->fixture.spool, stream->name, arena, &segments);
        for (size_t k = 0; k < count; k++)
            for (uint64_t at = segments[k].from; at < segments[k].to; at++)
                if (segments[k].records_gone && stream->fate[at] == FATE_HELD)
                    stream->fate[at] = FATE_GONE;
    }
}

/* What the spool says of each position from begin on must be what the model says. */
static void check_stream(struct model *model, const struct model_stream *stream,
                         struct arena *arena)
{
    struct error err;
    struct spool *spool = model->fixture.spool;
    static uint8_t seen[POSITIONS_MAX];
    struct spool_segment *segments = NULL;
    struct spool_reader *reader = NULL;
    struct spool_block block = {0};
    bool more = true;
    if (!known(model, stream, arena)) {
        assert_int_equal(stream->begin, stream->end);
        return;
    }
    assert_int_equal(stream_of(spool, stream->name, arena).end, stream->end);
    memset(seen, 0, sizeof seen);
    must(spool_reader_open(&reader, spool, stream->name, stream->begin, stream->end, &err), &err);
    for (;;) {
        must(spool_reader_next(reader, &block, &more, &err), &err);
        if (!more)
            break;
        assert_int_equal(get_u64le(block.rows.data + 8), block.first);
        assert_int_equal(&model->streams[get_u64le(block.rows.data)] - stream, 0);
        for (uint64_t at = block.first; at < block.first + block.event_count; at++)
            seen[at]++;
    }
    spool_reader_close(reader);
    for (uint64_t at = stream->begin; at < stream->end; at++)
        assert_int_equal(seen[at], stream->fate[at] == FATE_HELD);
    uint64_t at = stream->begin;
    size_t count = segments_of(spool, stream->name, arena, &segments);
    for (size_t i = 0; i < count; i++) {
        uint64_t lost = 0;
        assert_int_equal(segments[i].from, at);
        for (size_t k = 0; k < segments[i].lost_count; k++)
            lost += segments[i].lost[k].events;
        for (; at < segments[i].to; at++)
            lost -= stream->fate[at] == FATE_LOST;
        assert_int_equal(lost, 0);
    }
}

static void check_all(struct model *model, struct arena *arena)
{
    struct spool_statistics statistics;
    assert_int_equal(damage_of(model->fixture.spool), 0);
    for (size_t i = 0; i < model->count; i++)
        check_stream(model, &model->streams[i], arena);
    spool_statistics(model->fixture.spool, &statistics);
    assert_true(statistics.bytes_used <= statistics.bytes_max);
}

static void run_history(struct model *model, uint64_t seed)
{
    random_seed(&model->random, seed);
    fixture_init(&model->fixture);
    model->fixture.bytes_max = 3 << 20;
    fixture_open(&model->fixture);
    for (size_t i = 0; i < STEPS; i++) {
        struct arena arena = {0};
        uint64_t die = random_below(&model->random, 100);
        if (die < 70)
            step_append(model);
        else if (die < 80)
            step_seal(model);
        else if (die < 88)
            step_trim(model, &arena);
        else if (die < 92)
            step_lose(model, &arena);
        else if (die < 96)
            step_let_go(model, &arena);
        else if (die < 97) {
            fixture_close(&model->fixture);
            fixture_open(&model->fixture);
            model->current = false;
        }
        if (i % 20 == 19)
            check_all(model, &arena);
        arena_free(&arena);
    }
    fixture_free(&model->fixture);
}

/* Each fate must be told truly in any order of steps: a position held and lost is doubled,
 * one that is neither is gone unseen. */
static void histories_agree_with_the_model(void **state)
{
    (void)state;
    const char *chosen = getenv("SPOOL_MODEL_SEED");
    uint64_t first = chosen != NULL ? strtoull(chosen, NULL, 10) : 1;
    size_t refused = 0;
    for (uint64_t seed = first; seed < first + (chosen != NULL ? 1 : HISTORIES); seed++) {
        struct model *model = memory_alloc(1, sizeof *model);
        fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        run_history(model, seed);
        refused += model->refused;
        free(model);
    }
    assert_true(refused > 0 || chosen != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(histories_agree_with_the_model)};
    return cmocka_run_group_tests_name("spool model", tests, NULL, NULL);
}
