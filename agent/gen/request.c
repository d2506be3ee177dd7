/* SPDX-License-Identifier: Apache-2.0
 *
 * The bid request: OpenRTB 2.6 as exchanges send it, about 900 bytes, a few of them with
 * the oddities of real traffic (numbers as strings, a flag as a bool, country in two
 * letters or in small ones, members left out).
 */
#include "agent/gen/funnel.h"

#include "lib/base/assert.h"

static const char hex_digits[] = "0123456789abcdef";

static void put_hex(struct cursor *to, uint64_t value, unsigned digits)
{
    for (unsigned i = 0; i < digits; i++)
        to->at[i] = (uint8_t)hex_digits[(value >> (60 - 4 * i)) & 15];
    to->at += digits;
}

void uuid_draw(struct uuid *out, struct random *random)
{
    uint64_t high = (random_next(random) & ~UINT64_C(0xf000)) | 0x4000;
    uint64_t low = (random_next(random) & ~(UINT64_C(3) << 62)) | UINT64_C(2) << 62;
    struct cursor to = {(uint8_t *)out->text};
    put_hex(&to, high, 8);
    *to.at++ = '-';
    put_hex(&to, high << 32, 4);
    *to.at++ = '-';
    put_hex(&to, high << 48, 4);
    *to.at++ = '-';
    put_hex(&to, low, 4);
    *to.at++ = '-';
    put_hex(&to, low << 16, 12);
}

void put_user(struct cursor *to, uint64_t user)
{
    PUT(to, "u-");
    /* An odd factor is a bijection: different users, different ids. */
    put_hex(to, user * UINT64_C(0x9e3779b97f4a7c15), 16);
}

void put_bid_id(struct cursor *to, uint64_t bid_id)
{
    PUT(to, "b");
    put_hex(to, bid_id, 16);
}

/* Half of the traffic is from few users. */
static uint64_t user_draw(struct random *random)
{
    uint64_t kind = random_below(random, 100);
    if (kind < 12)
        return 0;
    return 1 + random_below(random, kind < 55 ? 40000 : 5000000);
}

/* Most send alpha-3, as the standard says; some alpha-2, small letters, nothing of use. */
static void country_draw(struct auction *auction, const struct world *world, struct random *random)
{
    auction->country =
        chance(random, 600) ? auction->site->home : alias_draw(&world->country_draw, random);
    const struct country *country = &world->countries[auction->country];
    uint64_t kind = random_below(random, 1000);
    auction->country_known = kind < 970;
    if (kind < 930)
        auction->country_text = country->code[0];
    else if (kind < 962)
        auction->country_text = country->code[1];
    else if (kind < 970)
        auction->country_text = country->code[2];
    else if (kind < 980)
        auction->country_text = slice_of("null", 4);
    else if (kind < 985)
        auction->country_text = slice_of("\"\"", 2);
    else if (kind < 988)
        auction->country_text = slice_of("\"XX\"", 4); /* no country has it */
    else
        auction->country_text = slice_of(NULL, 0);
}

static void imp_draw(struct imp *imp, const struct auction *auction, const struct world *world,
                     struct random *random)
{
    bool tv = auction->device->type == 3 || auction->device->type == 7;
    imp->video = tv || chance(random, 70);
    if (imp->video) {
        bool large = tv || chance(random, 300);
        imp->width = large ? 1920 : 640;
        imp->height = large ? 1080 : 360;
    } else {
        const struct data_size *size = &data_sizes[alias_draw(&world->size_draw, random)];
        imp->width = size->width;
        imp->height = size->height;
    }
    imp->floor = sample_draw(world->floors, random);
    if (chance(random, 60))
        imp->floor = 0;
}

