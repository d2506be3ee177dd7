/* SPDX-License-Identifier: Apache-2.0
 *
 * walk.h: the one pass over an event's text. It validates everything, and notes in
 * slots where the values lie that columns want. Nothing is decoded here.
 *
 * A walk is kept from event to event: its arrays grow to what the largest event
 * needed and are then reused.
 */
#ifndef LIB_SHRED_WALK_H
#define LIB_SHRED_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/shred/plan.h"
#include "lib/shred/quotes.h"
#include "lib/shred/scan.h"

/* More instances than this are counted, but not kept. */
enum { WALK_INSTANCES_MAX = 65536 };

enum value_kind {
    VALUE_NONE, /* not there, or null */
    VALUE_BOOLEAN,
    VALUE_NUMBER,
    VALUE_STRING,
    VALUE_OBJECT,
    VALUE_ARRAY,
};

/* A value found: a string's text without its quotes, the rest with all that is theirs. */
struct slot {
    uint32_t at;
    uint32_t len;
    uint8_t kind;
    uint8_t flags;   /* STRING_ESCAPED, STRING_HIGH */
    uint8_t counted; /* the builder's: its losses have been counted */
    uint32_t quote;  /* of an array, with quotes: how many stand before it */
};

/* The instances of one level: `width` slots each. Level 0 has one. */
struct walk_level {
    uint32_t width;
    uint32_t count; /* may pass WALK_INSTANCES_MAX: those were not kept */
    uint32_t cap;
    struct slot *slots;
    struct slot *current; /* of the instance that is being filled */
    struct slot *beyond;  /* stands in for what is not kept */
};

/* A key as it was last seen in objects of a node, and which keys came next. Events of one
 * sender have their keys in one order, most of the time: a key that is the one expected
 * is told by one comparison, also one that no column wants. */
enum { GUESS_KEY_MAX = 14, GUESS_SPARE = 256, GUESS_WANTED_MAX = 256 };
struct walk_guess {
    uint8_t text[16];           /* the key with its quote and ':' */
    uint8_t any[16];            /* ff: a byte behind that */
    struct walk_guess *next[2]; /* of the same node, newest first */
    struct slot **current;      /* who takes a scalar: (*current)[index]; nobody: walk->nobody */
    uint64_t was;               /* of an edge: the object in which its key was last seen */
    uint32_t index;
    uint32_t size; /* of the text; 0: none is kept here */
    int32_t edge;  /* PLAN_NONE: no column wants it */
    bool simple;   /* at most one column takes a scalar */
    uint32_t node; /* whose objects have it */
    uint32_t wanted;
};

struct walk {
    const struct plan *plan;
    struct scan scan;
    quotes_find *find_quotes; /* NULL: strings are scanned */
    struct quotes quotes;
    const uint32_t *first_quote; /* NULL: the text's strings were scanned */
    unsigned depth;
    struct walk_level levels[PLAN_LEVELS];
    uint32_t *inner_from; /* of each level 1 instance: its first of level 2 */
    uint32_t inner_current;
    uint64_t object;            /* number of the object last opened, over all events */
    struct walk_guess *guesses; /* by edge; GUESS_SPARE of other keys; by node; none */
    struct slot *nobody;
    struct buf key; /* a key that had to be decoded */
    uint32_t unmapped_fields;
    uint32_t duplicate_keys;
};

void walk_init(struct walk *walk, const struct plan *plan, enum shred_variant variant);
void walk_free(struct walk *walk);

/* `text` holds one object's text between blanks and SCAN_PADDING zeros behind `len`.
 * True: valid to its end. False: walk->scan.fault says why not. */
bool walk_event(struct walk *walk, const uint8_t *text, size_t len);

/* place.quote at the value's begin. */
static inline const uint32_t *walk_quote(const struct walk *walk, const struct slot *slot)
{
    return walk->first_quote == NULL ? NULL : walk->first_quote + slot->quote;
}

#endif
