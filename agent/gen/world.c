/* SPDX-License-Identifier: Apache-2.0
 *
 * Built once at the start, from the tables of data.c and a generator of its own with a
 * fixed seed. Sites, apps and campaigns are drawn by Zipf's law: weight 1/rank.
 */
#include "agent/gen/world.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/buf.h"
#include "lib/base/memory.h"

static uint32_t list_count(const char *const *list)
{
    uint32_t n = 0;
    while (list[n] != NULL)
        n++;
    return n;
}

static const char *list_draw(const char *const *list, struct random *random)
{
    return list[random_below(random, list_count(list))];
}

/* Walker's method: every slot holds one's own share and one other's. */
static void alias_build(struct alias *alias, struct arena *arena, const double *weights, uint32_t n)
{
    double total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += weights[i];
    double *share = memory_alloc(n, sizeof *share);
    uint32_t *small = memory_alloc(n, sizeof *small);
    uint32_t *large = memory_alloc(n, sizeof *large);
    uint32_t small_count = 0, large_count = 0;
    alias->count = n;
    alias->threshold = arena_alloc(arena, n, sizeof *alias->threshold);
    alias->other = arena_alloc(arena, n, sizeof *alias->other);
    for (uint32_t i = 0; i < n; i++) {
        share[i] = weights[i] * n / total;
        alias->threshold[i] = UINT32_MAX;
        alias->other[i] = i;
        if (share[i] < 1)
            small[small_count++] = i;
        else
            large[large_count++] = i;
    }
    while (small_count > 0 && large_count > 0) {
        uint32_t s = small[--small_count];
        uint32_t l = large[large_count - 1];
        alias->threshold[s] = (uint32_t)(share[s] * 4294967295.0);
        alias->other[s] = l;
        share[l] -= 1 - share[s];
        if (share[l] < 1) {
            large_count--;
            small[small_count++] = l;
        }
    }
    free(large);
    free(small);
    free(share);
}

static void alias_build_zipf(struct alias *alias, struct arena *arena, uint32_t n, double exponent)
{
    double *weights = memory_alloc(n, sizeof *weights);
    for (uint32_t i = 0; i < n; i++)
        weights[i] = 1 / pow(i + 1.0, exponent);
    alias_build(alias, arena, weights, n);
    free(weights);
}

static struct slice text_of(const char *text)
{
    struct slice slice = slice_cstr(text);
    ASSERT(slice.len < 1024); /* what EVENT_BYTES_MAX reckons with */
    return slice;
}

/* The same text with \u escapes in the place of two-byte and three-byte UTF-8; longer
 * sequences stay, so that both ways are mixed in one text. */
static const char *escape(struct arena *arena, const char *text)
{
    struct buf out = {0};
    for (const uint8_t *at = (const uint8_t *)text; *at != 0; at++) {
        if ((*at & 0xe0) == 0xc0) {
            buf_printf(&out, "\\u%04x", (unsigned)((at[0] & 0x1f) << 6 | (at[1] & 0x3f)));
            at += 1;
        } else if ((*at & 0xf0) == 0xe0) {
            unsigned code = (unsigned)((at[0] & 0x0f) << 12 | (at[1] & 0x3f) << 6 | (at[2] & 0x3f));
            buf_printf(&out, "\\u%04x", code);
            at += 2;
        } else {
            buf_put_u8(&out, *at);
        }
    }
    const char *copy = arena_copy_cstr(arena, buf_slice(&out));
    buf_free(&out);
    return copy;
}

static const char *categories_draw(struct arena *arena, struct random *random)
{
    const char *one = list_draw(data_categories, random);
    switch (random_below(random, 10)) {
    case 0:
        return arena_printf(arena, "\"%s\"", one); /* a scalar where a list belongs: seen */
    case 1:
        return "[]";
    case 2:
    case 3:
    case 4:
        return arena_printf(arena, "[\"%s\",\"%s\"]", one, list_draw(data_categories, random));
    default:
        return arena_printf(arena, "[\"%s\"]", one);
    }
}

/* The publisher object; some ids are numbers, which a string column gets as their text. */
static const char *publisher_draw(struct arena *arena, struct random *random, struct slice *id)
{
    uint32_t n = 20000 + 37 * (uint32_t)random_below(random, PUBLISHER_COUNT);
    const char *text = arena_printf(arena, n % 5 == 0 ? "%u" : "pub-%u", n);
    *id = text_of(text);
    return arena_printf(
        arena, n % 5 == 0 ? "\"publisher\":{\"id\":%s}" : "\"publisher\":{\"id\":\"%s\"}", text);
}

