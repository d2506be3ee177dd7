/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows a request: the response with one or more bids of one or two seats, the
 * impression of the bid that won, its click. Impressions and clicks have the columns'
 * names as keys.
 */
#include "agent/gen/funnel.h"

#include "lib/base/assert.h"

struct bid {
    const struct campaign *campaign;
    const struct imp *imp;
    uint64_t id;
    uint32_t price;
    uint8_t creative;
    uint8_t imp_number;
};

enum { BIDS_MAX = 4 };

static void bid_draw(struct bid *bid, const struct auction *auction, const struct world *world,
                     struct random *random)
{
    uint64_t bits = random_next(random);
    bid->campaign = &world->campaigns[alias_draw(&world->campaign_draw, random)];
    bid->creative = (uint8_t)(bits % CREATIVE_COUNT);
    bid->imp_number = (uint8_t)(1 + (bits >> 8) % auction->imp_count);
    bid->imp = &auction->imps[bid->imp_number - 1];
    bid->id = random_next(random);
    /* Above the floor always; with no floor from a fifth of the median floor. */
    uint64_t floor = bid->imp->floor != 0 ? bid->imp->floor : 900;
    uint64_t raise = sample_draw(world->raises, random) - 1000;
    uint64_t price = floor + floor * raise * bid->campaign->permille / 1000000 + 1;
    ASSERT(price <= UINT32_MAX);
    bid->price = (uint32_t)price;
}

static void put_bid(struct cursor *to, const struct bid *bid)
{
    PUT(to, "{\"id\":\"");
    put_bid_id(to, bid->id);
    PUT(to, "\",\"impid\":\"");
    put_number(to, bid->imp_number);
    PUT(to, "\",\"price\":");
    put_price(to, bid->price);
    PUT(to, ",");
    put_text(to, bid->campaign->text[bid->creative]);
    if (bid->campaign->deal.len > 0) {
        PUT(to, ",\"dealid\":\"");
        put_text(to, bid->campaign->deal);
        PUT(to, "\"");
    }
    PUT(to, ",\"w\":");
    put_number(to, bid->imp->width);
    PUT(to, ",\"h\":");
    put_number(to, bid->imp->height);
    if (bid->imp->video)
        PUT(to, ",\"mtype\":2,\"adm\":\"<VAST version=\\\"4.2\\\"><Ad id=\\\"");
    else
        PUT(to, ",\"mtype\":1,\"adm\":\"<a href=\\\"https://click.example/?b=");
    put_bid_id(to, bid->id);
    if (bid->imp->video)
        PUT(to, "\\\"><Wrapper/></Ad></VAST>\"");
    else
        PUT(to, "\\\"><img src=\\\"https://cdn.example/i.png\\\"></a>\"");
    PUT(to, ",\"burl\":\"https://win.example/b?p=${AUCTION_PRICE}\"}");
}

static void put_seat(struct cursor *to, const struct bid *bids, uint32_t count)
{
    PUT(to, "{\"seat\":\"");
    put_text(to, bids[0].campaign->seat);
    PUT(to, "\",\"bid\":[");
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            PUT(to, ",");
        put_bid(to, &bids[i]);
    }
    PUT(to, "]}");
}

/* First price: what was bid. Second price: between floor and bid. */
static uint32_t clearing_price(const struct bid *bid, bool second_price, struct random *random)
{
    uint32_t floor = bid->imp->floor;
    if (!second_price)
        return bid->price;
    return floor + 1 + (uint32_t)random_below(random, bid->price - floor);
}

static void win_set(struct win *win, const struct auction *auction, const struct bid *bid,
                    struct slice seat, struct random *random)
{
    *win = (struct win){
        .request_id = auction->request_id,
        .bid_id = bid->id,
        .user = auction->user,
        .site = auction->site,
        .device = auction->device,
        .campaign = bid->campaign,
        .seat = seat,
        .country_text = auction->country_text,
        .country = auction->country,
        .country_known = auction->country_known,
        .creative = bid->creative,
        .imp = bid->imp_number,
        .currency = auction->currency.len > 0 ? auction->currency : slice_of("USD", 3),
        .price = clearing_price(bid, auction->second_price, random),
    };
    uuid_draw(&win->impression_id, random);
}

