/* SPDX-License-Identifier: Apache-2.0
 *
 * sender.h: events to a running agent over HTTP, as a bidder would send them: a few
 * connections that stay open, batches of lines, the next one only when the last was
 * answered. Measures what the answers take.
 *
 * What an agent turned away (503) it has not kept: the batch is sent again after the time
 * it asked for. A batch whose answer was lost may be in the table or not; it is not sent
 * again and counts as unanswered.
 *
 * Threads  one.
 */
#ifndef AGENT_GEN_SENDER_H
#define AGENT_GEN_SENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

struct sender;

struct sender_options {
    const char *url; /* "http://127.0.0.1:7180" */
    size_t connections;
    size_t batch_events;
};

int sender_open(struct sender **out, const struct sender_options *options,
                struct error *err) MUST_USE;
void sender_close(struct sender *sender);

/* Whole lines for a table. Copied; sent in batches. */
void sender_put(struct sender *sender, const char *table, struct slice lines);

/* Sends what is there, also batches that are not full, and takes answers, for at most
 * wait_ms. ERROR_DENIED, ERROR_INPUT: an answer that another try will not change. */
int sender_step(struct sender *sender, int64_t wait_ms, struct error *err) MUST_USE;

/* More waits than the connections can take next: make no more events now. */
bool sender_is_full(const struct sender *sender);
/* Nothing is under way and nothing waits. */
bool sender_is_idle(const struct sender *sender);

struct sender_statistics {
    uint64_t requests;    /* answered with 200 or 207 */
    uint64_t accepted;    /* events */
    uint64_t refused;     /* events */
    uint64_t unanswered;  /* events */
    uint64_t retried;     /* requests that were turned away */
    double latency_ms[4]; /* p50, p90, p99, largest; of the answers, retries apart */
};
void sender_statistics(const struct sender *sender, struct sender_statistics *out);
/* Events of one table that were accepted and refused. */
void sender_counts(const struct sender *sender, const char *table, uint64_t *accepted,
                   uint64_t *refused);

#endif
