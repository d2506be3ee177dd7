/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/instant.h"

/* Two digits at `at`, at most `max`; -1 when they are something else. */
static int two_digits(const uint8_t *at, int max)
{
    if (at[0] < '0' || at[0] > '9' || at[1] < '0' || at[1] > '9')
        return -1;
    int value = (at[0] - '0') * 10 + (at[1] - '0');
    return value <= max ? value : -1;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar, for years from 0 on:
 * counted in years that begin in March, so that the leap day is the last. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static bool parse_date(const uint8_t *at, int64_t *days)
{
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int century = two_digits(at, 99);
    int rest = two_digits(at + 2, 99);
    int month = two_digits(at + 5, 12);
    int day = two_digits(at + 8, 31);
    if (century < 0 || rest < 0 || month < 1 || day < 1 || at[4] != '-' || at[7] != '-')
        return false;
    int year = century * 100 + rest;
    if (day > lengths[month - 1] + (month == 2 && is_leap(year)))
        return false;
    *days = days_of(year, month, day);
    return true;
}

/* ".123456789" at text[*i], if it is there. */
static bool parse_fraction(struct slice text, size_t *i, int64_t *us)
{
    *us = 0;
    if (text.data[*i] != '.')
        return true;
    int64_t unit = 100000;
    size_t from = ++*i;
    for (; *i < text.len && text.data[*i] >= '0' && text.data[*i] <= '9'; ++*i) {
        *us += (text.data[*i] - '0') * unit;
        unit /= 10;
    }
    return *i > from;
}

static bool parse_offset(struct slice text, size_t i, int64_t *seconds)
{
    *seconds = 0;
    if (text.len - i == 1)
        return (text.data[i] | 0x20) == 'z';
    if (text.len - i != 6 || text.data[i + 3] != ':')
        return false;
    int hours = two_digits(text.data + i + 1, 23);
    int minutes = two_digits(text.data + i + 4, 59);
    if (hours < 0 || minutes < 0 || (text.data[i] != '+' && text.data[i] != '-'))
        return false;
    *seconds = (hours * 60 + minutes) * 60 * (text.data[i] == '-' ? -1 : 1);
    return true;
}

bool instant_parse_rfc3339(struct slice text, int64_t *us)
{
    if (text.len < 20) /* 2026-01-01T00:00:00Z */
        return false;
    const uint8_t *at = text.data;
    int64_t days;
    int64_t fraction;
    int64_t offset;
    size_t i = 19;
    int hour = two_digits(at + 11, 23);
    int minute = two_digits(at + 14, 59);
    int second = two_digits(at + 17, 60);
    if (!parse_date(at, &days) || (at[10] | 0x20) != 't' || hour < 0 || minute < 0 || second < 0 ||
        at[13] != ':' || at[16] != ':')
        return false;
    if (!parse_fraction(text, &i, &fraction) || i >= text.len || !parse_offset(text, i, &offset))
        return false;
    int64_t seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset;
    if (second == 60 && seconds % 86400 != 0)
        return false;
    *us = seconds * 1000000 + fraction;
    return true;
}

/* days_of() the other way: eras of 400 years are taken out before what would overflow is added. */
void instant_put_day(int64_t day, struct buf *out)
{
    const int64_t era_days = 146097;
    int64_t shifted = day % era_days + (day % era_days < 0 ? era_days : 0) + 719468;
    int64_t era = day / era_days - (day % era_days < 0) + shifted / era_days;
    int64_t of_era = shifted % era_days;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t from_march = (5 * of_year + 2) / 153;
    int64_t month = from_march < 10 ? from_march + 3 : from_march - 9;
    int64_t year = year_of_era + era * 400 + (month <= 2);
    buf_printf(out, "%04lld-%02lld-%02lld", (long long)year, (long long)month,
               (long long)(of_year - (153 * from_march + 2) / 5 + 1));
}