void render_response(struct cursor *to, const struct auction *auction, const struct world *world,
                     struct random *random, int64_t at_ms, struct bids *bids)
{
    struct bid drawn[BIDS_MAX];
    uint64_t kind = random_below(random, 100);
    uint32_t count = kind < 74 ? 1 : kind < 90 ? 2 : kind < 97 ? 3 : 4;
    uint32_t first_seat = count > 1 && chance(random, 500) ? 1 + (count - 1) / 2 : count;
    uint32_t best = 0;
    bids->count = count;
    bids->price = 0;
    for (uint32_t i = 0; i < count; i++) {
        bid_draw(&drawn[i], auction, world, random);
        bids->price += drawn[i].price;
        if (drawn[i].price > drawn[best].price)
            best = i;
    }

    PUT(to, "{\"id\":\"");
    put_uuid(to, &auction->request_id);
    PUT(to, "\",\"bidid\":\"r");
    put_bid_id(to, random_next(random));
    PUT(to, "\"");
    if (auction->currency.len > 0) {
        PUT(to, ",\"cur\":\"");
        put_text(to, auction->currency);
        PUT(to, "\"");
    }
    PUT(to, ",\"seatbid\":[");
    put_seat(to, drawn, first_seat);
    if (first_seat < count) {
        PUT(to, ",");
        put_seat(to, drawn + first_seat, count - first_seat);
    }
    PUT(to, "],\"ext\":{\"ts\":");
    put_number(to, (uint64_t)at_ms);
    PUT(to, "}}\n");
    struct slice seat = drawn[best < first_seat ? 0 : first_seat].campaign->seat;
    win_set(&bids->best, auction, &drawn[best], seat, random);
}

/* ,"name":"text" */
#define PUT_MEMBER(to, name, text)                                                                 \
    do {                                                                                           \
        PUT(to, ",\"" name "\":\"");                                                               \
        put_text(to, text);                                                                        \
        PUT(to, "\"");                                                                             \
    } while (0)

/* What impression and click have in common, from request_id to user_id. */
static void put_win(struct cursor *to, const struct win *win)
{
    PUT(to, ",\"request_id\":\"");
    put_uuid(to, &win->request_id);
    PUT(to, "\",\"imp_id\":\"");
    put_number(to, win->imp);
    PUT(to, "\",\"bid_id\":\"");
    put_bid_id(to, win->bid_id);
    PUT(to, "\"");
    PUT_MEMBER(to, "campaign_id", win->campaign->id);
    PUT_MEMBER(to, "creative_id", win->campaign->creative[win->creative]);
    PUT_MEMBER(to, "site_domain", win->site->domain);
    if (win->country_text.len > 0) {
        PUT(to, ",\"device_geo_country\":");
        put_text(to, win->country_text);
    }
    if (win->user != 0) {
        PUT(to, ",\"user_id\":\"");
        put_user(to, win->user);
        PUT(to, "\"");
    }
}

/* One in eight trackers puts the time where the exchanges do. */
static void put_time(struct cursor *to, const struct win *win, int64_t at_ms)
{
    if (win->bid_id % 8 == 0) {
        PUT(to, ",\"ext\":{\"ts\":");
        put_number(to, (uint64_t)at_ms);
        PUT(to, "}}\n");
    } else {
        PUT(to, ",\"ts\":");
        put_number(to, (uint64_t)at_ms);
        PUT(to, "}\n");
    }
}

void render_impression(struct cursor *to, const struct win *win, int64_t at_ms)
{
    PUT(to, "{\"id\":\"");
    put_uuid(to, &win->impression_id);
    PUT(to, "\"");
    put_win(to, win);
    PUT_MEMBER(to, "seat", win->seat);
    PUT_MEMBER(to, "publisher_id", win->site->publisher);
    PUT(to, ",\"device_type\":");
    put_number(to, win->device->type);
    PUT(to, ",\"price\":");
    put_price(to, win->price);
    PUT_MEMBER(to, "currency", win->currency);
    put_time(to, win, at_ms);
}

void render_click(struct cursor *to, const struct win *win, int64_t at_ms,
                  const struct uuid *click_id)
{
    PUT(to, "{\"id\":\"");
    put_uuid(to, click_id);
    PUT(to, "\",\"impression_id\":\"");
    put_uuid(to, &win->impression_id);
    PUT(to, "\"");
    put_win(to, win);
    PUT_MEMBER(to, "landing_page", win->campaign->landing);
    put_time(to, win, at_ms);
}
