/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/shred/scan.h"

const uint8_t *scan_fail(struct scan *scan, const uint8_t *at, const char *text)
{
    scan->fault.at = at;
    scan->fault.reason = REFUSED_SYNTAX;
    scan->fault.text = at >= scan->end ? "the text ends too early" : text;
    return NULL;
}

const uint8_t *scan_fail_depth(struct scan *scan, const uint8_t *at)
{
    scan->fault.at = at;
    scan->fault.reason = REFUSED_DEPTH;
    scan->fault.text = "nested deeper than 64 levels";
    return NULL;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(uint8_t c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* `at` is at a backslash; the result is behind the escape. */
static const uint8_t *scan_escape(struct scan *scan, const uint8_t *at)
{
    switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return at + 2;
    case 'u':
        for (int i = 2; i < 6; i++)
            if (!is_hex(at[i]))
                return scan_fail(scan, at + i, "expected four hex digits after \\u");
        return at + 6;
    default:
        return scan_fail(scan, at + 1, "unknown escape in a string");
    }
}

const uint8_t *scan_string_slow(struct scan *scan, const uint8_t *at, unsigned *flags)
{
    while (*at != '"') {
        if (*at != '\\')
            return scan_fail(scan, at, "control character in a string");
        *flags |= STRING_ESCAPED;
        at = scan_escape(scan, at);
        if (at == NULL)
            return NULL;
        at = scan_plain(at, flags);
    }
    return at;
}

static const uint8_t *scan_number(struct scan *scan, const uint8_t *at)
{
    if (*at == '-')
        at++;
    if (!is_digit(*at))
        return scan_fail(scan, at, "expected a digit");
    if (*at == '0') {
        at++;
        if (is_digit(*at))
            return scan_fail(scan, at, "a number has a leading zero");
    } else {
        while (is_digit(*at))
            at++;
    }
    if (*at == '.') {
        at++;
        if (!is_digit(*at))
            return scan_fail(scan, at, "expected a digit after '.'");
        while (is_digit(*at))
            at++;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        if (*at == '+' || *at == '-')
            at++;
        if (!is_digit(*at))
            return scan_fail(scan, at, "expected a digit in an exponent");
        while (is_digit(*at))
            at++;
    }
    return at;
}

static const uint8_t *scan_literal(struct scan *scan, const uint8_t *at, const char *word)
{
    for (; *word != 0; word++, at++)
        if (*at != (uint8_t)*word)
            return scan_fail(scan, at, "expected true, false or null");
    return at;
}

const uint8_t *scan_scalar_slow(struct scan *scan, const uint8_t *at)
{
    switch (*at) {
    case 't':
        return scan_literal(scan, at, "true");
    case 'f':
        return scan_literal(scan, at, "false");
    case 'n':
        return scan_literal(scan, at, "null");
    default:
        if (*at != '-' && !is_digit(*at))
            return scan_fail(scan, at, "expected a value");
        return scan_number(scan, at);
    }
}

/* The stack of open containers is a word: a bit for each, set for an object. */
_Static_assert(SCAN_DEPTH_MAX <= 64, "open containers are bits of a word");

/* Behind a value: closes what ends here. The result is where the next value begins, or
 * behind the whole when depth is back at base. */
static inline struct place scan_after_value(struct scan *scan, struct place place, unsigned base,
                                            unsigned *depth, uint64_t *objects)
{
    while (*depth > base) {
        bool object = (*objects & 1) != 0;
        place.at = scan_blanks(place.at);
        if (*place.at == ',') {
            const uint8_t *close;
            unsigned flags = 0;
            place.at = scan_blanks(place.at + 1);
            return object ? scan_key(scan, place, &close, &flags) : place;
        }
        if (*place.at != (object ? '}' : ']')) {
            place.at = scan_fail(scan, place.at,
                                 object ? "expected ',' or '}' after a member"
                                        : "expected ',' or ']' after an element");
            return place;
        }
        place.at++;
        *objects >>= 1;
        --*depth;
    }
    return place;
}

/* Elements that are strings or short numbers with a comma right behind them, as many as
 * follow each other; the result is at the next one. */
static inline struct place scan_elements(const struct scan *scan, struct place place)
{
    for (;;) {
        struct place next = place;
        if (*place.at == '"') {
            if (place.quote == NULL)
                return place;
            next.at = scan->text + (place.quote[1] & QUOTE_POSITION) + 1;
            next.quote += 2;
        } else {
            next.at = scan_short(place.at);
            if (next.at == place.at)
                return place;
        }
        if (*next.at != ',')
            return place;
        next.at = scan_blanks(next.at + 1);
        place = next;
    }
}

struct place scan_skip(struct scan *scan, struct place place, unsigned depth)
{
    unsigned base = depth;
    uint64_t objects = 0;
    for (;;) {
        unsigned flags = 0;
        const uint8_t *close;
        bool object = *place.at == '{';
        if (*place.at == '"') {
            place.at++;
            place = scan_string(scan, place, &flags);
            if (place.at != NULL)
                place.at++;
        } else if (object || *place.at == '[') {
            if (depth == SCAN_DEPTH_MAX) {
                place.at = scan_fail_depth(scan, place.at);
                return place;
            }
            place.at = scan_blanks(place.at + 1);
            if (*place.at != (object ? '}' : ']')) {
                depth++;
                objects = objects << 1 | object;
                place = object ? scan_key(scan, place, &close, &flags) : scan_elements(scan, place);
                if (place.at == NULL)
                    return place;
                continue;
            }
            place.at++;
        } else {
            place.at = scan_scalar(scan, place.at);
        }
        if (place.at == NULL)
            return place;
        place = scan_after_value(scan, place, base, &depth, &objects);
        if (place.at == NULL || depth == base)
            return place;
    }
}
