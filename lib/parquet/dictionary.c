/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing with linear probing, at most half full. A slot holds 32 bits of
 * the hash, so that a miss seldom touches the value, and growing rehashes nothing.
 * The table begins small for each chunk: most columns have few values, and a
 * small table stays in the first cache.
 */
#include "lib/parquet/dictionary.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL /* a call for each short string would cost more than its hash */
#include <xxhash.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"

enum { SLOTS_FIRST = 1024 };

void dictionary_init(struct dictionary *dictionary, size_t bytes_max)
{
    *dictionary = (struct dictionary){.bytes_max = bytes_max};
    random_system(&dictionary->seed, sizeof dictionary->seed);
}

void dictionary_free(struct dictionary *dictionary)
{
    buf_free(&dictionary->bytes);
    free(dictionary->entries);
    free(dictionary->pages);
    free(dictionary->slots);
    free(dictionary->code_places);
    *dictionary = (struct dictionary){0};
}

static void slots_clear(struct dictionary *dictionary, size_t count)
{
    if (count > dictionary->slot_cap) {
        free(dictionary->slots);
        dictionary->slots = memory_alloc_raw(count, sizeof *dictionary->slots);
        dictionary->slot_cap = count;
    }
    memset(dictionary->slots, 0, count * sizeof *dictionary->slots);
    dictionary->slot_count = count;
}

void dictionary_begin(struct dictionary *dictionary, unsigned width, size_t code_count)
{
    dictionary->width = width;
    dictionary->count = 0;
    buf_reset(&dictionary->bytes);
    /* Entries point into it: it must not move. What is not used takes no memory. */
    bool reserved = buf_reserve(&dictionary->bytes, dictionary->bytes_max);
    ASSERT(reserved);
    dictionary->code_count = code_count;
    if (code_count == 0) {
        slots_clear(dictionary, SLOTS_FIRST);
        return;
    }
    if (code_count > dictionary->code_cap) {
        free(dictionary->code_places);
        dictionary->code_places = memory_alloc_raw(code_count, sizeof *dictionary->code_places);
        dictionary->code_cap = code_count;
    }
    memset(dictionary->code_places, 0, code_count * sizeof *dictionary->code_places);
}

void dictionary_cut(struct dictionary *dictionary, uint32_t count, size_t bytes_len)
{
    ASSERT(count <= dictionary->count && bytes_len <= dictionary->bytes.len);
    dictionary->count = count;
    dictionary->bytes.len = bytes_len;
}

/* Twice the slots; the hashes are at hand. */
static void slots_grow(struct dictionary *dictionary)
{
    struct dictionary_slot *old = dictionary->slots;
    size_t old_count = dictionary->slot_count;
    size_t count = old_count * 2;
    struct dictionary_slot *slots = memory_alloc(count, sizeof *slots);
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].place == 0)
            continue;
        size_t at = old[i].hash & (count - 1);
        while (slots[at].place != 0)
            at = (at + 1) & (count - 1);
        slots[at] = old[i];
    }
    free(old);
    dictionary->slots = slots;
    dictionary->slot_count = count;
    dictionary->slot_cap = count;
}

static uint32_t append(struct dictionary *dictionary, union dictionary_entry entry)
{
    if (dictionary->count == dictionary->entry_cap) {
        size_t cap = dictionary->entry_cap == 0 ? SLOTS_FIRST : dictionary->entry_cap * 2;
        dictionary->entries = memory_resize(dictionary->entries, cap, sizeof *dictionary->entries);
        dictionary->pages = memory_resize(dictionary->pages, cap, sizeof *dictionary->pages);
        dictionary->entry_cap = cap;
    }
    uint32_t index = dictionary->count++;
    dictionary->entries[index] = entry;
    dictionary->pages[index] = 0;
    return index;
}

uint32_t dictionary_append_string(struct dictionary *dictionary, struct slice value)
{
    struct buf *bytes = &dictionary->bytes;
    if (value.len > dictionary->bytes_max || bytes->len + 4 + value.len > dictionary->bytes_max)
        return DICTIONARY_FULL;
    buf_put_u32le(bytes, (uint32_t)value.len);
    buf_put_slice(bytes, value);
    value.data = bytes->data + bytes->len - value.len;
    return append(dictionary, (union dictionary_entry){.string = value});
}

static uint32_t append_number(struct dictionary *dictionary, uint64_t bits)
{
    if (dictionary->bytes.len + dictionary->width > dictionary->bytes_max)
        return DICTIONARY_FULL;
    if (dictionary->width == 4)
        buf_put_u32le(&dictionary->bytes, (uint32_t)bits);
    else
        buf_put_u64le(&dictionary->bytes, bits);
    return append(dictionary, (union dictionary_entry){.number = bits});
}

/* The new entry's slot is `at`, found empty. */
static uint32_t settle(struct dictionary *dictionary, size_t at, uint32_t hash, uint32_t index)
{
    if (index == DICTIONARY_FULL)
        return index;
    dictionary->slots[at] = (struct dictionary_slot){.hash = hash, .place = index + 1};
    if ((size_t)dictionary->count * 2 > dictionary->slot_count)
        slots_grow(dictionary);
    return index;
}

uint32_t dictionary_put_string(struct dictionary *dictionary, struct slice value)
{
    uint32_t hash = (uint32_t)XXH3_64bits_withSeed(value.data, value.len, dictionary->seed);
    size_t mask = dictionary->slot_count - 1;
    size_t at = hash & mask;
    for (; dictionary->slots[at].place != 0; at = (at + 1) & mask) {
        struct dictionary_slot slot = dictionary->slots[at];
        if (slot.hash == hash && slice_equal(dictionary->entries[slot.place - 1].string, value))
            return slot.place - 1;
    }
    return settle(dictionary, at, hash, dictionary_append_string(dictionary, value));
}

/* The finalizer of MurmurHash3. */
static uint32_t hash_number(uint64_t bits, uint64_t seed)
{
    bits ^= seed;
    bits = (bits ^ bits >> 33) * 0xff51afd7ed558ccdu;
    bits = (bits ^ bits >> 33) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(bits ^ bits >> 33);
}

uint32_t dictionary_put_number(struct dictionary *dictionary, uint64_t bits)
{
    uint32_t hash = hash_number(bits, dictionary->seed);
    size_t mask = dictionary->slot_count - 1;
    size_t at = hash & mask;
    for (; dictionary->slots[at].place != 0; at = (at + 1) & mask) {
        struct dictionary_slot slot = dictionary->slots[at];
        if (slot.hash == hash && dictionary->entries[slot.place - 1].number == bits)
            return slot.place - 1;
    }
    return settle(dictionary, at, hash, append_number(dictionary, bits));
}
