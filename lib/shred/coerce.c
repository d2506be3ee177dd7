/* SPDX-License-Identifier: Apache-2.0
 *
 * One function a type, each the letter of the coercion rules. Scalars first, lists on
 * top of them.
 */
#include "lib/shred/coerce.h"

#include "lib/base/assert.h"
#include "lib/base/instant.h"
#include "lib/schema/mapping.h"
#include "lib/shred/decimal.h"
#include "lib/shred/text.h"

/* A scalar's text, as UTF-8 without escapes. What had to be decoded lies at the end of
 * scratch, from *offset on, and *decoded is true. */
static struct slice scalar_text(struct coercer *coercer, const struct value *value, bool *decoded,
                                size_t *offset)
{
    struct slice bytes = value->bytes;
    *decoded = false;
    if (value->flags == 0 || (value->flags == STRING_HIGH && text_is_utf8(bytes)))
        return bytes;
    *decoded = true;
    *offset = coercer->scratch.len;
    coercer->replaced += (value->flags & STRING_ESCAPED) != 0
                             ? text_put_unescaped(bytes, &coercer->scratch)
                             : text_put_repaired(bytes, &coercer->scratch);
    if (buf_failed(&coercer->scratch))
        return slice_of(NULL, 0);
    return slice_of(coercer->scratch.data + *offset, coercer->scratch.len - *offset);
}

static const char *find_in_domain(const struct coercion_rule *rule, struct slice text)
{
    for (size_t i = 0; i < rule->domain_count; i++)
        if (slice_is(text, rule->domain[i]))
            return rule->domain[i];
    return NULL;
}

static bool coerce_string(struct coercer *coercer, const struct coercion_rule *rule,
                          const struct value *value, struct cell *out)
{
    if (value->kind != VALUE_STRING && value->kind != VALUE_NUMBER && value->kind != VALUE_BOOLEAN)
        return false;
    bool decoded;
    size_t offset = 0;
    uint64_t replaced = coercer->replaced;
    struct slice text = scalar_text(coercer, value, &decoded, &offset);
    if (rule->coercion != COERCE_TYPE) {
        /* Whatever is found is constant storage: what was decoded is not kept. */
        const char *found =
            rule->coercion == COERCE_COUNTRY ? country_alpha3(text) : find_in_domain(rule, text);
        if (decoded && !buf_failed(&coercer->scratch))
            coercer->scratch.len = offset;
        if (found == NULL) {
            coercer->replaced = replaced;
            return false;
        }
        out->kind = CELL_BYTES;
        out->bytes = slice_cstr(found);
        return true;
    }
    out->kind = decoded ? CELL_SCRATCH : CELL_BYTES;
    out->bytes = text;
    out->offset = offset;
    return true;
}

/* The integer rule on a number or a string's text. */
static bool integer_of(const struct value *value, struct slice text, int64_t *out)
{
    if (value->kind == VALUE_STRING && !decimal_is_integer_text(text))
        return false;
    return decimal_to_i64(text, out);
}

static bool coerce_integer(const struct coercion_rule *rule, const struct value *value,
                           struct slice text, int64_t *out)
{
    if (value->kind == VALUE_BOOLEAN) {
        *out = text.data[0] == 't';
        return true;
    }
    if (!integer_of(value, text, out))
        return false;
    return rule->type == TYPE_LONG || (*out >= INT32_MIN && *out <= INT32_MAX);
}

static bool coerce_boolean(const struct value *value, struct slice text, int64_t *out)
{
    switch (value->kind) {
    case VALUE_BOOLEAN:
        *out = text.data[0] == 't';
        return true;
    case VALUE_NUMBER:
        *out = !decimal_is_zero(text);
        return true;
    default:
        *out = slice_is(text, "true") || slice_is(text, "1");
        return *out != 0 || slice_is(text, "false") || slice_is(text, "0");
    }
}

static bool coerce_instant(const struct coercion_rule *rule, const struct value *value,
                           struct slice text, int64_t *out)
{
    static const int64_t scales[] = {[UNIT_MS] = 1000, [UNIT_S] = 1000000, [UNIT_US] = 1};
    if (value->kind == VALUE_BOOLEAN)
        return false;
    if (integer_of(value, text, out)) {
        if (__builtin_mul_overflow(*out, scales[rule->unit], out))
            return false;
    } else if (value->kind != VALUE_STRING || !instant_parse_rfc3339(text, out)) {
        return false;
    }
    return instant_in_range(*out);
}

