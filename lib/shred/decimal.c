/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/shred/decimal.h"

#include <math.h>
#include <stdlib.h>

/* value = mantissa * 10^exponent; the mantissa's last digit is not zero. */
struct decimal {
    bool negative;
    bool long_mantissa; /* more than 19 digits: mantissa is not set */
    uint64_t mantissa;
    int64_t exponent;
};

enum { EXPONENT_LIMIT = 1000000000 };

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static size_t skip_digits(struct slice text, size_t i)
{
    while (i < text.len && is_digit(text.data[i]))
        i++;
    return i;
}

bool decimal_is_integer_text(struct slice text)
{
    size_t i = text.len > 0 && text.data[0] == '-' ? 1 : 0;
    return i < text.len && skip_digits(text, i) == text.len;
}

bool decimal_is_number_text(struct slice text)
{
    size_t i = text.len > 0 && text.data[0] == '-' ? 1 : 0;
    size_t from = i;
    i = skip_digits(text, i);
    if (i == from)
        return false;
    if (i < text.len && text.data[i] == '.') {
        from = ++i;
        i = skip_digits(text, i);
        if (i == from)
            return false;
    }
    if (i < text.len && (text.data[i] | 0x20) == 'e') {
        i++;
        if (i < text.len && text.data[i] == '-')
            i++;
        from = i;
        i = skip_digits(text, i);
        if (i == from)
            return false;
    }
    return i == text.len;
}

/* Behind the 'e': held within +-EXPONENT_LIMIT, which no text of ours can undo by the
 * number of its digits. */
static int64_t parse_exponent(struct slice text, size_t i)
{
    bool negative = text.data[i] == '-';
    if (text.data[i] == '-' || text.data[i] == '+')
        i++;
    int64_t exponent = 0;
    for (; i < text.len && exponent < EXPONENT_LIMIT; i++)
        exponent = exponent * 10 + (text.data[i] - '0');
    if (exponent > EXPONENT_LIMIT)
        exponent = EXPONENT_LIMIT;
    return negative ? -exponent : exponent;
}

static struct decimal parse(struct slice text)
{
    static const uint64_t powers[] = {1,      10,      100,      1000,      10000,
                                      100000, 1000000, 10000000, 100000000, 1000000000};
    struct decimal out = {0};
    size_t i = 0;
    size_t digits = 0;  /* of the mantissa so far */
    size_t zeros = 0;   /* seen behind it, not yet part of it */
    int64_t scale = 0;  /* digits behind the point */
    bool point = false; /* passed */
    if (text.data[0] == '-') {
        out.negative = true;
        i = 1;
    }
    for (; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '.') {
            point = true;
            continue;
        }
        if (!is_digit(c))
            break;
        scale += point;
        if (c == '0') {
            zeros += digits > 0;
            continue;
        }
        digits += zeros + 1;
        for (; digits <= 19 && zeros > 9; zeros -= 9)
            out.mantissa *= powers[9];
        if (digits <= 19)
            out.mantissa = out.mantissa * powers[zeros] * 10 + (uint64_t)(c - '0');
        zeros = 0;
    }
    out.long_mantissa = digits > 19;
    if (i < text.len)
        out.exponent = parse_exponent(text, i + 1);
    out.exponent += (int64_t)zeros - scale;
    return out;
}

/* Nothing but at most 18 digits: what most integers are. */
static inline bool plain_digits(struct slice text, uint64_t *out)
{
    uint64_t number = 0;
    if (text.len == 0 || text.len > 18)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9)
            return false;
        number = number * 10 + digit;
    }
    *out = number;
    return true;
}

bool decimal_is_zero(struct slice text)
{
    uint64_t plain;
    if (plain_digits(text, &plain))
        return plain == 0;
    struct decimal value = parse(text);
    return value.mantissa == 0 && !value.long_mantissa;
}

