/* SPDX-License-Identifier: Apache-2.0
 *
 * funnel.h: what one auction leaves behind for the events that follow it. Every render_*
 * writes one event with its line end and decides what of it is drawn; rows and prices are
 * counted by the caller from what it returns or sets.
 */
#ifndef AGENT_GEN_FUNNEL_H
#define AGENT_GEN_FUNNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/gen/render.h"
#include "agent/gen/world.h"
#include "lib/base/random.h"

enum { IMPS_MAX = 4 };

struct imp {
    uint32_t floor; /* 0: none given */
    uint16_t width;
    uint16_t height;
    bool video;
};

struct auction {
    struct uuid request_id;
    const struct site *site;
    bool app;
    const struct device *device;
    uint32_t country;          /* where it is */
    bool country_known;        /* the table has it; else null */
    struct slice country_text; /* as sent: quoted, or null; empty: no member at all */
    uint64_t user;             /* 0: none */
    uint32_t imp_count;
    struct imp imps[IMPS_MAX];
    bool second_price;
    struct slice currency; /* empty: not sent */
    int64_t at_ms;
};

/* What an impression and its click need; plain, so that it can wait in the queue. */
struct win {
    struct uuid request_id;
    struct uuid impression_id;
    uint64_t bid_id;
    uint64_t user;
    const struct site *site;
    const struct device *device;
    const struct campaign *campaign;
    struct slice seat;
    struct slice country_text;
    struct slice currency;
    uint32_t country;
    bool country_known;
    uint8_t creative;
    uint8_t imp; /* from 1 */
    uint32_t price;
};

struct bids {
    uint32_t count;
    uint64_t price; /* sum, in 0.0001 */
    struct win best;
};

void uuid_draw(struct uuid *out, struct random *random);

void auction_draw(struct auction *auction, const struct world *world, struct random *random);
void render_request(struct cursor *to, const struct auction *auction, const struct world *world,
                    struct random *random);
void render_response(struct cursor *to, const struct auction *auction, const struct world *world,
                     struct random *random, int64_t at_ms, struct bids *bids);
void render_impression(struct cursor *to, const struct win *win, int64_t at_ms);
void render_click(struct cursor *to, const struct win *win, int64_t at_ms,
                  const struct uuid *click_id);

/* "u-" and 16 digits; the same for a user everywhere. */
void put_user(struct cursor *to, uint64_t user);
void put_bid_id(struct cursor *to, uint64_t bid_id);

/* True with probability permille / 1000. */
static inline bool chance(struct random *random, uint32_t permille)
{
    return random_below(random, 1000) < permille;
}

#endif
