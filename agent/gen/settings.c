/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of rows made from settings.def; values are stored by offset.
 */
#include "agent/gen/settings.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/assert.h"

enum kind { KIND_real, KIND_count, KIND_time, KIND_text, KIND_toggle };

struct row {
    enum kind kind;
    size_t offset;
    const char *flag;
    const char *environment; /* NULL: none */
    const char *otherwise;
    double min;
    double max;
    const char *value;
    const char *help;
};

static const struct row rows[] = {
#define SETTING(kind, field, flag, environment, otherwise, min, max, value, help)                  \
    {KIND_##kind, offsetof(struct settings, field), flag, environment, otherwise, min, max, value, \
     help},
#include "agent/gen/settings.def"
#undef SETTING
};

enum { ROW_COUNT = sizeof rows / sizeof rows[0] };

static int parse_real(double *out, const struct row *row, const char *text)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    bool good = end != text && *end == 0 && errno == 0 && isfinite(*out);
    return good && *out >= row->min && *out <= row->max ? OK : ERROR_INPUT;
}

static int parse_count(int64_t *out, const struct row *row, const char *text)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    bool good = end != text && *end == 0 && errno == 0;
    return good && (double)value >= row->min && (double)value <= row->max ? OK : ERROR_INPUT;
}

/* Epoch ms, or a time of day in UTC; from 1970 to 2199, as the tables take it. */
static int parse_time(int64_t *out, const char *text)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != 0 || errno != 0) {
        struct tm broken = {0};
        const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &broken);
        if (rest == NULL || *rest != 0)
            return ERROR_INPUT;
        value = (long long)timegm(&broken) * 1000;
    }
    *out = value;
    return value >= 0 && value < INT64_C(7258118400000) ? OK : ERROR_INPUT;
}

static int store(struct settings *out, const struct row *row, const char *text)
{
    void *at = (char *)out + row->offset;
    switch (row->kind) {
    case KIND_real:
        return parse_real(at, row, text);
    case KIND_count:
        return parse_count(at, row, text);
    case KIND_time:
        return parse_time(at, text);
    case KIND_text:
        *(const char **)at = text;
        return OK;
    case KIND_toggle:
        *(bool *)at = true;
        return OK;
    }
    ASSERT(false);
    return ERROR_INPUT;
}

static void store_absent(struct settings *out, const struct row *row)
{
    void *at = (char *)out + row->offset;
    if (row->kind == KIND_count || row->kind == KIND_time)
        *(int64_t *)at = SETTING_NOT_GIVEN;
}

static int expectation(struct error *err, const char *what, const struct row *row, const char *text)
{
    if (row->kind == KIND_time)
        return error_set(err, ERROR_INPUT,
                         "%s: \"%s\" is no time from 1970 to 2199 "
                         "(epoch ms or 2026-01-31T12:00:00Z)",
                         what, text);
    return error_set(err, ERROR_INPUT, "%s: \"%s\" is no %s from %.0f to %.0f", what, text,
                     row->kind == KIND_real ? "number" : "whole number", row->min, row->max);
}

static int parse_defaults(struct settings *out, const char *(*lookup)(const char *name),
                          struct error *err)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct row *row = &rows[i];
        const char *given = row->environment != NULL ? lookup(row->environment) : NULL;
        if (given != NULL && given[0] != 0) {
            if (store(out, row, given) != OK)
                return expectation(err, row->environment, row, given);
        } else if (row->kind == KIND_text) {
            ASSERT(store(out, row, row->otherwise) == OK);
        } else if (row->otherwise[0] != 0) {
            ASSERT(store(out, row, row->otherwise) == OK);
        } else {
            store_absent(out, row);
        }
    }
    return OK;
}

static const struct row *row_of(const char *name, size_t len)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strlen(rows[i].flag) == len && memcmp(rows[i].flag, name, len) == 0)
            return &rows[i];
    }
    return NULL;
}

/* One argument, "--flag value" or "--flag=value"; *i moves to the last one it took. */
static int parse_argument(struct settings *out, int argc, char **argv, int *i, struct error *err)
{
    const char *argument = argv[*i];
    if (strncmp(argument, "--", 2) != 0)
        return error_set(err, ERROR_INPUT, "unexpected argument \"%s\"", argument);
    const char *equals = strchr(argument, '=');
    size_t len = equals != NULL ? (size_t)(equals - argument) - 2 : strlen(argument) - 2;
    const struct row *row = row_of(argument + 2, len);
    if (row == NULL)
        return error_set(err, ERROR_INPUT, "unknown option \"%s\"", argument);
    if (row->kind == KIND_toggle && equals != NULL)
        return error_set(err, ERROR_INPUT, "--%s takes no value", row->flag);
    const char *text = equals != NULL ? equals + 1 : "";
    if (row->kind != KIND_toggle && equals == NULL) {
        if (*i + 1 >= argc)
            return error_set(err, ERROR_INPUT, "--%s needs a value", row->flag);
        text = argv[++*i];
    }
    return store(out, row, text) == OK ? OK : expectation(err, argument, row, text);
}

int settings_parse(struct settings *out, int argc, char **argv,
                   const char *(*lookup)(const char *name), struct error *err)
{
    *out = (struct settings){0};
    /* First of all: help must work however broken the rest is. */
    for (int i = 1; i < argc; i++) {
        out->help = out->help || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
        out->version = out->version || strcmp(argv[i], "--version") == 0;
    }
    if (out->help || out->version)
        return OK;
    int rc = parse_defaults(out, lookup, err);
    for (int i = 1; i < argc && rc == OK; i++)
        rc = parse_argument(out, argc, argv, &i, err);
    return rc;
}

void settings_describe(struct buf *out)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct row *row = &rows[i];
        size_t from = out->len;
        buf_printf(out, "  --%s %s", row->flag, row->value);
        while (out->len < from + 26)
            buf_put_u8(out, ' ');
        buf_printf(out, " %s", row->help);
        if (row->otherwise[0] != 0)
            buf_printf(out, " [%s]", row->otherwise);
        if (row->environment != NULL)
            buf_printf(out, " ($%s)", row->environment);
        buf_put_u8(out, '\n');
    }
}
