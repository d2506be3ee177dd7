/* SPDX-License-Identifier: Apache-2.0
 *
 * The automaton is made by the subset construction: a node is a set of items, an item
 * is a path and how far it has come. Sets that are equal are one node, so a path's
 * `[0]`s don't double what lies behind them. Items only move forward: no cycles.
 */
#include "lib/shred/plan.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"

/* path << 8 | step << 1 | must_be_object. An element of an exploded list that is no
 * object gives nulls, whatever `[0]` might say of it. */
typedef uint32_t item;

struct item_set {
    item *items;
    size_t count;
    size_t cap;
};

struct path {
    const struct path_step *steps;
    size_t step_count;
    struct plan_slot slot;
    bool explodes; /* the explode path itself: it has no slot */
};

struct maker {
    struct plan *plan;
    struct path *paths;
    size_t path_count;
    struct item_set *sets; /* of plan->nodes */
    size_t cap_nodes, cap_edges, cap_elements, cap_slots, cap_table;
};

enum view { VIEW_SCALAR, VIEW_OBJECT, VIEW_ARRAY };

enum { TABLE_TRIES = 64 };

/* Room for one more entry of an array with `count` of them. */
static void *grow(void *array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return array;
    *cap = *cap == 0 ? 16 : *cap * 2;
    return memory_resize(array, *cap, size);
}

static item item_of(size_t path, size_t step, bool must_be_object)
{
    return (item)(path << 8 | step << 1 | must_be_object);
}

/* Kept sorted and without doubles, so that equal sets have equal bytes. */
static void set_add(struct item_set *set, item value)
{
    size_t i = set->count;
    while (i > 0 && set->items[i - 1] > value)
        i--;
    if (i > 0 && set->items[i - 1] == value)
        return;
    set->items = grow(set->items, set->count, &set->cap, sizeof *set->items);
    memmove(set->items + i + 1, set->items + i, (set->count - i) * sizeof *set->items);
    set->items[i] = value;
    set->count++;
}

/* Takes the set's items. */
static int32_t node_of(struct maker *maker, struct item_set *set)
{
    struct plan *plan = maker->plan;
    if (set->count == 0)
        return PLAN_NONE;
    for (size_t i = 0; i < plan->node_count; i++) {
        if (maker->sets[i].count == set->count &&
            memcmp(maker->sets[i].items, set->items, set->count * sizeof *set->items) == 0) {
            free(set->items);
            *set = (struct item_set){0};
            return (int32_t)i;
        }
    }
    size_t cap = maker->cap_nodes;
    maker->sets = grow(maker->sets, plan->node_count, &cap, sizeof *maker->sets);
    plan->nodes = grow(plan->nodes, plan->node_count, &maker->cap_nodes, sizeof *plan->nodes);
    maker->sets[plan->node_count] = *set;
    plan->nodes[plan->node_count] = (struct plan_node){.other_element = PLAN_NONE};
    *set = (struct item_set){0};
    return (int32_t)plan->node_count++;
}

static void add_slot(struct maker *maker, struct plan_range *range, struct plan_slot slot)
{
    struct plan *plan = maker->plan;
    plan->slots = grow(plan->slots, plan->slot_count, &maker->cap_slots, sizeof *plan->slots);
    plan->slots[plan->slot_count++] = slot;
    range->count++;
}

/* The level that the EACH at `step` of a path opens: 1 or 2. */
static uint8_t each_level(const struct path *path, size_t step)
{
    uint8_t level = 0;
    for (size_t i = 0; i <= step; i++)
        level = (uint8_t)(level + (path->steps[i].kind == STEP_EACH));
    return level;
}

/* What an item means for a value of that kind, when the value may stand for its own
 * first element. *level is set when a lone object is an instance of it. False: nothing. */
static bool view_item(const struct maker *maker, enum view view, item value,
                      const struct path **path, size_t *step, uint8_t *level)
{
    *path = &maker->paths[value >> 8];
    *step = value >> 1 & 0x7f;
    if (view != VIEW_OBJECT && (value & 1) != 0)
        return false;
    for (; view != VIEW_ARRAY && *step < (*path)->step_count; ++*step) {
        const struct path_step *at = &(*path)->steps[*step];
        if (view == VIEW_OBJECT && at->kind == STEP_EACH && (*path)->explodes)
            *level = each_level(*path, *step);
        bool itself = at->kind == STEP_INDEX && at->index == 0;
        if (!itself && !(view == VIEW_OBJECT && at->kind == STEP_EACH))
            break;
    }
    return true;
}

