/* SPDX-License-Identifier: Apache-2.0
 *
 * The heap holds small items; the wins stay in their slots.
 */
#include "agent/gen/queue.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"

void queue_free(struct queue *queue)
{
    free(queue->heap);
    free(queue->wins);
    free(queue->free_slots);
    *queue = (struct queue){0};
}

static bool item_before(const struct queue_item *a, const struct queue_item *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->number < b->number;
}

static void grow(struct queue *queue)
{
    size_t cap = queue->cap > 0 ? 2 * queue->cap : 1024;
    ASSERT(cap <= UINT32_MAX);
    queue->heap = memory_resize(queue->heap, cap, sizeof *queue->heap);
    queue->wins = memory_resize(queue->wins, cap, sizeof *queue->wins);
    queue->free_slots = memory_resize(queue->free_slots, cap, sizeof *queue->free_slots);
    for (size_t slot = queue->cap; slot < cap; slot++)
        queue->free_slots[queue->free_count++] = (uint32_t)slot;
    queue->cap = cap;
}

void queue_add(struct queue *queue, int64_t due_ms, bool click, const struct win *win)
{
    if (queue->free_count == 0)
        grow(queue);
    uint32_t slot = queue->free_slots[--queue->free_count];
    queue->wins[slot] = *win;
    struct queue_item item = {due_ms, queue->number++, slot, click};
    size_t i = queue->count++;
    while (i > 0 && item_before(&item, &queue->heap[(i - 1) / 2])) {
        queue->heap[i] = queue->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    queue->heap[i] = item;
}

int64_t queue_next_ms(const struct queue *queue)
{
    return queue->count > 0 ? queue->heap[0].due_ms : INT64_MAX;
}

void queue_take(struct queue *queue, struct queue_item *item, struct win *win)
{
    ASSERT(queue->count > 0);
    *item = queue->heap[0];
    *win = queue->wins[item->slot];
    queue->free_slots[queue->free_count++] = item->slot;
    struct queue_item last = queue->heap[--queue->count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= queue->count)
            break;
        if (child + 1 < queue->count && item_before(&queue->heap[child + 1], &queue->heap[child]))
            child++;
        if (!item_before(&queue->heap[child], &last))
            break;
        queue->heap[i] = queue->heap[child];
        i = child;
    }
    queue->heap[i] = last;
}
