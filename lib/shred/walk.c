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

static void guess_init(struct walk *walk);

void walk_init(struct walk *walk, const struct plan *plan, enum shred_variant variant)
{
    *walk = (struct walk){.plan = plan, .find_quotes = quotes_kernel(variant)};
    for (size_t i = 0; i < PLAN_LEVELS; i++) {
        struct walk_level *level = &walk->levels[i];
        level->width = plan->slot_counts[i];
        level->beyond = memory_alloc(level->width, sizeof *level->beyond);
        level->cap = 1;
        level->slots = memory_alloc(level->width, sizeof *level->slots);
    }
    walk->inner_from = memory_alloc(1, sizeof *walk->inner_from);
    guess_init(walk);
}

void walk_free(struct walk *walk)
{
    for (size_t i = 0; i < PLAN_LEVELS; i++) {
        free(walk->levels[i].slots);
        free(walk->levels[i].beyond);
    }
    free(walk->inner_from);
    free(walk->guesses);
    free(walk->nobody);
    quotes_free(&walk->quotes);
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

static inline void note(struct walk *walk, struct plan_range targets, enum value_kind kind,
                        unsigned flags, struct place from, const uint8_t *to)
{
    const struct plan_slot *slots = walk->plan->slots + targets.from;
    for (uint32_t i = 0; i < targets.count; i++)
        walk->levels[slots[i].level].current[slots[i].index] =
            (struct slot){.at = (uint32_t)(from.at - walk->scan.text),
                          .len = (uint32_t)(to - from.at),
                          .quote = (uint32_t)(from.quote - walk->first_quote),
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

static struct place walk_value(struct walk *walk, const struct plan_node *node, struct place place);

static inline bool guess_holds(const struct walk_guess *guess, const uint8_t *key)
{
#ifdef __SSE2__
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)key);
    __m128i same = _mm_cmpeq_epi8(x, _mm_loadu_si128((const __m128i *)(const void *)guess->text));
    same = _mm_or_si128(same, _mm_loadu_si128((const __m128i *)(const void *)guess->any));
    return _mm_movemask_epi8(same) == 0xffff;
#else
    return memcmp(guess->text, key, guess->size) == 0;
#endif
}

/* The guess that holds for the key at `key`, behind `last`; NULL: none. What may be left out
 * of an object is passed over. */
static inline struct walk_guess *guess_next(const struct walk_guess *last, const uint8_t *key)
{
    if (guess_holds(last->next[0], key))
        return last->next[0];
    if (guess_holds(last->next[1], key))
        return last->next[1];
    return guess_holds(last->next[0]->next[0], key) ? last->next[0]->next[0] : NULL;
}

/* The last one never holds: no control character stands behind a quote. */
static void guess_init(struct walk *walk)
{
    const struct plan *plan = walk->plan;
    size_t count = plan->edge_count + GUESS_SPARE + plan->node_count;
    walk->nobody = memory_alloc(1, sizeof *walk->nobody);
    walk->guesses = memory_alloc(count + 1, sizeof *walk->guesses);
    for (size_t i = 0; i <= count; i++)
        walk->guesses[i].next[0] = walk->guesses[i].next[1] = &walk->guesses[count];
    memset(walk->guesses[count].text, 1, sizeof walk->guesses[count].text);
    walk->guesses[count].size = sizeof walk->guesses[count].text;
    walk->guesses[count].edge = PLAN_NONE;
}

/* Nothing leads to what this one was. */
static void guess_clear(struct walk *walk, struct walk_guess *guess)
{
    const struct plan *plan = walk->plan;
    size_t count = plan->edge_count + GUESS_SPARE + plan->node_count;
    struct walk_guess *none = &walk->guesses[count];
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < 2; k++)
            if (walk->guesses[i].next[k] == guess)
                walk->guesses[i].next[k] = none;
    *guess = (struct walk_guess){.next = {none, none}};
}

/* Where a scalar behind that key goes. */
static void guess_aim(struct walk *walk, struct walk_guess *guess, const struct plan_edge *edge)
{
    const struct plan *plan = walk->plan;
    guess->current = &walk->nobody;
    guess->edge = edge == NULL ? PLAN_NONE : (int32_t)(edge - plan->edges);
    guess->simple = edge == NULL || plan->nodes[edge->node].scalar.count <= 1;
    if (edge != NULL && plan->nodes[edge->node].scalar.count == 1) {
        const struct plan_slot *slot = &plan->slots[plan->nodes[edge->node].scalar.from];
        guess->current = &walk->levels[slot->level].current;
        guess->index = slot->index;
    }
}