/* The slots that take a value of that kind at this node. */
static struct plan_range make_targets(struct maker *maker, size_t node, enum view view)
{
    struct plan_range range = {.from = (uint32_t)maker->plan->slot_count};
    for (size_t i = 0; i < maker->sets[node].count; i++) {
        const struct path *path;
        size_t step;
        uint8_t level = maker->plan->nodes[node].object_level;
        bool live = view_item(maker, view, maker->sets[node].items[i], &path, &step, &level);
        maker->plan->nodes[node].object_level = level;
        if (live && step == path->step_count && !path->explodes)
            add_slot(maker, &range, path->slot);
    }
    return range;
}

static void add_edge(struct maker *maker, size_t node, const char *key, int32_t to)
{
    struct plan *plan = maker->plan;
    plan->edges = grow(plan->edges, plan->edge_count, &maker->cap_edges, sizeof *plan->edges);
    uint8_t start[8] = {0};
    size_t len = strlen(key);
    memcpy(start, key, len < 8 ? len : 8);
    plan->edges[plan->edge_count++] =
        (struct plan_edge){.key = key, .key_len = len, .word = plan_word(start, len), .node = to};
    plan->nodes[node].edges.count++;
}

/* One edge for each key that some item waits for. */
static void make_edges(struct maker *maker, size_t node)
{
    maker->plan->nodes[node].edges.from = (uint32_t)maker->plan->edge_count;
    size_t n = maker->sets[node].count;
    bool *done = memory_alloc(n, sizeof *done);
    for (size_t i = 0; i < n; i++) {
        if (done[i])
            continue;
        const char *key = NULL;
        struct item_set next = {0};
        for (size_t k = i; k < n; k++) {
            const struct path *path;
            size_t step;
            uint8_t level = 0;
            if (!view_item(maker, VIEW_OBJECT, maker->sets[node].items[k], &path, &step, &level) ||
                step == path->step_count || path->steps[step].kind != STEP_KEY) {
                if (k == i)
                    break;
                continue;
            }
            if (key == NULL)
                key = path->steps[step].key;
            if (strcmp(key, path->steps[step].key) != 0)
                continue;
            done[k] = true;
            set_add(&next, item_of((size_t)(path - maker->paths), step + 1, false));
        }
        if (next.count > 0)
            add_edge(maker, node, key, node_of(maker, &next));
    }
    free(done);
}

/* Items that wait for an element: number `index`, or none in particular. */
static int32_t element_node(struct maker *maker, size_t node, bool named, uint32_t index)
{
    struct item_set next = {0};
    for (size_t i = 0; i < maker->sets[node].count; i++) {
        const struct path *path;
        size_t step;
        uint8_t level = 0;
        if (!view_item(maker, VIEW_ARRAY, maker->sets[node].items[i], &path, &step, &level) ||
            step == path->step_count)
            continue;
        const struct path_step *at = &path->steps[step];
        if (at->kind == STEP_EACH || (named && at->kind == STEP_INDEX && at->index == index))
            set_add(&next, item_of((size_t)(path - maker->paths), step + 1, at->kind == STEP_EACH));
    }
    return node_of(maker, &next);
}

/* The smallest index above `last` that an item names, or UINT32_MAX + 1. */
static uint64_t next_index(const struct maker *maker, size_t node, int64_t last, uint8_t *level)
{
    uint64_t found = (uint64_t)UINT32_MAX + 1;
    for (size_t i = 0; i < maker->sets[node].count; i++) {
        const struct path *path;
        size_t step;
        uint8_t unused = 0;
        if (!view_item(maker, VIEW_ARRAY, maker->sets[node].items[i], &path, &step, &unused) ||
            step == path->step_count)
            continue;
        const struct path_step *at = &path->steps[step];
        if (at->kind == STEP_EACH && path->explodes)
            *level = each_level(path, step);
        if (at->kind == STEP_INDEX && (int64_t)at->index > last && at->index < found)
            found = at->index;
    }
    return found;
}

static void make_elements(struct maker *maker, size_t node)
{
    struct plan *plan = maker->plan;
    struct plan_range range = {.from = (uint32_t)plan->element_count};
    uint8_t level = 0;
    uint64_t index = next_index(maker, node, -1, &level);
    /* Never NULL: the walk points into it for arrays of which no element is named, too. */
    plan->elements =
        grow(plan->elements, plan->element_count, &maker->cap_elements, sizeof *plan->elements);
    for (; index <= UINT32_MAX; index = next_index(maker, node, (int64_t)index, &level)) {
        int32_t to = element_node(maker, node, true, (uint32_t)index);
        plan->elements =
            grow(plan->elements, plan->element_count, &maker->cap_elements, sizeof *plan->elements);
        plan->elements[plan->element_count++] =
            (struct plan_element){.index = (uint32_t)index, .node = to};
        range.count++;
    }
    int32_t other = element_node(maker, node, false, 0);
    plan->nodes[node].elements = range;
    plan->nodes[node].other_element = other;
    plan->nodes[node].array_level = level;
}