static bool coerce_double(const struct value *value, struct slice text, double *out)
{
    if (value->kind == VALUE_BOOLEAN ||
        (value->kind == VALUE_STRING && !decimal_is_number_text(text)))
        return false;
    return decimal_to_double(text, out);
}

static bool coerce_scalar(struct coercer *coercer, const struct coercion_rule *rule,
                          const struct value *value, struct cell *out)
{
    if (rule->type == TYPE_STRING)
        return coerce_string(coercer, rule, value, out);
    if (value->kind == VALUE_OBJECT || value->kind == VALUE_ARRAY)
        return false;
    bool decoded;
    bool good = false;
    size_t offset = 0;
    uint64_t replaced = coercer->replaced;
    struct slice text = scalar_text(coercer, value, &decoded, &offset);
    if (buf_failed(&coercer->scratch))
        return false;
    out->kind = CELL_NUMBER;
    switch (rule->type) {
    case TYPE_BOOLEAN:
        good = coerce_boolean(value, text, &out->number);
        break;
    case TYPE_INT:
    case TYPE_LONG:
        good = coerce_integer(rule, value, text, &out->number);
        break;
    case TYPE_TIMESTAMPTZ:
        good = coerce_instant(rule, value, text, &out->number);
        break;
    case TYPE_DOUBLE:
        out->kind = CELL_DOUBLE;
        good = coerce_double(value, text, &out->real);
        break;
    default:
        ASSERT(rule->type == TYPE_STRING);
    }
    if (decoded)
        coercer->scratch.len = offset;
    coercer->replaced = replaced;
    return good;
}

/* Behind the list in scratch: one element as row.h has it. */
static void put_element(struct coercer *coercer, const struct coercion_rule *rule,
                        const struct cell *cell)
{
    struct buf *scratch = &coercer->scratch;
    uint64_t bits;
    switch (rule->type) {
    case TYPE_BOOLEAN:
        buf_put_u8(scratch, (uint8_t)cell->number);
        break;
    case TYPE_INT:
        buf_put_u32le(scratch, (uint32_t)cell->number);
        break;
    case TYPE_DOUBLE:
        memcpy(&bits, &cell->real, sizeof bits);
        buf_put_u64le(scratch, bits);
        break;
    case TYPE_STRING:
        buf_put_u32le(scratch, (uint32_t)cell->bytes.len);
        buf_put_slice(scratch, cell->bytes);
        break;
    default:
        buf_put_u64le(scratch, (uint64_t)cell->number);
    }
}

/* True: the element is in the list. A decoded string already lies at scratch's end,
 * behind the room that is kept for its length. */
static bool add_element(struct coercer *coercer, const struct coercion_rule *rule,
                        const struct value *value)
{
    struct buf *scratch = &coercer->scratch;
    struct cell cell = {0};
    size_t mark = scratch->len;
    bool room = rule->type == TYPE_STRING && value->flags != 0;
    if (room)
        buf_put_u32le(scratch, 0);
    bool good = coerce_scalar(coercer, rule, value, &cell);
    if (buf_failed(scratch))
        return false;
    if (good && cell.kind == CELL_SCRATCH) {
        put_u32le(scratch->data + mark, (uint32_t)cell.bytes.len);
        return true;
    }
    scratch->len = mark;
    if (good)
        put_element(coercer, rule, &cell);
    return good;
}

static bool put_small(struct buf *scratch, uint64_t bits, size_t size)
{
    uint8_t *to = buf_extend(scratch, size);
    if (to == NULL)
        return false;
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(bits >> 8 * i);
    return true;
}