static void guess_fill(struct walk *walk, struct walk_guess *guess, uint32_t node,
                       const struct plan_edge *edge, struct slice key)
{
    guess->size = (uint32_t)key.len + 2;
    guess->node = node;
    memset(guess->any, 0xff, sizeof guess->any);
    memset(guess->any, 0, guess->size);
    memcpy(guess->text, key.data, guess->size);
    guess_aim(walk, guess, edge);
}

/* The place of a key that no column wants, of which there are few: one that is taken is
 * given away when others have asked for it often, that events without any order don't
 * drive out those that have it. NULL: it is not to be had. */
static struct walk_guess *guess_spare(struct walk *walk, uint32_t node, struct slice key)
{
    uint64_t hash = (plan_word(key.data, key.len) + node + key.len) * 0x9e3779b97f4a7c15u;
    struct walk_guess *guess = &walk->guesses[walk->plan->edge_count + (hash >> 56)];
    if (guess->size == 0 || (guess->size == key.len + 2 && guess->node == node &&
                             memcmp(guess->text, key.data, key.len) == 0))
        return guess;
    if (++guess->wanted < GUESS_WANTED_MAX)
        return NULL;
    guess_clear(walk, guess);
    return guess;
}

/* Keeps what was found for a key, that it may be guessed behind `last`. The result is what
 * the next key is to be guessed from. */
static struct walk_guess *guess_learn(struct walk *walk, struct walk_guess *last, uint32_t node,
                                      const struct plan_edge *edge, struct slice key)
{
    if (key.len > GUESS_KEY_MAX || key.data[key.len + 1] != ':')
        return last;
    struct walk_guess *guess =
        edge != NULL ? &walk->guesses[edge - walk->plan->edges] : guess_spare(walk, node, key);
    if (guess == NULL)
        return last;
    if (guess->size == 0)
        guess_fill(walk, guess, node, edge, key);
    if (last->next[0] != guess) {
        last->next[1] = last->next[0];
        last->next[0] = guess;
    }
    return guess;
}

/* Most of what no column wants is a string or a number: no call for these. */
static inline struct place skip_value(struct scan *scan, struct place place, unsigned depth)
{
    if (*place.at == '"') {
        unsigned flags = 0;
        place.at++;
        place = scan_string(scan, place, &flags);
        if (place.at != NULL)
            place.at++;
    } else if (*place.at == '{' || *place.at == '[') {
        place = scan_skip(scan, place, depth);
    } else {
        place.at = scan_scalar(scan, place.at);
    }
    return place;
}

static inline void see_edge(struct walk *walk, int32_t at, uint64_t object)
{
    if (walk->guesses[at].was == object)
        forget_below(walk, &walk->plan->edges[at]);
    walk->guesses[at].was = object;
}

/* The value of a key: to where its edge leads, or past it. */
static struct place walk_member(struct walk *walk, int32_t edge, uint64_t object,
                                struct place place)
{
    if (edge == PLAN_NONE) {
        walk->unmapped_fields++;
        return skip_value(&walk->scan, place, walk->depth);
    }
    see_edge(walk, edge, object);
    return walk_value(walk, &walk->plan->nodes[walk->plan->edges[edge].node], place);
}

/* A key that was not guessed, up to its value. */
static struct place find_key(struct walk *walk, const struct plan_node *node, struct place place,
                             struct walk_guess **last, int32_t *edge_at)
{
    unsigned flags = 0;
    const uint8_t *key = place.at + 1;
    const uint8_t *close = key;
    place = scan_key(&walk->scan, place, &close, &flags);
    if (place.at == NULL)
        return place;
    struct slice text = slice_of(key, (size_t)(close - key));
    const struct plan_edge *edge = flags == 0 ? plan_find(walk->plan, node, key, text.len)
                                              : find_odd_key(walk, node, key, text.len);
    *edge_at = edge == NULL ? PLAN_NONE : (int32_t)(edge - walk->plan->edges);
    if (flags == 0 && place.quote != NULL)
        *last = guess_learn(walk, *last, (uint32_t)(node - walk->plan->nodes), edge, text);
    return place;
}

/* Why a run of members ended, and where it stands. */
enum run_end {
    RUN_AT_KEY,   /* one that was not guessed */
    RUN_AT_VALUE, /* of run.last: it is not simple */
    RUN_BEHIND,   /* a value, and what follows is no comma and quote */
};
struct run {
    struct walk_guess *last;
    struct place place;
    uint64_t object;
};