/* Puts the node's edges into its empty table; false when two wanted the same entry. */
static bool fill_table(struct plan *plan, const struct plan_node *node)
{
    bool alone = true;
    for (uint32_t i = 0; i <= node->table_mask; i++)
        plan->table[node->table + i] = (struct plan_entry){.edge = PLAN_NONE};
    for (uint32_t i = 0; i < node->edges.count; i++) {
        const struct plan_edge *edge = &plan->edges[node->edges.from + i];
        uint64_t tail = plan_tail((const uint8_t *)edge->key, edge->key_len);
        uint32_t at = plan_hash(node, edge->word, tail, edge->key_len);
        for (; plan->table[node->table + at].edge != PLAN_NONE; at = (at + 1) & node->table_mask)
            alone = false;
        plan->table[node->table + at] =
            (struct plan_entry){.word = edge->word,
                                .tail = tail,
                                .len = (uint32_t)edge->key_len,
                                .edge = (int32_t)(node->edges.from + i)};
    }
    return alone;
}

static void make_table(struct maker *maker, struct plan_node *node)
{
    struct plan *plan = maker->plan;
    uint8_t bits = 2;
    while ((1u << bits) < node->edges.count * 4)
        bits++;
    node->table_shift = (uint8_t)(64 - bits);
    node->table_mask = (1u << bits) - 1;
    node->table = (uint32_t)plan->table_count;
    for (uint32_t i = 0; i <= node->table_mask; i++) {
        plan->table = grow(plan->table, plan->table_count, &maker->cap_table, sizeof *plan->table);
        plan->table_count++;
    }
    node->table_factor = 0x9e3779b97f4a7c15u;
    for (int i = 0; i < TABLE_TRIES && !fill_table(plan, node); i++)
        node->table_factor = (node->table_factor * 0xd1342543de82ef95u + (uint64_t)i) | 1;
    fill_table(plan, node);
}

/* All slots that values at or below a node may set, and the levels opened there. */
static void collect_below(struct maker *maker, int32_t at, struct plan_edge *edge, bool *seen)
{
    struct plan *plan = maker->plan;
    if (at == PLAN_NONE || seen[at])
        return;
    seen[at] = true;
    const struct plan_node *node = &plan->nodes[at];
    const struct plan_range ranges[] = {node->scalar, node->object, node->array};
    for (size_t r = 0; r < 3; r++)
        for (uint32_t i = 0; i < ranges[r].count; i++)
            add_slot(maker, &edge->below, plan->slots[ranges[r].from + i]);
    edge->explodes[node->object_level] = true;
    edge->explodes[node->array_level] = true;
    for (uint32_t i = 0; i < node->edges.count; i++)
        collect_below(maker, plan->edges[node->edges.from + i].node, edge, seen);
    for (uint32_t i = 0; i < node->elements.count; i++)
        collect_below(maker, plan->elements[node->elements.from + i].node, edge, seen);
    collect_below(maker, node->other_element, edge, seen);
}

static void make_nodes(struct maker *maker)
{
    struct plan *plan = maker->plan;
    struct item_set start = {0};
    for (size_t i = 0; i < maker->path_count; i++)
        set_add(&start, item_of(i, 0, true));
    if (start.count == 0) {
        plan->nodes = grow(plan->nodes, 0, &maker->cap_nodes, sizeof *plan->nodes);
        maker->sets = memory_alloc(1, sizeof *maker->sets);
        plan->nodes[plan->node_count++] = (struct plan_node){.other_element = PLAN_NONE};
    } else {
        node_of(maker, &start);
    }
    for (size_t i = 0; i < plan->node_count; i++) {
        struct plan_range scalar = make_targets(maker, i, VIEW_SCALAR);
        struct plan_range object = make_targets(maker, i, VIEW_OBJECT);
        struct plan_range array = make_targets(maker, i, VIEW_ARRAY);
        plan->nodes[i].scalar = scalar;
        plan->nodes[i].object = object;
        plan->nodes[i].array = array;
        make_edges(maker, i);
        make_elements(maker, i);
    }
    bool *seen = memory_alloc(plan->node_count, sizeof *seen);
    for (size_t i = 0; i < plan->node_count; i++)
        make_table(maker, &plan->nodes[i]);
    for (size_t i = 0; i < plan->edge_count; i++) {
        memset(seen, 0, plan->node_count * sizeof *seen);
        plan->edges[i].below.from = (uint32_t)plan->slot_count;
        collect_below(maker, plan->edges[i].node, &plan->edges[i], seen);
    }
    free(seen);
}

