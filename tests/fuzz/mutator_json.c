/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer's mutator for targets whose input is JSON: three of four are changed as a
 * tree (a number to one at a limit, a member gone, doubled or put elsewhere), the rest
 * as bytes. Bytes alone hardly ever get past the parser with more than one change.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

enum { PLACES_MAX = 4096, DEPTH_MAX = 32, TEXT_MAX = 200 };

/* A value and where it hangs. */
struct place {
    json_t *parent;
    const char *key; /* of an object */
    size_t index;    /* of an array */
    json_t *value;
};

struct places {
    size_t count;
    struct place at[PLACES_MAX];
};

static uint64_t state;

static size_t pick(size_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return n == 0 ? 0 : (size_t)(state >> 33) % n;
}

static void collect(struct places *out, json_t *value, unsigned depth)
{
    const char *key;
    size_t i;
    json_t *child;
    if (depth > DEPTH_MAX)
        return;
    json_object_foreach(value, key, child)
    {
        if (out->count < PLACES_MAX)
            out->at[out->count++] = (struct place){.parent = value, .key = key, .value = child};
        collect(out, child, depth + 1);
    }
    json_array_foreach(value, i, child)
    {
        if (out->count < PLACES_MAX)
            out->at[out->count++] = (struct place){.parent = value, .index = i, .value = child};
        collect(out, child, depth + 1);
    }
}

static void put(const struct place *place, json_t *value)
{
    if (value == NULL)
        return;
    if (place->key != NULL)
        json_object_set_new(place->parent, place->key, value);
    else
        json_array_set_new(place->parent, place->index, value);
}

static json_t *number_near(const json_t *old)
{
    static const json_int_t limits[] = {0,
                                        1,
                                        -1,
                                        2,
                                        1000,
                                        INT32_MAX,
                                        INT32_MIN,
                                        (json_int_t)INT32_MAX + 1,
                                        UINT32_MAX,
                                        (json_int_t)1 << 53,
                                        (json_int_t)1 << 62,
                                        INT64_MAX,
                                        INT64_MAX - 1,
                                        INT64_MIN};
    uint64_t value = (uint64_t)json_integer_value(old);
    switch (pick(4)) {
    case 0:
        return json_integer((json_int_t)(value + 1));
    case 1:
        return json_integer((json_int_t)(value - 1));
    case 2:
        return json_integer((json_int_t)(value * 2));
    default:
        return json_integer(limits[pick(sizeof limits / sizeof limits[0])]);
    }
}

static json_t *text_near(const json_t *old)
{
    uint8_t text[TEXT_MAX];
    size_t len = json_string_length(old);
    if (len > TEXT_MAX)
        len = TEXT_MAX;
    if (len > 0)
        memcpy(text, json_string_value(old), len);
    len = LLVMFuzzerMutate(text, len, TEXT_MAX);
    return json_stringn((const char *)text, len); /* NULL: no UTF-8 */
}

static json_t *other_value(void)
{
    switch (pick(7)) {
    case 0:
        return json_null();
    case 1:
        return json_array();
    case 2:
        return json_object();
    case 3:
        return json_string("");
    case 4:
        return json_real(1.5);
    case 5:
        return json_boolean(pick(2));
    default:
        return number_near(NULL);
    }
}

static void remove_at(const struct place *place)
{
    if (place->key != NULL)
        json_object_del(place->parent, place->key);
    else
        json_array_remove(place->parent, place->index);
}

static void change(struct places *places)
{
    const struct place *place = &places->at[pick(places->count)];
    const struct place *other = &places->at[pick(places->count)];
    switch (pick(8)) {
    case 0:
        remove_at(place);
        break;
    case 1: /* the copy is made first: `other` may hold `place` */
        put(place, json_deep_copy(other->value));
        break;
    case 2:
        if (place->key == NULL)
            json_array_insert_new(place->parent, pick(json_array_size(place->parent) + 1),
                                  json_deep_copy(place->value));
        else if (other->key != NULL)
            json_object_set_new(place->parent, other->key, json_deep_copy(place->value));
        break;
    case 3:
        put(place, other_value());
        break;
    default:
        if (json_is_integer(place->value))
            put(place, number_near(place->value));
        else if (json_is_string(place->value))
            put(place, text_near(place->value));
    }
}

/* Of the same kind, taken from elsewhere: ids and names that occur are worth more. */
static void swap_alike(struct places *places)
{
    const struct place *place = &places->at[pick(places->count)];
    for (int i = 0; i < 16; i++) {
        const struct place *other = &places->at[pick(places->count)];
        if (other->value != place->value &&
            json_typeof(other->value) == json_typeof(place->value)) {
            put(place, json_deep_copy(other->value));
            return;
        }
    }
}

/* A byte before the JSON, which some targets have, stays as it is. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static struct places places;
    json_error_t ignored;
    json_t *root = NULL;
    state = seed;
    size_t skip = size > 0 && data[0] != '{' && data[0] != '[';
    if (pick(4) != 0)
        root = json_loadb((const char *)data + skip, size - skip, JSON_ALLOW_NUL, &ignored);
    if (root == NULL)
        return LLVMFuzzerMutate(data, size, max_size);
    /* Each round looks anew: what the last one replaced is freed. */
    for (size_t n = 1 + pick(3); n > 0; n--) {
        places.count = 0;
        collect(&places, root, 0);
        if (places.count == 0)
            break;
        if (pick(4) == 0)
            swap_alike(&places);
        else
            change(&places);
    }
    char *text = json_dumps(root, JSON_COMPACT);
    size_t len = text != NULL ? strlen(text) : 0;
    bool fits = len > 0 && skip + len <= max_size;
    if (fits)
        memcpy(data + skip, text, len);
    free(text);
    json_decref(root);
    return fits ? skip + len : LLVMFuzzerMutate(data, size, max_size);
}
