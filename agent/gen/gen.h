/* SPDX-License-Identifier: Apache-2.0
 *
 * gen.h: the funnel of an ad server, made up: request -> response -> impression -> click.
 *
 * Ids join, sites and campaigns are skewed, prices are above floors, impressions and
 * clicks come later than what they follow, in the order of their times. The same options
 * give the same bytes, whatever the clock says: event time goes by the number of the
 * request (start + number / rate), never by a clock.
 *
 * Ownership   gen_open gives the handle, gen_close takes it back; buffers are the caller's.
 * Threads     a handle belongs to one thread.
 * Errors      none: what it needs is in memory.
 */
#ifndef AGENT_GEN_GEN_H
#define AGENT_GEN_GEN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"

enum gen_table { GEN_BID_REQUESTS, GEN_BID_RESPONSES, GEN_IMPRESSIONS, GEN_CLICKS, GEN_TABLES };

/* "bid_requests", ... */
const char *gen_table_name(enum gen_table table);

struct gen_options {
    uint64_t seed;
    int64_t start_ms;     /* event time of the first request, since 1970 */
    double time_rate;     /* requests in a second of event time, above 0 */
    double response_rate; /* responses / requests */
    double win_rate;      /* impressions / responses */
    double click_rate;    /* clicks / impressions */
};

/* What a table must hold once all events are in it. Prices are bid_responses' bids,
 * impressions' clearing prices; bid_requests has its floors there. A price is a multiple of
 * 0.0001, so the sum in millionths is exact. */
struct gen_count {
    uint64_t events;
    uint64_t rows; /* imps, bids; else events */
    uint64_t bytes;
    uint64_t price_micros;
};

struct gen_country_count {
    const char *code; /* alpha-3; "": null in the table */
    uint64_t request_rows;
    uint64_t impressions;
    uint64_t impression_price_micros;
    uint64_t clicks;
};

struct gen;

void gen_open(struct gen **out, const struct gen_options *options);
void gen_close(struct gen *gen);

/* One request and all that falls due by its time, each as a line behind what the table's
 * buffer holds. */
void gen_step(struct gen *gen, struct buf out[GEN_TABLES]);

/* What is still due after the last request, at most `events_max` of it; false when there
 * is nothing left. */
bool gen_drain(struct gen *gen, struct buf out[GEN_TABLES], uint64_t events_max);

const struct gen_count *gen_counts(const struct gen *gen);
uint32_t gen_country_count(const struct gen *gen);
const struct gen_country_count *gen_countries(const struct gen *gen);

#endif
