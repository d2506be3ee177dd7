/* SPDX-License-Identifier: Apache-2.0
 *
 * dictionary.h: the distinct values of one column chunk, in order of first use,
 * and the PLAIN bytes of its dictionary page. Private to lib/parquet.
 *
 * One is reused for all chunks of a file; nothing is allocated for a single value.
 * Entries of strings lie in the page's bytes, close together, and are good until the next
 * begin: the column's own lie all over memory. Doubles are told apart by
 * their bits, so NaN and both zeros stay what they were. The hash has a random
 * seed, since values come from strangers; the order does not depend on it.
 */
#ifndef LIB_PARQUET_DICTIONARY_H
#define LIB_PARQUET_DICTIONARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/slice.h"

#define DICTIONARY_FULL UINT32_MAX

struct dictionary_slot {
    uint32_t hash;
    uint32_t place; /* index + 1; 0: empty */
};

union dictionary_entry {
    struct slice string;
    uint64_t number; /* the bits of an int, long or double */
};

struct dictionary {
    uint64_t seed;
    size_t bytes_max; /* of the dictionary page */
    unsigned width;   /* bytes of a number; 0: strings */
    uint32_t count;
    struct buf bytes; /* the dictionary page */
    union dictionary_entry *entries;
    uint32_t *pages; /* the page that used an entry last; for the caller */
    size_t entry_cap;
    struct dictionary_slot *slots;
    size_t slot_count; /* in use, a power of two */
    size_t slot_cap;
    uint32_t *code_places; /* of the caller's code: index + 1; 0: not used yet */
    size_t code_count;
    size_t code_cap;
};

void dictionary_init(struct dictionary *dictionary, size_t bytes_max);
void dictionary_free(struct dictionary *dictionary);

/* Empties it for a chunk of numbers of `width` bytes, or of strings (0); code_count
 * is the number of distinct values that the caller numbered, else 0. */
void dictionary_begin(struct dictionary *dictionary, unsigned width, size_t code_count);

/* Forgets all but the first `count`; only count and bytes are good after it. */
void dictionary_cut(struct dictionary *dictionary, uint32_t count, size_t bytes_len);

/* The index of a value, new or not; DICTIONARY_FULL when it would pass bytes_max. */
uint32_t dictionary_put_number(struct dictionary *dictionary, uint64_t bits);
uint32_t dictionary_put_string(struct dictionary *dictionary, struct slice value);
/* Without looking whether it is there. */
uint32_t dictionary_append_string(struct dictionary *dictionary, struct slice value);

static inline uint32_t dictionary_put_code(struct dictionary *dictionary, uint32_t code,
                                           const struct slice *distinct)
{
    uint32_t place = dictionary->code_places[code];
    if (place != 0)
        return place - 1;
    uint32_t index = dictionary_append_string(dictionary, distinct[code]);
    if (index != DICTIONARY_FULL)
        dictionary->code_places[code] = index + 1;
    return index;
}

#endif
