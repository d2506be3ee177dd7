/* SPDX-License-Identifier: Apache-2.0
 *
 * plan.h: a mapping, compiled for one pass over an event.
 *
 * The columns' paths become an automaton. A node stands for "a value that these paths
 * have reached, each at this step"; from there an object's key, or an array's element,
 * leads to another node. Because `[0]` of something that is no list is the thing
 * itself, and a lone object counts as an exploded list of one, a node answers
 * differently for a scalar, an object and an array; all that is settled here, so
 * that the walk only follows indices.
 *
 * Each path of each column has a slot, where the walk notes the value it found. Slots
 * live on three levels: 0 once an event, 1 once an element of the outer exploded list,
 * 2 once an element of the inner one.
 *
 * Const once made: any number of walks share it.
 */
#ifndef LIB_SHRED_PLAN_H
#define LIB_SHRED_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/schema/mapping.h"

enum { PLAN_LEVELS = 3, PLAN_NONE = -1 };

struct plan_slot {
    uint8_t level;
    uint32_t index;
};

/* A run of entries in one of the plan's arrays. */
struct plan_range {
    uint32_t from;
    uint32_t count;
};

struct plan_edge {
    const char *key; /* the mapping's */
    size_t key_len;
    uint64_t word; /* the key's first eight bytes */
    int32_t node;
    struct plan_range below; /* in slots: what a value of this key may have set */
    bool explodes[PLAN_LEVELS];
};

/* What a lookup compares, apart from the edges: a key of 16 bytes or less is told by its
 * first and last eight and its length. */
struct plan_entry {
    uint64_t word;
    uint64_t tail; /* plan_tail */
    uint32_t len;
    int32_t edge; /* PLAN_NONE: free */
};

struct plan_element {
    uint32_t index;
    int32_t node;
};

struct plan_node {
    /* In slots: who takes the value, by its kind. */
    struct plan_range scalar;
    struct plan_range object;
    struct plan_range array;
    /* Object: a hash table of 2^(64 - shift) entries from `table` on, under a factor by
     * which each key has its own entry, if one was found. */
    struct plan_range edges;
    uint64_t table_factor;
    uint32_t table;
    uint32_t table_mask;
    uint8_t table_shift;
    /* Array: the elements that are named, ascending, then all others. */
    struct plan_range elements;
    int32_t other_element;
    /* The level of which the lone object, or each element, is an instance; 0: none. */
    uint8_t object_level;
    uint8_t array_level;
};

struct plan_source {
    enum source_kind kind;
    const char *name;
    struct plan_slot slot; /* of a path */
};

struct plan_column {
    uint8_t level; /* the deepest of its sources */
    struct plan_range sources;
};

struct plan {
    size_t column_count;
    struct plan_column *columns;
    struct plan_source *sources;
    size_t level_count; /* 1 + exploded levels */
    uint32_t slot_counts[PLAN_LEVELS];
    struct plan_node *nodes; /* nodes[0] is the event */
    size_t node_count;
    struct plan_edge *edges;
    size_t edge_count;
    struct plan_element *elements;
    size_t element_count;
    struct plan_slot *slots;
    size_t slot_count;
    struct plan_entry *table;
    size_t table_count;
};

/* ERROR_INPUT for paths that no mapping should have let through. The mapping must
 * outlive the plan. */
int plan_make(struct plan *out, const struct mapping *mapping, struct error *err) MUST_USE;
void plan_free(struct plan *plan);

/* A key's first eight bytes; text must have eight readable bytes. */
static inline uint64_t plan_word(const uint8_t *text, size_t len)
{
    uint64_t word = get_u64le(text);
    return len >= 8 ? word : len == 0 ? 0 : word & (~(uint64_t)0 >> (64 - 8 * len));
}

/* The key's last eight bytes, if it is longer than that. */
static inline uint64_t plan_tail(const uint8_t *key, size_t len)
{
    return len > 8 ? get_u64le(key + len - 8) : 0;
}

static inline uint32_t plan_hash(const struct plan_node *node, uint64_t word, uint64_t tail,
                                 size_t len)
{
    return (uint32_t)((word ^ (tail << 7 | tail >> 57) ^ len) * node->table_factor >>
                      node->table_shift);
}

/* The edge of that key, or NULL. Eight bytes from `key` on must be readable. */
static inline const struct plan_edge *
plan_find(const struct plan *plan, const struct plan_node *node, const uint8_t *key, size_t len)
{
    uint64_t word = plan_word(key, len);
    uint64_t tail = plan_tail(key, len);
    uint32_t at = plan_hash(node, word, tail, len);
    for (;; at = (at + 1) & node->table_mask) {
        const struct plan_entry *entry = &plan->table[node->table + at];
        if (entry->edge == PLAN_NONE)
            return NULL;
        if (entry->word == word && entry->len == len && entry->tail == tail &&
            (len <= 16 || memcmp(plan->edges[entry->edge].key + 8, key + 8, len - 8) == 0))
            return &plan->edges[entry->edge];
    }
}

#endif