static void site_build(struct world *world, uint32_t i, struct random *random)
{
    struct arena *arena = &world->arena;
    struct site *site = &world->sites[i];
    uint32_t words = list_count(data_words), endings = list_count(data_endings);
    uint32_t edition = i / (words * endings);
    const char *word = data_words[i % words];
    const char *ending = data_endings[(i / words + i) % endings];
    const char *domain = edition == 0
                             ? arena_printf(arena, "%s-%s.example", word, ending)
                             : arena_printf(arena, "www%u.%s-%s.example", edition, word, ending);
    const char *name = list_draw(data_names, random);
    const char *categories = categories_draw(arena, random);
    const char *section = list_draw(data_sections, random);
    const char *publisher = publisher_draw(arena, random, &site->publisher);
    const char *head =
        arena_printf(arena,
                     "\"site\":{\"id\":\"site-%u\",\"name\":\"%s\",\"domain\":\"%s\","
                     "\"cat\":%s,\"page\":\"https://%s/%s/",
                     1000 + i, name, domain, categories, domain, section);
    site->head[0] = text_of(head);
    site->head[1] = text_of(escape(arena, head));
    site->tail = text_of(arena_printf(arena, ".html\",%s,\"mobile\":%u}", publisher, i % 2));
    site->domain = text_of(domain);
    site->home = alias_draw(&world->country_draw, random);
}

static void app_build(struct world *world, uint32_t i, struct random *random)
{
    struct arena *arena = &world->arena;
    struct site *app = &world->apps[i];
    const char *word = data_words[i % (list_count(data_words) - 2)]; /* bundles are ASCII */
    const char *ending = list_draw(data_endings, random);
    const char *name = list_draw(data_names, random);
    const char *bundle = i % 3 == 0 ? arena_printf(arena, "%u", 310000000 + 7919 * i)
                                    : arena_printf(arena, "example.%s.%s%u", word, ending, i);
    const char *domain = "";
    const char *member = "";
    if (i % 4 == 0) {
        domain = arena_printf(arena, "%s-%s-app%u.example", word, ending, i);
        member = arena_printf(arena, "\"domain\":\"%s\",", domain);
    }
    const char *categories = categories_draw(arena, random);
    const char *publisher = publisher_draw(arena, random, &app->publisher);
    const char *head =
        arena_printf(arena,
                     "\"app\":{\"id\":\"app-%u\",\"name\":\"%s\",\"bundle\":\"%s\",%s"
                     "\"cat\":%s,\"ver\":\"4.",
                     5000 + i, name, bundle, member, categories);
    app->head[0] = text_of(head);
    app->head[1] = text_of(escape(arena, head));
    app->tail = text_of(arena_printf(arena, "\",%s}", publisher));
    app->domain = text_of(domain[0] != 0 ? domain : bundle);
    app->home = alias_draw(&world->country_draw, random);
}

static void campaign_build(struct world *world, uint32_t i, struct random *random)
{
    struct arena *arena = &world->arena;
    struct campaign *campaign = &world->campaigns[i];
    uint32_t number = 7000 + 13 * i;
    const char *advertiser = arena_printf(arena, "%s-%s.example", list_draw(data_words, random),
                                          i % 2 == 0 ? "shop" : "brand");
    const char *category = list_draw(data_categories, random);
    campaign->id = text_of(arena_printf(arena, "c-%u", number));
    campaign->seat = text_of(list_draw(data_seats, random));
    campaign->landing = text_of(arena_printf(arena, "https://%s/landing?c=%u", advertiser, number));
    campaign->permille = 800 + (uint32_t)random_below(random, 900);
    if (i % 6 == 1)
        campaign->deal = text_of(arena_printf(arena, "deal-%u", number));
    for (uint32_t k = 0; k < CREATIVE_COUNT; k++) {
        campaign->creative[k] = text_of(arena_printf(arena, "cr-%u-%u", number, k));
        campaign->text[k] =
            text_of(arena_printf(arena,
                                 "\"adid\":\"ad-%u-%u\",\"cid\":\"c-%u\",\"crid\":\"cr-%u-%u\","
                                 "\"adomain\":[\"%s\"],\"cat\":[\"%s\"]",
                                 number, k, number, number, k, advertiser, category));
    }
}