/* Members whose keys are as guessed and whose values are strings or short whole numbers,
 * without a blank, as many as follow each other: most of what there is. So it keeps all
 * it needs in registers, and calls nothing. The place is at a key's quote; the text's
 * quotes are known. */
static enum run_end take_run(struct walk *walk, struct run *run)
{
    const uint8_t *text = walk->scan.text;
    const uint8_t *at = run->place.at;
    const uint32_t *quote = run->place.quote;
    struct walk_guess *last = run->last;
    enum run_end end = RUN_AT_VALUE;
    uint32_t unmapped = 0;
    for (;;) {
        struct walk_guess *guess = guess_next(last, at + 1);
        if (guess == NULL) {
            end = RUN_AT_KEY;
            break;
        }
        last = guess;
        at += 1 + guess->size;
        quote += 2;
        if (!guess->simple)
            break;
        const uint8_t *from = at;
        uint32_t what = VALUE_NUMBER;
        if (*at == '"') {
            uint32_t close = quote[1];
            from++;
            what = VALUE_STRING | close >> QUOTE_FLAG_SHIFT << 8;
            at = text + (close & QUOTE_POSITION);
            quote += 2;
        } else {
            at = scan_short(from);
            if (at == from)
                break;
        }
        uint32_t len = (uint32_t)(at - from);
        at += what != VALUE_NUMBER;
        if (guess->edge == PLAN_NONE) {
            unmapped++;
        } else {
            if (guess->was == run->object)
                forget_below(walk, &walk->plan->edges[guess->edge]);
            guess->was = run->object;
            struct slot *slot = &(*guess->current)[guess->index];
            slot->at = (uint32_t)(from - text);
            slot->len = len;
            slot->kind = (uint8_t)what;
            slot->flags = (uint8_t)(what >> 8);
            slot->counted = 0;
        }
        /* The next key is where the next quote is. It is the same as behind the comma, but
         * known without the number's length; the compiler must not know that. */
        const uint8_t *next = text + (*quote & QUOTE_POSITION);
        if (at + 1 != next || *at != ',') {
            end = RUN_BEHIND;
            break;
        }
        __asm__("" : "+r"(next));
        at = next;
    }
    walk->unmapped_fields += unmapped;
    run->last = last;
    run->place = (struct place){.at = at, .quote = quote};
    return end;
}

/* One member, from its key on; the result is behind its value. */
static struct place walk_one(struct walk *walk, const struct plan_node *node, struct run *run)
{
    int32_t edge;
    struct place place = run->place;
    if (place.quote != NULL && *place.at == '"') {
        enum run_end end = take_run(walk, run);
        place = run->place;
        if (end == RUN_BEHIND)
            return place;
        if (end == RUN_AT_VALUE) {
            place.at = scan_blanks(place.at);
            return walk_member(walk, run->last->edge, run->object, place);
        }
    }
    place = find_key(walk, node, place, &run->last, &edge);
    return place.at == NULL ? place : walk_member(walk, edge, run->object, place);
}

/* place.at is behind the '{'; the result is behind the '}'. */
static struct place walk_members(struct walk *walk, const struct plan_node *node,
                                 struct place place)
{
    size_t number = (size_t)(node - walk->plan->nodes);
    struct run run = {.last = &walk->guesses[walk->plan->edge_count + GUESS_SPARE + number],
                      .object = ++walk->object};
    place.at = scan_blanks(place.at);
    if (*place.at == '}') {
        place.at++;
        return place;
    }
    for (;;) {
        run.place = place;
        place = walk_one(walk, node, &run);
        if (place.at == NULL)
            return place;
        place.at = scan_blanks(place.at);
        if (*place.at != ',')
            break;
        place.at = scan_blanks(place.at + 1);
    }
    place.at = *place.at == '}'
                   ? place.at + 1
                   : scan_fail(&walk->scan, place.at, "expected ',' or '}' after a member");
    return place;
}

static struct place walk_object(struct walk *walk, const struct plan_node *node, struct place place)
{
    if (node->object_level != 0)
        instance_begin(walk, node->object_level);
    note(walk, node->object, VALUE_OBJECT, 0, place, place.at + 1);
    if (node->edges.count == 0)
        return scan_skip(&walk->scan, place, walk->depth);
    if (walk->depth == SCAN_DEPTH_MAX) {
        place.at = scan_fail_depth(&walk->scan, place.at);
        return place;
    }
    walk->depth++;
    place.at++;
    place = walk_members(walk, node, place);
    walk->depth--;
    return place;
}

