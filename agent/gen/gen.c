/* SPDX-License-Identifier: Apache-2.0
 *
 * The funnel. A step is one request; its response is decided and written at once, an
 * impression and a click wait in the queue until a later request's time has passed them.
 */
#include "agent/gen/gen.h"

#include <stdlib.h>

#include "agent/gen/funnel.h"
#include "agent/gen/queue.h"
#include "agent/gen/render.h"
#include "agent/gen/world.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"

struct gen {
    struct gen_options options;
    struct world world;
    struct random random;
    struct queue queue;
    uint64_t request_number;
    struct gen_count counts[GEN_TABLES];
    struct gen_country_count countries[COUNTRY_MAX + 1]; /* the last: unknown */
};

const char *gen_table_name(enum gen_table table)
{
    static const char *const names[] = {"bid_requests", "bid_responses", "impressions", "clicks"};
    ASSERT((unsigned)table < GEN_TABLES);
    return names[table];
}

void gen_open(struct gen **out, const struct gen_options *options)
{
    ASSERT(options->time_rate > 0);
    ASSERT(options->start_ms >= 0);
    struct gen *gen = memory_alloc(1, sizeof *gen);
    gen->options = *options;
    world_init(&gen->world);
    random_seed(&gen->random, options->seed);
    for (uint32_t i = 0; i < data_country_count; i++)
        gen->countries[i].code = data_countries[i].alpha3;
    gen->countries[data_country_count].code = "";
    *out = gen;
}

void gen_close(struct gen *gen)
{
    if (gen == NULL)
        return;
    queue_free(&gen->queue);
    world_free(&gen->world);
    free(gen);
}

static struct cursor event_begin(struct buf *out)
{
    bool room = buf_reserve(out, EVENT_BYTES_MAX);
    ASSERT(room); /* the buffers have no ceiling */
    return (struct cursor){out->data + out->len};
}

static void event_end(struct gen *gen, enum gen_table table, struct buf *out, struct cursor to,
                      uint64_t rows, uint64_t price)
{
    size_t len = (size_t)(to.at - (out->data + out->len));
    ASSERT(len <= EVENT_BYTES_MAX);
    out->len += len;
    struct gen_count *count = &gen->counts[table];
    count->events++;
    count->rows += rows;
    count->bytes += len;
    count->price_micros += price * 100;
}

static struct gen_country_count *country_of(struct gen *gen, uint32_t country, bool known)
{
    return &gen->countries[known ? country : data_country_count];
}

static void emit_due(struct gen *gen, struct buf out[GEN_TABLES])
{
    struct queue_item item;
    struct win win;
    queue_take(&gen->queue, &item, &win);
    struct gen_country_count *country = country_of(gen, win.country, win.country_known);
    enum gen_table table = item.click ? GEN_CLICKS : GEN_IMPRESSIONS;
    struct cursor to = event_begin(&out[table]);
    if (item.click) {
        struct uuid click_id;
        uuid_draw(&click_id, &gen->random);
        render_click(&to, &win, item.due_ms, &click_id);
        event_end(gen, table, &out[table], to, 1, 0);
        country->clicks++;
        return;
    }
    render_impression(&to, &win, item.due_ms);
    event_end(gen, table, &out[table], to, 1, win.price);
    country->impressions++;
    country->impression_price_micros += (uint64_t)win.price * 100;
    if (random_unit(&gen->random) < gen->options.click_rate) {
        int64_t delay_ms = sample_draw(gen->world.click_delays, &gen->random);
        queue_add(&gen->queue, item.due_ms + delay_ms, true, &win);
    }
}

static void emit_response(struct gen *gen, const struct auction *auction,
                          struct buf out[GEN_TABLES])
{
    struct bids bids;
    int64_t at_ms = auction->at_ms + 5 + (int64_t)random_below(&gen->random, 90);
    struct cursor to = event_begin(&out[GEN_BID_RESPONSES]);
    render_response(&to, auction, &gen->world, &gen->random, at_ms, &bids);
    event_end(gen, GEN_BID_RESPONSES, &out[GEN_BID_RESPONSES], to, bids.count, bids.price);
    if (random_unit(&gen->random) < gen->options.win_rate) {
        int64_t delay_ms = sample_draw(gen->world.win_delays, &gen->random);
        queue_add(&gen->queue, at_ms + delay_ms, false, &bids.best);
    }
}

void gen_step(struct gen *gen, struct buf out[GEN_TABLES])
{
    struct auction auction = {0};
    double passed_ms = (double)gen->request_number * 1000 / gen->options.time_rate;
    auction.at_ms = gen->options.start_ms + (int64_t)passed_ms;
    gen->request_number++;
    while (queue_next_ms(&gen->queue) <= auction.at_ms)
        emit_due(gen, out);

    auction_draw(&auction, &gen->world, &gen->random);
    struct cursor to = event_begin(&out[GEN_BID_REQUESTS]);
    render_request(&to, &auction, &gen->world, &gen->random);
    uint64_t floors = 0;
    for (uint32_t i = 0; i < auction.imp_count; i++)
        floors += auction.imps[i].floor;
    event_end(gen, GEN_BID_REQUESTS, &out[GEN_BID_REQUESTS], to, auction.imp_count, floors);
    country_of(gen, auction.country, auction.country_known)->request_rows += auction.imp_count;

    if (random_unit(&gen->random) < gen->options.response_rate)
        emit_response(gen, &auction, out);
}

bool gen_drain(struct gen *gen, struct buf out[GEN_TABLES], uint64_t events_max)
{
    for (uint64_t i = 0; i < events_max && gen->queue.count > 0; i++)
        emit_due(gen, out);
    return gen->queue.count > 0;
}

const struct gen_count *gen_counts(const struct gen *gen)
{
    return gen->counts;
}

uint32_t gen_country_count(const struct gen *gen)
{
    (void)gen;
    return data_country_count + 1;
}

const struct gen_country_count *gen_countries(const struct gen *gen)
{
    return gen->countries;
}
