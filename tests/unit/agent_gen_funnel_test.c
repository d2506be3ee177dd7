/* SPDX-License-Identifier: Apache-2.0
 *
 * The generator is the measure for all other tests: what it counts must be what it wrote.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "agent/gen/gen.h"

static const struct gen_options usual = {
    .seed = 11,
    .start_ms = INT64_C(1767225600000),
    .time_rate = 1000,
    .response_rate = 0.6,
    .win_rate = 0.15,
    .click_rate = 0.02,
};

static struct gen *generate(const struct gen_options *options, struct buf out[GEN_TABLES],
                            unsigned count)
{
    struct gen *gen = NULL;
    gen_open(&gen, options);
    for (unsigned i = 0; i < count; i++)
        gen_step(gen, out);
    while (gen_drain(gen, out, 7))
        ;
    return gen;
}

static void free_bufs(struct buf out[GEN_TABLES])
{
    for (int table = 0; table < GEN_TABLES; table++)
        buf_free(&out[table]);
}

/* Parses the next line; NULL at the end. What is no object fails. */
static json_t *next_line(const struct buf *buf, size_t *at)
{
    if (*at == buf->len)
        return NULL;
    const uint8_t *end = memchr(buf->data + *at, '\n', buf->len - *at);
    assert_non_null(end);
    size_t len = (size_t)(end - buf->data) - *at;
    json_error_t error;
    json_t *value = json_loadb((const char *)buf->data + *at, len, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL || !json_is_object(value))
        fail_msg("%s: %.*s", error.text, (int)len, (const char *)buf->data + *at);
    *at += len + 1;
    return value;
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL)
        fail_msg("no %s", key);
    return text;
}

static int64_t time_at(const json_t *object)
{
    const json_t *time = json_object_get(object, "ts");
    if (time == NULL)
        time = json_object_get(json_object_get(object, "ext"), "ts");
    assert_true(json_is_integer(time));
    return json_integer_value(time);
}

static uint64_t micros_of(const json_t *price)
{
    return price == NULL ? 0 : (uint64_t)(json_number_value(price) * 1e6 + 0.5);
}

/* A repeatable run that isn't would make every comparison by seed meaningless. */
static void same_options_give_the_same_bytes(void **state)
{
    (void)state;
    struct buf a[GEN_TABLES] = {0}, b[GEN_TABLES] = {0}, c[GEN_TABLES] = {0};
    struct gen_options other = usual;
    other.seed = 12;
    gen_close(generate(&usual, a, 500));
    gen_close(generate(&usual, b, 500));
    gen_close(generate(&other, c, 500));
    for (int table = 0; table < GEN_TABLES; table++)
        assert_true(slice_equal(buf_slice(&a[table]), buf_slice(&b[table])));
    assert_false(slice_equal(buf_slice(&a[0]), buf_slice(&c[0])));
    free_bufs(a);
    free_bufs(b);
    free_bufs(c);
}

/* A count that is off by one row would be taken for a loss or a double in the product. */
static void requests_are_what_was_counted(void **state)
{
    (void)state;
    struct buf out[GEN_TABLES] = {0};
    struct gen *gen = generate(&usual, out, 3000);
    struct gen_count seen = {0};
    int64_t last_ms = 0;
    size_t at = 0;
    json_t *line;
    while ((line = next_line(&out[GEN_BID_REQUESTS], &at)) != NULL) {
        const json_t *imps = json_object_get(line, "imp");
        assert_int_equal(strlen(text_at(line, "id")), 36);
        assert_true(json_array_size(imps) > 0);
        for (size_t i = 0; i < json_array_size(imps); i++) {
            const json_t *imp = json_array_get(imps, i);
            seen.price_micros += micros_of(json_object_get(imp, "bidfloor"));
            assert_true(json_object_get(imp, "banner") || json_object_get(imp, "video"));
        }
        seen.events++;
        seen.rows += json_array_size(imps);
        assert_true(time_at(line) >= last_ms);
        last_ms = time_at(line);
        json_decref(line);
    }
    const struct gen_count *count = &gen_counts(gen)[GEN_BID_REQUESTS];
    assert_int_equal(seen.events, 3000);
    assert_int_equal(count->events, seen.events);
    assert_int_equal(count->rows, seen.rows);
    assert_int_equal(count->bytes, out[GEN_BID_REQUESTS].len);
    assert_int_equal(count->price_micros, seen.price_micros);
    assert_int_equal(last_ms, usual.start_ms + 2999);
    gen_close(gen);
    free_bufs(out);
}

static json_t *by_id(const struct buf *buf)
{
    json_t *index = json_object();
    size_t at = 0;
    json_t *line;
    while ((line = next_line(buf, &at)) != NULL)
        json_object_set_new(index, text_at(line, "id"), line);
    return index;
}

/* Ids that don't join make funnels and the stitching stage impossible to test. */
static void events_join_and_come_in_order(void **state)
{
    (void)state;
    struct gen_options options = usual;
    options.click_rate = 0.5;
    struct buf out[GEN_TABLES] = {0};
    struct gen *gen = generate(&options, out, 3000);
    json_t *tables[GEN_TABLES];
    for (int table = 0; table < GEN_TABLES; table++) {
        tables[table] = by_id(&out[table]);
        assert_int_equal(json_object_size(tables[table]), gen_counts(gen)[table].events);
        assert_true(json_object_size(tables[table]) > 0);
    }
    const char *id;
    json_t *event;
    json_object_foreach(tables[GEN_BID_RESPONSES], id, event)
    {
        const json_t *request = json_object_get(tables[GEN_BID_REQUESTS], id);
        assert_non_null(request);
        assert_true(time_at(event) > time_at(request));
    }
    json_object_foreach(tables[GEN_IMPRESSIONS], id, event)
    {
        const json_t *response =
            json_object_get(tables[GEN_BID_RESPONSES], text_at(event, "request_id"));
        assert_non_null(response);
        assert_true(time_at(event) > time_at(response));
    }
    json_object_foreach(tables[GEN_CLICKS], id, event)
    {
        const json_t *impression =
            json_object_get(tables[GEN_IMPRESSIONS], text_at(event, "impression_id"));
        assert_non_null(impression);
        assert_true(time_at(event) > time_at(impression));
        assert_string_equal(text_at(event, "bid_id"), text_at(impression, "bid_id"));
    }
    for (int table = 0; table < GEN_TABLES; table++)
        json_decref(tables[table]);
    gen_close(gen);
    free_bufs(out);
}

