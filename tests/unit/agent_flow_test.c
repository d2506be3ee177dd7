/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/flow.h"
#include "lib/base/random.h"

#define OLDER "01900000-0000-7000-8000-000000000000"
#define OWN "01911111-0000-7000-8000-000000000000"
#define NEWER "01922222-0000-7000-8000-000000000000"

enum { POSITIONS = 400, RANGES = 64 };

/* One stream as the spool would tell it, and what became of each position. */
struct model {
    struct spool_stream stream;
    struct spool_lost lost[RANGES];
    bool is_lost[POSITIONS];
};

static void model_lose(struct model *model, uint64_t from, uint64_t to, const char *reason)
{
    struct spool_stream *stream = &model->stream;
    for (uint64_t i = from; i < to; i++)
        model->is_lost[i] = true;
    model->lost[stream->lost_count++] =
        (struct spool_lost){.from = from, .to = to, .events = to - from, .reason = reason};
    stream->lost = model->lost;
}

/* As the spool does: ranges below go, one that is passed in part is cut. */
static void model_trim(struct model *model, uint64_t next)
{
    struct spool_stream *stream = &model->stream;
    size_t kept = 0;
    for (size_t i = 0; i < stream->lost_count; i++) {
        struct spool_lost lost = model->lost[i];
        if (lost.to <= next)
            continue;
        if (lost.from < next)
            lost.from = next;
        lost.events = lost.to - lost.from;
        model->lost[kept++] = lost;
    }
    stream->lost_count = kept;
    stream->next = next;
}

static uint64_t not_lost(const struct model *model, uint64_t from, uint64_t to)
{
    uint64_t sum = 0;
    for (uint64_t i = from; i < to; i++)
        sum += !model->is_lost[i];
    return sum;
}

static struct flow_table look(struct flow *flow, struct model *models, size_t count)
{
    struct spool_stream streams[4];
    struct flow_table *tables = NULL;
    for (size_t i = 0; i < count; i++)
        streams[i] = models[i].stream;
    flow_look(flow, &(struct spool_streams){.count = count, .streams = streams});
    size_t found = flow_copy(flow, &tables);
    struct flow_table table = {0};
    if (found > 0)
        table = tables[0];
    free(tables);
    return table;
}

static uint64_t dropped(const struct flow_table *table)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < FLOW_REASONS; i++)
        sum += table->dropped[i];
    return sum;
}

/* A number that does not add up is a loss that nobody can explain. */
static void each_event_is_counted_once(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 4);
    for (int run = 0; run < 300; run++) {
        struct flow *flow = flow_open(OWN);
        struct model model = {.stream = {.name = "a/" OWN "/db.t"}};
        struct spool_stream *stream = &model.stream;
        uint64_t losable = 0; /* below it all is announced or lost already */
        while (stream->end < POSITIONS - 20) {
            stream->end += random_below(&random, 15);
            if (random_below(&random, 3) == 0)
                stream->sealed = stream->end;
            losable = losable > stream->announced ? losable : stream->announced;
            if (random_below(&random, 4) == 0 && stream->end > losable + 2 &&
                stream->lost_count < RANGES) {
                uint64_t to = losable + 1 + random_below(&random, stream->end - losable);
                model_lose(&model, losable, to, "disk_full");
                losable = to;
            }
            /* A receipt, then an announcement, as the uploader does it. */
            if (random_below(&random, 3) == 0)
                model_trim(&model, stream->announced);
            if (random_below(&random, 3) == 0)
                stream->announced = stream->sealed;
            struct flow_table table = look(flow, &model, 1);
            assert_int_equal(table.recovered, 0);
            assert_int_equal(table.committed, not_lost(&model, 0, stream->next));
            assert_int_equal(table.uploaded, not_lost(&model, 0, stream->announced));
            assert_int_equal(table.announced, not_lost(&model, stream->next, stream->announced));
            assert_int_equal(table.sealed, not_lost(&model, stream->announced, stream->sealed));
            assert_int_equal(table.open, not_lost(&model, stream->sealed, stream->end));
            assert_int_equal(table.committed + dropped(&table) + table.open + table.sealed +
                                 table.announced,
                             stream->end);
        }
        flow_close(flow);
    }
}

/* What an earlier start left is not this one's, and its streams go when they are done. */
static void earlier_streams_are_recovered(void **state)
{
    (void)state;
    struct flow *flow = flow_open(OWN);
    struct model models[] = {
        {.stream = {.name = "a/" OLDER "/db.t",
                    .next = 100,
                    .announced = 120,
                    .sealed = 150,
                    .end = 150}},
        {.stream = {.name = "a/" OWN "/db.t", .end = 7}},
    };
    model_lose(&models[0], 140, 150, "bad_block");
    struct flow_table table = look(flow, models, 2);
    assert_string_equal(table.name, "t");
    assert_int_equal(table.recovered, 50);
    assert_int_equal(table.announced, 20);
    assert_int_equal(table.sealed, 20);
    assert_int_equal(table.open, 7);
    assert_int_equal(table.dropped[1], 10);
    models[0].stream.announced = 150;
    table = look(flow, models, 2);
    assert_int_equal(table.uploaded, 20);
    table = look(flow, &models[1], 1);
    assert_int_equal(table.committed, 40);
    assert_int_equal(dropped(&table), 10);
    assert_int_equal(table.announced, 0);
    /* An epoch that was renewed while the process ran. */
    struct model later[] = {
        models[1],
        {.stream = {.name = "a/" NEWER "/db.t", .next = 5, .announced = 5, .sealed = 5, .end = 9}}};
    table = look(flow, later, 2);
    assert_int_equal(table.recovered, 50);
    assert_int_equal(table.committed, 45);
    assert_int_equal(table.open, 11);
    /* All of it is set aside. */
    table = look(flow, models, 0);
    assert_int_equal(table.dropped[3], 11);
    assert_int_equal(dropped(&table), 21);
    assert_int_equal(table.committed, 45);
    assert_int_equal(table.open, 0);
    flow_close(flow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_event_is_counted_once),
        cmocka_unit_test(earlier_streams_are_recovered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