/* What most elements are needs no coercion. False: nothing was done. */
static bool add_quick(struct coercer *coercer, const struct coercion_rule *rule,
                      const struct value *value)
{
    struct buf *scratch = &coercer->scratch;
    int64_t number;
    uint64_t bits;
    double real;
    if (rule->type == TYPE_STRING) {
        if (value->kind != VALUE_STRING || value->flags != 0 || rule->coercion != COERCE_TYPE)
            return false;
        uint8_t *to = buf_extend(scratch, 4 + value->bytes.len);
        if (to == NULL)
            return false;
        put_u32le(to, (uint32_t)value->bytes.len);
        memcpy(to + 4, value->bytes.data, value->bytes.len);
        return true;
    }
    if (value->kind != VALUE_NUMBER)
        return false;
    if (rule->type == TYPE_DOUBLE) {
        if (!decimal_quick_double(value->bytes.data, value->bytes.len, &real))
            return false;
        memcpy(&bits, &real, sizeof bits);
        return put_small(scratch, bits, 8);
    }
    if ((rule->type != TYPE_INT && rule->type != TYPE_LONG) ||
        !decimal_quick_i64(value->bytes.data, value->bytes.len, &number))
        return false;
    if (rule->type == TYPE_LONG)
        return put_small(scratch, (uint64_t)number, 8);
    return number <= INT32_MAX && put_small(scratch, (uint64_t)number, 4);
}

/* The element at `place` of a list that the walk has accepted; the result is behind it. */
static struct place read_element(struct coercer *coercer, struct place place, struct value *value)
{
    const uint8_t *from = place.at;
    *value = (struct value){0};
    if (*from == '"') {
        place.at++;
        place = scan_string(&coercer->scan, place, &value->flags);
        ASSERT(place.at != NULL);
        value->kind = VALUE_STRING;
        value->bytes = slice_of(from + 1, (size_t)(place.at - from) - 1);
        place.at++;
        return place;
    }
    if (*from == '{' || *from == '[')
        place = scan_skip(&coercer->scan, place, 0);
    else
        place.at = scan_scalar(&coercer->scan, place.at);
    ASSERT(place.at != NULL);
    value->bytes = slice_of(from, (size_t)(place.at - from));
    if (*from == '{' || *from == '[')
        value->kind = VALUE_OBJECT;
    else if (*from != 'n')
        value->kind = *from == 't' || *from == 'f' ? VALUE_BOOLEAN : VALUE_NUMBER;
    return place;
}

/* The list stands in an event: behind each element SCAN_PADDING bytes can be read. */
static uint32_t add_elements(struct coercer *coercer, const struct coercion_rule *rule,
                             const struct value *value, uint32_t *lost)
{
    uint32_t count = 0;
    struct place place = {.at = scan_blanks(value->bytes.data + 1), .quote = value->quote};
    while (*place.at != ']') {
        struct value element;
        place = read_element(coercer, place, &element);
        place.at = scan_blanks(place.at);
        if (element.kind != VALUE_NONE) {
            bool good = add_quick(coercer, rule, &element) || add_element(coercer, rule, &element);
            count += good;
            *lost += !good;
        }
        if (*place.at == ',')
            place.at = scan_blanks(place.at + 1);
    }
    return count;
}

static bool coerce_list(struct coercer *coercer, const struct coercion_rule *rule,
                        const struct value *value, struct cell *out, uint32_t *lost)
{
    struct buf *scratch = &coercer->scratch;
    size_t start = scratch->len;
    uint32_t count;
    if (value->kind == VALUE_OBJECT)
        return false;
    buf_put_u32le(scratch, 0);
    if (value->kind == VALUE_ARRAY) {
        count = add_elements(coercer, rule, value, lost);
    } else {
        count = add_element(coercer, rule, value);
        *lost += 1 - count;
    }
    if (buf_failed(scratch))
        return false;
    put_u32le(scratch->data + start, count);
    out->kind = CELL_SCRATCH;
    out->offset = start;
    out->bytes.len = scratch->len - start;
    return true;
}

bool coerce(struct coercer *coercer, const struct coercion_rule *rule, const struct value *value,
            struct cell *out, uint32_t *lost)
{
    if (value->kind == VALUE_NONE)
        return false;
    bool good = rule->list ? coerce_list(coercer, rule, value, out, lost)
                           : coerce_scalar(coercer, rule, value, out);
    if (!good) {
        out->kind = CELL_NULL;
        ++*lost;
    }
    return good;
}