void auction_draw(struct auction *auction, const struct world *world, struct random *random)
{
    uuid_draw(&auction->request_id, random);
    auction->app = chance(random, 320);
    if (auction->app) {
        auction->site = &world->apps[alias_draw(&world->app_draw, random)];
        auction->device = &world->devices[alias_draw(&world->app_device_draw, random)];
    } else {
        auction->site = &world->sites[alias_draw(&world->site_draw, random)];
        auction->device = &world->devices[alias_draw(&world->web_device_draw, random)];
    }
    country_draw(auction, world, random);
    auction->user = user_draw(random);

    uint64_t kind = random_below(random, 100);
    auction->imp_count = kind < 82 ? 1 : kind < 93 ? 2 : kind < 98 ? 3 : 4;
    for (uint32_t i = 0; i < auction->imp_count; i++)
        imp_draw(&auction->imps[i], auction, world, random);

    auction->second_price = chance(random, 250);
    kind = random_below(random, 100);
    auction->currency = kind < 88   ? slice_of("USD", 3)
                        : kind < 95 ? slice_of("EUR", 3)
                                    : slice_of(NULL, 0);
}

static void put_banner(struct cursor *to, const struct imp *imp, uint64_t kind)
{
    PUT(to, "\"banner\":{");
    if (kind < 55) {
        PUT(to, "\"w\":");
        put_number(to, imp->width);
        PUT(to, ",\"h\":");
        put_number(to, imp->height);
    } else if (kind < 58) {
        PUT(to, "\"w\":\"");
        put_number(to, imp->width);
        PUT(to, "\",\"h\":\"");
        put_number(to, imp->height);
        PUT(to, "\"");
    } else {
        PUT(to, "\"format\":[{\"w\":");
        put_number(to, imp->width);
        PUT(to, ",\"h\":");
        put_number(to, imp->height);
        if (kind < 80)
            PUT(to, "}]");
        else
            PUT(to, "},{\"w\":320,\"h\":50}]");
    }
    if (kind % 2 == 0)
        PUT(to, ",\"pos\":1,\"api\":[3,5,6,7],\"battr\":[1,2,6,14]");
    PUT(to, "}");
}

static void put_imp(struct cursor *to, const struct imp *imp, uint32_t number,
                    struct random *random)
{
    uint64_t bits = random_next(random);
    PUT(to, "{\"id\":\"");
    put_number(to, number);
    PUT(to, "\",");
    if (imp->video) {
        PUT(to, "\"video\":{\"mimes\":[\"video\\/mp4\",\"video/webm\"],\"minduration\":5,"
                "\"maxduration\":30,\"protocols\":[2,3,5,6,7,8],\"w\":");
        put_number(to, imp->width);
        PUT(to, ",\"h\":");
        put_number(to, imp->height);
        PUT(to, ",\"startdelay\":0,\"plcmt\":1,\"linearity\":1,\"playbackmethod\":[6]}");
    } else {
        put_banner(to, imp, (bits & 0xffff) % 100);
    }
    PUT(to, ",\"tagid\":\"slot-");
    put_number(to, (bits >> 16) & 0xff);
    PUT(to, "\"");
    if (imp->floor != 0) {
        PUT(to, ",\"bidfloor\":");
        put_price(to, imp->floor);
        if ((bits >> 36) % 4 == 0)
            PUT(to, ",\"bidfloorcur\":\"USD\"");
    }
    PUT(to, ",\"secure\":1");
    if ((bits >> 40) % 4 == 0) {
        PUT(to, ",\"exp\":300,\"ext\":{\"gpid\":\"/2210/home/slot-");
        put_number(to, (bits >> 24) & 0xfff);
        PUT(to, "\"}");
    }
    PUT(to, "}");
}