static bool same_step(const struct path_step *a, const struct path_step *b)
{
    if (a->kind != b->kind)
        return false;
    return a->kind == STEP_KEY ? strcmp(a->key, b->key) == 0
                               : a->kind == STEP_EACH || a->index == b->index;
}

/* What mapping.h promises of paths, because the walk's levels depend on it. */
static int check_path(const struct source *source, const struct mapping *mapping, struct error *err)
{
    size_t prefix = 0; /* steps up to the last EACH */
    if (source->step_count > PATH_STEPS_MAX)
        return error_set(err, ERROR_INPUT, "%s: a path has more than %d steps",
                         mapping->schema.table, PATH_STEPS_MAX);
    if (source->step_count == 0 || source->steps[0].kind != STEP_KEY)
        return error_set(err, ERROR_INPUT, "%s: a path must begin with a key",
                         mapping->schema.table);
    for (size_t i = 1; i < source->step_count; i++) {
        if (source->steps[i].kind != STEP_EACH)
            continue;
        prefix = i + 1;
        if (source->steps[i - 1].kind == STEP_EACH)
            return error_set(err, ERROR_INPUT, "%s: a path explodes a list of lists",
                             mapping->schema.table);
    }
    bool fits = prefix <= mapping->explode.step_count;
    for (size_t i = 0; i < prefix && fits; i++)
        fits = same_step(&source->steps[i], &mapping->explode.steps[i]);
    if (!fits)
        return error_set(err, ERROR_INPUT, "%s: a path explodes what the table does not",
                         mapping->schema.table);
    return OK;
}

static void add_path(struct maker *maker, const struct source *from, bool explodes,
                     struct plan_source *to)
{
    struct path *path = &maker->paths[maker->path_count++];
    *path =
        (struct path){.steps = from->steps, .step_count = from->step_count, .explodes = explodes};
    if (explodes)
        return;
    for (size_t i = 0; i < from->step_count; i++)
        path->slot.level = (uint8_t)(path->slot.level + (from->steps[i].kind == STEP_EACH));
    path->slot.index = maker->plan->slot_counts[path->slot.level]++;
    to->slot = path->slot;
}

static int make_columns(struct maker *maker, const struct mapping *mapping, struct error *err)
{
    struct plan *plan = maker->plan;
    size_t count = 0;
    for (size_t i = 0; i < plan->column_count; i++)
        count += mapping->columns[i].source_count;
    plan->sources = memory_alloc(count, sizeof *plan->sources);
    maker->paths = memory_alloc(count + 1, sizeof *maker->paths);
    count = 0;
    for (size_t i = 0; i < plan->column_count; i++) {
        const struct mapping_column *column = &mapping->columns[i];
        plan->columns[i].sources.from = (uint32_t)count;
        plan->columns[i].sources.count = (uint32_t)column->source_count;
        for (size_t k = 0; k < column->source_count; k++) {
            const struct source *from = &column->sources[k];
            struct plan_source *to = &plan->sources[count++];
            *to = (struct plan_source){.kind = from->kind, .name = from->name};
            if (from->kind != SOURCE_PATH)
                continue;
            int rc = check_path(from, mapping, err);
            if (rc != OK)
                return error_wrap(err, "column %s", mapping->schema.columns[i].name);
            add_path(maker, from, false, to);
            if (to->slot.level > plan->columns[i].level)
                plan->columns[i].level = to->slot.level;
        }
    }
    return OK;
}

int plan_make(struct plan *out, const struct mapping *mapping, struct error *err)
{
    *out = (struct plan){.column_count = mapping->schema.column_count,
                         .level_count = 1 + mapping->explode_level_count};
    struct maker maker = {.plan = out};
    ASSERT(mapping->explode_level_count < PLAN_LEVELS);
    out->columns = memory_alloc(out->column_count, sizeof *out->columns);
    int rc = make_columns(&maker, mapping, err);
    if (rc == OK && mapping->explode_level_count > 0) {
        rc = check_path(&mapping->explode, mapping, err);
        if (rc == OK)
            add_path(&maker, &mapping->explode, true, NULL);
    }
    if (rc == OK)
        make_nodes(&maker);
    for (size_t i = 0; i < out->node_count; i++)
        free(maker.sets[i].items);
    free(maker.sets);
    free(maker.paths);
    if (rc != OK)
        plan_free(out);
    return rc;
}

void plan_free(struct plan *plan)
{
    free(plan->columns);
    free(plan->sources);
    free(plan->nodes);
    free(plan->edges);
    free(plan->elements);
    free(plan->slots);
    free(plan->table);
    *plan = (struct plan){0};
}
