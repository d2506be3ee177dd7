/* SPDX-License-Identifier: Apache-2.0
 *
 * world.h: who is out there: sites and apps, campaigns, places, devices, and how prices
 * and delays are spread. It is the same for every seed, so that runs join; the seed
 * decides only what happens in it. Everything is rendered as JSON text beforehand: a
 * request is then some draws and some copies.
 */
#ifndef AGENT_GEN_WORLD_H
#define AGENT_GEN_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/gen/data.h"
#include "lib/base/arena.h"
#include "lib/base/random.h"
#include "lib/base/slice.h"

enum {
    SITE_COUNT = 600,
    APP_COUNT = 160,
    PUBLISHER_COUNT = 180,
    CAMPAIGN_COUNT = 90,
    CREATIVE_COUNT = 4, /* of one campaign */
    COUNTRY_MAX = 64,
    SAMPLE_COUNT = 4096, /* a power of two */
};

/* Draws an index by weight in constant time (Walker's aliases). */
struct alias {
    uint32_t count;
    uint32_t *threshold;
    uint32_t *other;
};

struct site {
    struct slice head[2]; /* to the page's or version's number; [1]: escaped, no UTF-8 */
    struct slice tail;
    struct slice domain; /* what the column site_domain gets, without quotes */
    struct slice publisher;
    uint32_t home; /* country that most of its visitors are from */
};

struct campaign {
    struct slice id;
    struct slice seat;
    struct slice creative[CREATIVE_COUNT]; /* creative id */
    struct slice text[CREATIVE_COUNT];     /* "adid":... to "cat":[...] */
    struct slice landing;
    struct slice deal; /* empty: none */
    uint32_t permille; /* of the market's price */
};

struct place {
    struct slice head; /* "geo":{... to "country": */
    struct slice tail;
};

struct country {
    struct slice code[3]; /* quoted: alpha-3, alpha-2, alpha-3 in small letters */
    struct slice language;
    struct place places[REGIONS_MAX];
    uint32_t place_count;
};

struct device {
    struct slice text;
    uint8_t type;
};

struct world {
    struct arena arena;
    struct site sites[SITE_COUNT];
    struct site apps[APP_COUNT];
    struct campaign campaigns[CAMPAIGN_COUNT];
    struct country countries[COUNTRY_MAX];
    struct device *devices;
    struct alias site_draw;
    struct alias app_draw;
    struct alias campaign_draw;
    struct alias country_draw;
    struct alias size_draw;
    struct alias web_device_draw;
    struct alias app_device_draw;
    uint32_t floors[SAMPLE_COUNT];       /* log-normal, in 0.0001 of the currency, CPM */
    uint32_t raises[SAMPLE_COUNT];       /* bid / floor in permille, above 1000 */
    uint32_t win_delays[SAMPLE_COUNT];   /* ms from response to impression */
    uint32_t click_delays[SAMPLE_COUNT]; /* ms from impression to click */
};

enum { WIN_DELAY_MAX_MS = 30000, CLICK_DELAY_MAX_MS = 600000 };

void world_init(struct world *world);
void world_free(struct world *world);

static inline uint32_t alias_draw(const struct alias *alias, struct random *random)
{
    uint64_t bits = random_next(random);
    uint32_t i = (uint32_t)(((bits >> 32) * alias->count) >> 32);
    return (uint32_t)bits < alias->threshold[i] ? i : alias->other[i];
}

static inline uint32_t sample_draw(const uint32_t samples[SAMPLE_COUNT], struct random *random)
{
    return samples[random_next(random) & (SAMPLE_COUNT - 1)];
}

#endif