static void country_build(struct world *world, uint32_t i)
{
    struct arena *arena = &world->arena;
    const struct data_country *from = &data_countries[i];
    struct country *country = &world->countries[i];
    char *small = arena_printf(arena, "\"%s\"", from->alpha3);
    for (char *at = small; *at != 0; at++)
        *at = (char)tolower((unsigned char)*at);
    country->code[0] = text_of(arena_printf(arena, "\"%s\"", from->alpha3));
    country->code[1] = text_of(arena_printf(arena, "\"%s\"", from->alpha2));
    country->code[2] = text_of(small);
    country->language = text_of(from->language);
    for (; country->place_count < REGIONS_MAX; country->place_count++) {
        const char *region = from->regions[country->place_count];
        if (region == NULL)
            break;
        struct place *place = &country->places[country->place_count];
        place->head =
            text_of(arena_printf(arena, "\"geo\":{\"lat\":%s,\"lon\":%s,\"type\":2,\"country\":",
                                 from->latitude, from->longitude));
        place->tail = text_of(
            arena_printf(arena, ",\"region\":\"%s\",\"utcoffset\":%d}", region, from->utc_offset));
    }
    ASSERT(country->place_count > 0);
}

static void devices_build(struct world *world)
{
    struct arena *arena = &world->arena;
    double web[64] = {0}, app[64] = {0};
    ASSERT(data_device_count <= 64);
    world->devices = arena_alloc(arena, data_device_count, sizeof *world->devices);
    for (uint32_t i = 0; i < data_device_count; i++) {
        const struct data_device *from = &data_devices[i];
        struct buf text = {0};
        buf_printf(&text, "\"ua\":\"%s\",\"devicetype\":%u,", from->user_agent, from->type);
        if (from->make[0] != 0)
            buf_printf(&text, "\"make\":\"%s\",\"model\":\"%s\",", from->make, from->model);
        buf_printf(&text, "\"os\":\"%s\",", from->os);
        if (from->os_version[0] != 0)
            buf_printf(&text, "\"osv\":\"%s\",", from->os_version);
        buf_printf(&text, "\"w\":%u,\"h\":%u,\"js\":1", from->width, from->height);
        world->devices[i].text = text_of(arena_copy_cstr(arena, buf_slice(&text)));
        world->devices[i].type = from->type;
        buf_free(&text);
        web[i] = (from->uses & DEVICE_WEB) != 0 ? from->weight : 0;
        app[i] = (from->uses & (DEVICE_APP | DEVICE_TV)) != 0 ? from->weight : 0;
    }
    alias_build(&world->web_device_draw, arena, web, data_device_count);
    alias_build(&world->app_device_draw, arena, app, data_device_count);
}

static void draws_build(struct world *world)
{
    double countries[COUNTRY_MAX], sizes[64];
    ASSERT(data_country_count <= COUNTRY_MAX && data_size_count <= 64);
    for (uint32_t i = 0; i < data_country_count; i++)
        countries[i] = data_countries[i].weight;
    for (uint32_t i = 0; i < data_size_count; i++)
        sizes[i] = data_sizes[i].weight;
    alias_build(&world->country_draw, &world->arena, countries, data_country_count);
    alias_build(&world->size_draw, &world->arena, sizes, data_size_count);
    alias_build_zipf(&world->site_draw, &world->arena, SITE_COUNT, 1.05);
    alias_build_zipf(&world->app_draw, &world->arena, APP_COUNT, 1.1);
    alias_build_zipf(&world->campaign_draw, &world->arena, CAMPAIGN_COUNT, 0.8);
}

/* exp(ln(median) + sigma * normal), cut to [min, max]. */
static void samples_build(uint32_t samples[SAMPLE_COUNT], struct random *random, double median,
                          double sigma, uint32_t min, uint32_t max)
{
    for (uint32_t i = 0; i < SAMPLE_COUNT; i++) {
        double value = median * exp(sigma * random_normal(random));
        samples[i] = value < min ? min : value > max ? max : (uint32_t)value;
    }
}

void world_init(struct world *world)
{
    *world = (struct world){0};
    struct random random;
    random_seed(&random, 20261121);
    draws_build(world);
    for (uint32_t i = 0; i < data_country_count; i++)
        country_build(world, i);
    for (uint32_t i = 0; i < SITE_COUNT; i++)
        site_build(world, i, &random);
    for (uint32_t i = 0; i < APP_COUNT; i++)
        app_build(world, i, &random);
    for (uint32_t i = 0; i < CAMPAIGN_COUNT; i++)
        campaign_build(world, i, &random);
    devices_build(world);
    samples_build(world->floors, &random, 4500, 0.8, 100, 500000);
    samples_build(world->raises, &random, 300, 0.9, 1, 9000);
    for (uint32_t i = 0; i < SAMPLE_COUNT; i++)
        world->raises[i] += 1000;
    samples_build(world->win_delays, &random, 900, 0.9, 40, WIN_DELAY_MAX_MS);
    samples_build(world->click_delays, &random, 8000, 1.1, 300, CLICK_DELAY_MAX_MS);
}

void world_free(struct world *world)
{
    arena_free(&world->arena);
}