/* place.at is behind the '['; the result is behind the ']'. */
static struct place walk_elements(struct walk *walk, const struct plan_node *node,
                                  struct place place)
{
    const struct plan_element *named = walk->plan->elements + node->elements.from;
    const struct plan_element *named_end = named + node->elements.count;
    place.at = scan_blanks(place.at);
    if (*place.at == ']') {
        place.at++;
        return place;
    }
    for (uint32_t i = 0;; i++) {
        int32_t to = node->other_element;
        if (named < named_end && named->index == i)
            to = (named++)->node;
        if (node->array_level != 0)
            instance_begin(walk, node->array_level);
        place = to == PLAN_NONE ? scan_skip(&walk->scan, place, walk->depth)
                                : walk_value(walk, &walk->plan->nodes[to], place);
        if (place.at == NULL)
            return place;
        place.at = scan_blanks(place.at);
        if (*place.at != ',')
            break;
        place.at = scan_blanks(place.at + 1);
    }
    place.at = *place.at == ']'
                   ? place.at + 1
                   : scan_fail(&walk->scan, place.at, "expected ',' or ']' after an element");
    return place;
}

static struct place walk_array(struct walk *walk, const struct plan_node *node, struct place place)
{
    struct place from = place;
    if (node->elements.count == 0 && node->other_element == PLAN_NONE) {
        place = scan_skip(&walk->scan, place, walk->depth);
    } else if (walk->depth == SCAN_DEPTH_MAX) {
        place.at = scan_fail_depth(&walk->scan, place.at);
    } else {
        walk->depth++;
        place.at++;
        place = walk_elements(walk, node, place);
        walk->depth--;
    }
    if (place.at != NULL)
        note(walk, node->array, VALUE_ARRAY, 0, from, place.at);
    return place;
}

static struct place walk_value(struct walk *walk, const struct plan_node *node, struct place place)
{
    struct place from = place;
    unsigned flags = 0;
    switch (*place.at) {
    case '{':
        return walk_object(walk, node, place);
    case '[':
        return walk_array(walk, node, place);
    case '"':
        from.at++;
        place = scan_string(&walk->scan, from, &flags);
        if (place.at == NULL)
            return place;
        note(walk, node->scalar, VALUE_STRING, flags, from, place.at);
        place.at++;
        return place;
    default:
        place.at = scan_scalar(&walk->scan, place.at);
        if (place.at != NULL && *from.at != 'n')
            note(walk, node->scalar,
                 *from.at == 't' || *from.at == 'f' ? VALUE_BOOLEAN : VALUE_NUMBER, 0, from,
                 place.at);
        return place;
    }
}

/* What is no object: valid, then it is no event; else the fault stands. */
static bool refuse_other(struct walk *walk, struct place place)
{
    const uint8_t *from = place.at;
    if (from < walk->scan.end)
        place = scan_skip(&walk->scan, place, 0);
    if (place.at == NULL)
        return false;
    const uint8_t *at = scan_blanks(place.at);
    scan_fail(&walk->scan, from, "an event is one JSON object");
    if (at == walk->scan.end)
        walk->scan.fault.reason = REFUSED_NO_OBJECT;
    else
        scan_fail(&walk->scan, at, "expected the end after a value");
    if (from == walk->scan.end)
        walk->scan.fault.text = "empty";
    return false;
}

static void begin(struct walk *walk)
{
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
}

/* `quote`: the text's first, or NULL. */
static bool walk_text(struct walk *walk, const uint32_t *quote)
{
    begin(walk);
    walk->first_quote = quote;
    struct place place = {.at = scan_blanks(walk->scan.text), .quote = quote};
    if (*place.at != '{')
        return refuse_other(walk, place);
    place.at++;
    place = walk_members(walk, &walk->plan->nodes[0], place);
    if (place.at == NULL)
        return false;
    const uint8_t *at = scan_blanks(place.at);
    if (at == walk->scan.end)
        return true;
    scan_fail(&walk->scan, at, "something follows the object");
    walk->scan.fault.reason = REFUSED_TRAILING;
    return false;
}

bool walk_event(struct walk *walk, const uint8_t *text, size_t len)
{
    ASSERT(len < UINT32_MAX && text[len] == 0);
    walk->scan.text = text;
    walk->scan.end = text + len;
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        scan_fail(&walk->scan, text, "begins with a byte order mark");
        walk->scan.fault.reason = REFUSED_BOM;
        return false;
    }
    if (walk->find_quotes == NULL)
        return walk_text(walk, NULL);
    quotes_reserve(&walk->quotes, len);
    if (!walk->find_quotes(&walk->quotes, text, len))
        return walk_text(walk, NULL);
    return walk_text(walk, walk->quotes.positions);
}