/* A bid below its floor or a clearing price above its bid would make revenue figures of
 * examples nonsense. */
static void prices_are_above_floors_and_sum_up(void **state)
{
    (void)state;
    struct buf out[GEN_TABLES] = {0};
    struct gen *gen = generate(&usual, out, 3000);
    json_t *requests = by_id(&out[GEN_BID_REQUESTS]);
    uint64_t rows = 0, micros = 0;
    size_t at = 0;
    json_t *line;
    while ((line = next_line(&out[GEN_BID_RESPONSES], &at)) != NULL) {
        const json_t *request = json_object_get(requests, text_at(line, "id"));
        const json_t *imps = json_object_get(request, "imp");
        size_t s, b;
        json_t *seat, *bid;
        json_array_foreach(json_object_get(line, "seatbid"), s, seat)
        {
            json_array_foreach(json_object_get(seat, "bid"), b, bid)
            {
                size_t imp = (size_t)strtoul(text_at(bid, "impid"), NULL, 10) - 1;
                const json_t *floor = json_object_get(json_array_get(imps, imp), "bidfloor");
                uint64_t price = micros_of(json_object_get(bid, "price"));
                assert_true(price > micros_of(floor));
                micros += price;
                rows++;
            }
        }
        json_decref(line);
    }
    assert_int_equal(gen_counts(gen)[GEN_BID_RESPONSES].rows, rows);
    assert_int_equal(gen_counts(gen)[GEN_BID_RESPONSES].price_micros, micros);
    json_decref(requests);
    gen_close(gen);
    free_bufs(out);
}

/* CPM by country in the demo's report is compared with these counts. */
static void countries_sum_up_to_the_tables(void **state)
{
    (void)state;
    struct buf out[GEN_TABLES] = {0};
    struct gen *gen = generate(&usual, out, 3000);
    struct gen_country_count sum = {0};
    for (uint32_t i = 0; i < gen_country_count(gen); i++) {
        const struct gen_country_count *country = &gen_countries(gen)[i];
        sum.request_rows += country->request_rows;
        sum.impressions += country->impressions;
        sum.impression_price_micros += country->impression_price_micros;
        sum.clicks += country->clicks;
    }
    const struct gen_count *counts = gen_counts(gen);
    assert_int_equal(sum.request_rows, counts[GEN_BID_REQUESTS].rows);
    assert_int_equal(sum.impressions, counts[GEN_IMPRESSIONS].rows);
    assert_int_equal(sum.impression_price_micros, counts[GEN_IMPRESSIONS].price_micros);
    assert_int_equal(sum.clicks, counts[GEN_CLICKS].rows);
    gen_close(gen);
    free_bufs(out);
}

/* Rates at their ends: a rate of 1 that loses events, or one of 0 that makes some. */
static void rates_of_zero_and_one_are_exact(void **state)
{
    (void)state;
    struct gen_options all = usual, none = usual;
    all.response_rate = all.win_rate = all.click_rate = 1;
    none.response_rate = 0;
    struct buf out[GEN_TABLES] = {0};
    struct gen *gen = generate(&all, out, 400);
    for (int table = 0; table < GEN_TABLES; table++)
        assert_int_equal(gen_counts(gen)[table].events, 400);
    gen_close(gen);
    gen = generate(&none, out, 400);
    assert_int_equal(gen_counts(gen)[GEN_BID_REQUESTS].events, 400);
    assert_int_equal(gen_counts(gen)[GEN_BID_RESPONSES].events, 0);
    assert_int_equal(gen_counts(gen)[GEN_IMPRESSIONS].events, 0);
    gen_close(gen);
    free_bufs(out);
}

/* Even traffic would make dictionaries, sorting and partitions look better or worse than
 * they are: few sites must have most of it, and requests must be of a real size. */
static void traffic_is_skewed_and_of_real_size(void **state)
{
    (void)state;
    struct buf out[GEN_TABLES] = {0};
    struct gen *gen = generate(&usual, out, 5000);
    uint64_t most = 0, sum = 0;
    for (uint32_t i = 0; i < gen_country_count(gen); i++) {
        uint64_t rows = gen_countries(gen)[i].request_rows;
        most = rows > most ? rows : most;
        sum += rows;
    }
    assert_true(most > sum / 5);
    uint64_t mean = gen_counts(gen)[GEN_BID_REQUESTS].bytes / 5000;
    assert_in_range(mean, 800, 1050);
    gen_close(gen);
    free_bufs(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_options_give_the_same_bytes),
        cmocka_unit_test(requests_are_what_was_counted),
        cmocka_unit_test(events_join_and_come_in_order),
        cmocka_unit_test(prices_are_above_floors_and_sum_up),
        cmocka_unit_test(countries_sum_up_to_the_tables),
        cmocka_unit_test(rates_of_zero_and_one_are_exact),
        cmocka_unit_test(traffic_is_skewed_and_of_real_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
