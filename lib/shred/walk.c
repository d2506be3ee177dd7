/* SPDX-License-Identifier: Apache-2.0
 *
 * Duplicate keys: the last wins whole. Each object gets a number; a key that was
 * already seen in the same object takes back what stood below it: its slots are
 * emptied, and instances that its lists had opened are dropped. Those are always the
 * newest, because the walk is depth first.
 *
 * Recursion follows the plan's paths only, so it is at most PATH_STEPS_MAX deep;
 * everything off the paths goes to scan_skip, which keeps its own stack.
 */
#include "lib/shred/walk.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/shred/text.h"

void walk_init(struct walk *walk, const struct plan *plan)
{
    *walk = (struct walk){.plan = plan};
    for (size_t i = 0; i < PLAN_LEVELS; i++) {
        struct walk_level *level = &walk->levels[i];
        level->width = plan->slot_counts[i];
        level->beyond = memory_alloc(level->width, sizeof *level->beyond);
        level->cap = 1;
        level->slots = memory_alloc(level->width, sizeof *level->slots);
    }
    walk->inner_from = memory_alloc(1, sizeof *walk->inner_from);
    walk->edge_was = memory_alloc(plan->edge_count, sizeof *walk->edge_was);
}

void walk_free(struct walk *walk)
{
    for (size_t i = 0; i < PLAN_LEVELS; i++) {
        free(walk->levels[i].slots);
        free(walk->levels[i].beyond);
    }
    free(walk->inner_from);
    free(walk->edge_was);
    buf_free(&walk->key);
    *walk = (struct walk){0};
}

static void instance_begin(struct walk *walk, uint8_t at)
{
    struct walk_level *level = &walk->levels[at];
    uint32_t index = level->count++;
    if (at == 1)
        walk->inner_current = walk->levels[2].count;
    if (index >= WALK_INSTANCES_MAX) {
        level->current = level->beyond;
        return;
    }
    if (index == level->cap) {
        level->cap *= 2;
        level->slots =
            memory_resize(level->slots, (size_t)level->cap * level->width, sizeof *level->slots);
        if (at == 1)
            walk->inner_from =
                memory_resize(walk->inner_from, level->cap, sizeof *walk->inner_from);
    }
    if (at == 1)
        walk->inner_from[index] = walk->inner_current;
    level->current = level->slots + (size_t)index * level->width;
    memset(level->current, 0, level->width * sizeof *level->current);
}

static void note(struct walk *walk, struct plan_range targets, enum value_kind kind, unsigned flags,
                 const uint8_t *from, const uint8_t *to)
{
    const struct plan_slot *slots = walk->plan->slots + targets.from;
    for (uint32_t i = 0; i < targets.count; i++)
        walk->levels[slots[i].level].current[slots[i].index] =
            (struct slot){.at = (uint32_t)(from - walk->text),
                          .len = (uint32_t)(to - from),
                          .kind = (uint8_t)kind,
                          .flags = (uint8_t)flags};
}

/* The newest instances of a level, down to `count`. What is current may be one that
 * stays, of an earlier element: nothing more may be set there. */
static void instances_drop(struct walk *walk, uint8_t at, uint32_t count)
{
    walk->levels[at].count = count;
    walk->levels[at].current = walk->levels[at].beyond;
}

static void forget_below(struct walk *walk, const struct plan_edge *edge)
{
    walk->duplicate_keys++;
    if (edge->explodes[1])
        instances_drop(walk, 1, 0);
    if (edge->explodes[1] || edge->explodes[2])
        instances_drop(walk, 2, edge->explodes[1] ? 0 : walk->inner_current);
    const struct plan_slot *slots = walk->plan->slots + edge->below.from;
    for (uint32_t i = 0; i < edge->below.count; i++)
        walk->levels[slots[i].level].current[slots[i].index] = (struct slot){0};
}

/* A key that has to be decoded first. */
static const struct plan_edge *find_odd_key(struct walk *walk, const struct plan_node *node,
                                            const uint8_t *key, size_t len)
{
    static const uint8_t padding[8];
    buf_reset(&walk->key);
    text_put_unescaped(slice_of(key, len), &walk->key);
    len = walk->key.len;
    buf_put(&walk->key, padding, sizeof padding);
    return plan_find(walk->plan, node, walk->key.data, len);
}

static const uint8_t *walk_value(struct walk *walk, const struct plan_node *node,
                                 const uint8_t *at);

/* Most of what no column wants is a string or a number: no call for these. */
static inline const uint8_t *skip_value(struct scan *scan, const uint8_t *at, unsigned depth)
{
    if (*at == '"') {
        unsigned flags = 0;
        at = scan_string(scan, at + 1, &flags);
        return at == NULL ? NULL : at + 1;
    }
    return *at == '{' || *at == '[' ? scan_skip(scan, at, depth) : scan_scalar(scan, at);
}

/* `at` is behind the '{'; the result is behind the '}'. */
static const uint8_t *walk_members(struct walk *walk, const struct plan_node *node,
                                   const uint8_t *at)
{
    uint64_t object = ++walk->object;
    at = scan_blanks(at);
    if (*at == '}')
        return at + 1;
    for (;;) {
        unsigned flags = 0;
        const uint8_t *key = at + 1;
        const uint8_t *close = key;
        at = scan_key(&walk->scan, at, &close, &flags);
        if (at == NULL)
            return NULL;
        size_t len = (size_t)(close - key);
        const struct plan_edge *edge =
            flags == 0 ? plan_find(walk->plan, node, key, len) : find_odd_key(walk, node, key, len);
        if (edge == NULL) {
            walk->unmapped_fields++;
            at = skip_value(&walk->scan, at, walk->depth);
        } else {
            uint64_t *was = &walk->edge_was[edge - walk->plan->edges];
            if (*was == object)
                forget_below(walk, edge);
            *was = object;
            at = walk_value(walk, &walk->plan->nodes[edge->node], at);
        }
        if (at == NULL)
            return NULL;
        at = scan_blanks(at);
        if (*at == '}')
            return at + 1;
        if (*at != ',')
            return scan_fail(&walk->scan, at, "expected ',' or '}' after a member");
        at = scan_blanks(at + 1);
    }
}

