/* SPDX-License-Identifier: Apache-2.0
 *
 * queue.h: impressions and clicks that have been decided and are not due yet, by time; a
 * binary heap. It grows as needed: it holds what the delays (30 s, 10 min) keep back.
 */
#ifndef AGENT_GEN_QUEUE_H
#define AGENT_GEN_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/gen/funnel.h"

struct queue_item {
    int64_t due_ms;
    uint64_t number; /* in the order of the adds: settles equal times */
    uint32_t slot;
    bool click;
};

/* All zero is a valid empty one. */
struct queue {
    struct queue_item *heap;
    size_t count;
    size_t cap;
    struct win *wins; /* by slot */
    uint32_t *free_slots;
    size_t free_count;
    uint64_t number;
};

void queue_free(struct queue *queue);
void queue_add(struct queue *queue, int64_t due_ms, bool click, const struct win *win);
/* The time of the first; INT64_MAX when empty. */
int64_t queue_next_ms(const struct queue *queue);
void queue_take(struct queue *queue, struct queue_item *item, struct win *win);

#endif