static void put_device(struct cursor *to, const struct auction *auction, const struct world *world,
                       struct random *random)
{
    uint64_t bits = random_next(random);
    const struct country *country = &world->countries[auction->country];
    const struct place *place = &country->places[(bits & 0xffff) % country->place_count];
    PUT(to, ",\"device\":{");
    put_text(to, auction->device->text);
    PUT(to, ",\"language\":\"");
    put_text(to, country->language);
    PUT(to, "\",\"connectiontype\":");
    put_number(to, 2 + ((bits >> 16) & 3));
    /* Networks that are kept for documents (RFC 5737). */
    PUT(to, ",\"ip\":\"203.0.113.");
    put_number(to, (bits >> 24) & 0xff);
    PUT(to, "\",");
    if (auction->app) {
        struct uuid ifa;
        uuid_draw(&ifa, random);
        PUT(to, "\"ifa\":\"");
        put_uuid(to, &ifa);
        PUT(to, "\",\"lmt\":0,");
    }
    if (auction->country_text.len == 0) {
        PUT(to, "\"geo\":{\"utcoffset\":0}}");
        return;
    }
    put_text(to, place->head);
    put_text(to, auction->country_text);
    put_text(to, place->tail);
    PUT(to, "}");
}

/* European traffic says that GDPR applies, the new way or the old one; children's sites
 * set coppa, one exchange as a bool. */
static void put_regulations(struct cursor *to, const struct auction *auction, uint64_t bits)
{
    const char *language = data_countries[auction->country].language;
    bool european = data_countries[auction->country].utc_offset >= 0 &&
                    data_countries[auction->country].utc_offset <= 120 && language[0] != 'a';
    PUT(to, ",\"regs\":{");
    if (bits % 100 < 2)
        PUT(to, "\"coppa\":true,");
    else if (bits % 100 < 60)
        PUT(to, "\"coppa\":0,");
    else if (bits % 100 < 63)
        PUT(to, "\"coppa\":1,");
    if (!european)
        PUT(to, "\"us_privacy\":\"1YNN\",\"gdpr\":0}");
    else if ((bits >> 8) % 4 == 0)
        PUT(to, "\"ext\":{\"gdpr\":1}}");
    else
        PUT(to, "\"gdpr\":1}");
}

static void put_rest(struct cursor *to, const struct auction *auction, struct random *random)
{
    uint64_t bits = random_next(random);
    PUT(to, ",\"at\":");
    put_number(to, auction->second_price ? 2 : 1);
    PUT(to, ",\"tmax\":");
    put_number(to, 100 + 50 * (bits & 7));
    if ((bits >> 3) % 64 == 0)
        PUT(to, ".0");
    if (auction->currency.len > 0) {
        PUT(to, ",\"cur\":[\"");
        put_text(to, auction->currency);
        PUT(to, "\"]");
    }
    if ((bits >> 9) % 4 == 0)
        PUT(to, ",\"bcat\":[\"IAB24\",\"IAB25\",\"IAB26\"]");
    if ((bits >> 11) % 8 == 0) {
        struct uuid transaction;
        uuid_draw(&transaction, random);
        PUT(to, ",\"source\":{\"tid\":\"");
        put_uuid(to, &transaction);
        PUT(to, "\"}");
    }
    put_regulations(to, auction, bits >> 16);
    PUT(to, ",\"ext\":{\"ts\":");
    put_number(to, (uint64_t)auction->at_ms);
    PUT(to, "}}\n");
}

void render_request(struct cursor *to, const struct auction *auction, const struct world *world,
                    struct random *random)
{
    ASSERT(auction->imp_count > 0 && auction->imp_count <= IMPS_MAX);
    PUT(to, "{\"id\":\"");
    put_uuid(to, &auction->request_id);
    PUT(to, "\",\"imp\":[");
    for (uint32_t i = 0; i < auction->imp_count; i++) {
        if (i > 0)
            PUT(to, ",");
        put_imp(to, &auction->imps[i], i + 1, random);
    }
    PUT(to, "],");
    uint64_t bits = random_next(random);
    put_text(to, auction->site->head[bits & 1]);
    put_number(to, (bits >> 8) % 100000);
    put_text(to, auction->site->tail);
    put_device(to, auction, world, random);
    if (auction->user != 0) {
        PUT(to, ",\"user\":{\"id\":\"");
        put_user(to, auction->user);
        PUT(to, "\"}");
    }
    put_rest(to, auction, random);
}