static const uint8_t *walk_object(struct walk *walk, const struct plan_node *node,
                                  const uint8_t *at)
{
    if (node->object_level != 0)
        instance_begin(walk, node->object_level);
    note(walk, node->object, VALUE_OBJECT, 0, at, at + 1);
    if (node->edges.count == 0)
        return scan_skip(&walk->scan, at, walk->depth);
    if (walk->depth == SCAN_DEPTH_MAX)
        return scan_fail_depth(&walk->scan, at);
    walk->depth++;
    at = walk_members(walk, node, at + 1);
    walk->depth--;
    return at;
}

/* `at` is behind the '['; the result is behind the ']'. */
static const uint8_t *walk_elements(struct walk *walk, const struct plan_node *node,
                                    const uint8_t *at)
{
    const struct plan_element *named = walk->plan->elements + node->elements.from;
    const struct plan_element *named_end = named + node->elements.count;
    at = scan_blanks(at);
    if (*at == ']')
        return at + 1;
    for (uint32_t i = 0;; i++) {
        int32_t to = node->other_element;
        if (named < named_end && named->index == i)
            to = (named++)->node;
        if (node->array_level != 0)
            instance_begin(walk, node->array_level);
        at = to == PLAN_NONE ? scan_skip(&walk->scan, at, walk->depth)
                             : walk_value(walk, &walk->plan->nodes[to], at);
        if (at == NULL)
            return NULL;
        at = scan_blanks(at);
        if (*at == ']')
            return at + 1;
        if (*at != ',')
            return scan_fail(&walk->scan, at, "expected ',' or ']' after an element");
        at = scan_blanks(at + 1);
    }
}

static const uint8_t *walk_array(struct walk *walk, const struct plan_node *node, const uint8_t *at)
{
    const uint8_t *from = at;
    if (node->elements.count == 0 && node->other_element == PLAN_NONE) {
        at = scan_skip(&walk->scan, at, walk->depth);
    } else if (walk->depth == SCAN_DEPTH_MAX) {
        return scan_fail_depth(&walk->scan, at);
    } else {
        walk->depth++;
        at = walk_elements(walk, node, at + 1);
        walk->depth--;
    }
    if (at != NULL)
        note(walk, node->array, VALUE_ARRAY, 0, from, at);
    return at;
}

static const uint8_t *walk_value(struct walk *walk, const struct plan_node *node, const uint8_t *at)
{
    const uint8_t *from = at;
    unsigned flags = 0;
    switch (*at) {
    case '{':
        return walk_object(walk, node, at);
    case '[':
        return walk_array(walk, node, at);
    case '"':
        at = scan_string(&walk->scan, at + 1, &flags);
        if (at == NULL)
            return NULL;
        note(walk, node->scalar, VALUE_STRING, flags, from + 1, at);
        return at + 1;
    default:
        at = scan_scalar(&walk->scan, at);
        if (at != NULL && *from != 'n')
            note(walk, node->scalar, *from == 't' || *from == 'f' ? VALUE_BOOLEAN : VALUE_NUMBER, 0,
                 from, at);
        return at;
    }
}

/* What is no object: valid, then it is no event; else the fault stands. */
static bool refuse_other(struct walk *walk, const uint8_t *at)
{
    const uint8_t *from = at;
    if (at < walk->scan.end)
        at = scan_skip(&walk->scan, at, 0);
    if (at == NULL)
        return false;
    at = scan_blanks(at);
    scan_fail(&walk->scan, from, "an event is one JSON object");
    if (at == walk->scan.end)
        walk->scan.fault.reason = REFUSED_NO_OBJECT;
    else
        scan_fail(&walk->scan, at, "expected the end after a value");
    if (from == walk->scan.end)
        walk->scan.fault.text = "empty";
    return false;
}

bool walk_event(struct walk *walk, const uint8_t *text, size_t len)
{
    ASSERT(len < UINT32_MAX && text[len] == 0);
    walk->text = text;
    walk->scan.end = text + len;
    walk->depth = 1;
    walk->unmapped_fields = 0;
    walk->duplicate_keys = 0;
    walk->inner_current = 0;
    for (size_t i = 0; i < PLAN_LEVELS; i++) {
        struct walk_level *level = &walk->levels[i];
        level->count = i == 0;
        level->current = i == 0 ? level->slots : level->beyond;
    }
    memset(walk->levels[0].slots, 0, walk->levels[0].width * sizeof *walk->levels[0].slots);
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        scan_fail(&walk->scan, text, "begins with a byte order mark");
        walk->scan.fault.reason = REFUSED_BOM;
        return false;
    }
    const uint8_t *at = scan_blanks(text);
    if (*at != '{')
        return refuse_other(walk, at);
    at = walk_members(walk, &walk->plan->nodes[0], at + 1);
    if (at == NULL)
        return false;
    at = scan_blanks(at);
    if (at == walk->scan.end)
        return true;
    scan_fail(&walk->scan, at, "something follows the object");
    walk->scan.fault.reason = REFUSED_TRAILING;
    return false;
}