bool decimal_to_i64(struct slice text, int64_t *out)
{
    uint64_t plain;
    if (plain_digits(text, &plain)) {
        *out = (int64_t)plain;
        return true;
    }
    struct decimal value = parse(text);
    if (value.mantissa == 0 && !value.long_mantissa) {
        *out = 0;
        return true;
    }
    /* The last digit is not zero: a negative exponent leaves a fraction. */
    if (value.long_mantissa || value.exponent < 0 || value.exponent > 18)
        return false;
    uint64_t number = value.mantissa;
    for (int64_t i = 0; i < value.exponent; i++)
        if (__builtin_mul_overflow(number, (uint64_t)10, &number))
            return false;
    uint64_t limit = (uint64_t)INT64_MAX + value.negative;
    if (number > limit)
        return false;
    *out = value.negative ? (int64_t)(0 - number) : (int64_t)number;
    return true;
}

/* Writes the digits anew as an integer with an exponent, so that strtod needs no
 * decimal point (no locale) and no more than 800 of them: 767 decide any rounding
 * to a double, and a 1 behind them stands for whatever not zero follows. */
static double to_double_slow(struct slice text)
{
    char digits[800 + 1 + 32];
    size_t n = 0;
    int64_t exponent = 0;
    bool point = false;
    bool rest = false;
    size_t i = text.data[0] == '-' ? 1 : 0;
    for (; i < text.len && (is_digit(text.data[i]) || text.data[i] == '.'); i++) {
        if (text.data[i] == '.') {
            point = true;
            continue;
        }
        exponent -= point;
        if (n == 0 && text.data[i] == '0')
            continue;
        if (n < 800) {
            digits[n++] = (char)text.data[i];
        } else {
            rest = rest || text.data[i] != '0';
            exponent++;
        }
    }
    if (i < text.len)
        exponent += parse_exponent(text, i + 1);
    if (n == 0)
        digits[n++] = '0';
    if (rest) {
        digits[n++] = '1';
        exponent--;
    }
    digits[n++] = 'e';
    digits[n++] = exponent < 0 ? '-' : '+';
    uint64_t size = (uint64_t)(exponent < 0 ? -exponent : exponent);
    char reversed[24];
    size_t count = 0;
    do
        reversed[count++] = (char)('0' + size % 10);
    while ((size /= 10) > 0);
    while (count > 0)
        digits[n++] = reversed[--count];
    digits[n] = 0;
    return strtod(digits, NULL);
}

bool decimal_to_double(struct slice text, double *out)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    struct decimal value = parse(text);
    double number;
    /* Both factors are exact, so the one operation rounds once (Clinger). */
    if (!value.long_mantissa && value.mantissa <= (uint64_t)1 << 53 && value.exponent >= -22 &&
        value.exponent <= 22) {
        number = (double)value.mantissa;
        number =
            value.exponent < 0 ? number / powers[-value.exponent] : number * powers[value.exponent];
    } else if (value.mantissa == 0 && !value.long_mantissa) {
        number = 0;
    } else {
        number = to_double_slow(text);
    }
    if (!isfinite(number))
        return false;
    *out = value.negative ? -number : number;
    return true;
}

bool decimal_quick_double(const uint8_t *at, size_t len, double *out)
{
    static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8};
    static const uint64_t shifts[] = {1,      10,      100,      1000,     10000,
                                      100000, 1000000, 10000000, 100000000};
    bool negative = *at == '-';
    at += negative;
    len -= negative;
    size_t whole = decimal_digits(at);
    if (whole > 8 || whole == 0)
        return false;
    uint64_t mantissa = decimal_eight(at, whole);
    size_t part = 0;
    if (whole < len) {
        part = len - whole - 1;
        if (at[whole] != '.' || part > 7 || decimal_digits(at + whole + 1) != part)
            return false;
        mantissa = mantissa * shifts[part] + decimal_eight(at + whole + 1, part);
    }
    /* At most 15 digits: both are exact, so that the division alone rounds. */
    double number = (double)mantissa / powers[part];
    *out = negative ? -number : number;
    return true;
}
