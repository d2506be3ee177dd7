/* SPDX-License-Identifier: Apache-2.0
 *
 * Iceberg's primitive types and partition transforms, from their names.
 */
#include "lib/iceberg/internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const plain_names[] = {
    [PRIMITIVE_BOOLEAN] = "boolean",
    [PRIMITIVE_INT] = "int",
    [PRIMITIVE_LONG] = "long",
    [PRIMITIVE_FLOAT] = "float",
    [PRIMITIVE_DOUBLE] = "double",
    [PRIMITIVE_DATE] = "date",
    [PRIMITIVE_TIME] = "time",
    [PRIMITIVE_TIMESTAMP] = "timestamp",
    [PRIMITIVE_TIMESTAMPTZ] = "timestamptz",
    [PRIMITIVE_TIMESTAMP_NS] = "timestamp_ns",
    [PRIMITIVE_TIMESTAMPTZ_NS] = "timestamptz_ns",
    [PRIMITIVE_STRING] = "string",
    [PRIMITIVE_UUID] = "uuid",
    [PRIMITIVE_BINARY] = "binary",
    [PRIMITIVE_UNKNOWN] = "unknown",
    [PRIMITIVE_VARIANT] = "variant",
};

/* "name(1, 2)" with blanks where they please: the numbers, or false. */
static bool parse_arguments(const char *text, const char *name, char open, char close,
                            int32_t *values, size_t count)
{
    size_t len = strlen(name);
    if (strncmp(text, name, len) != 0 || text[len] != open)
        return false;
    text += len + 1;
    for (size_t i = 0; i < count; i++) {
        char *end;
        long value = strtol(text, &end, 10);
        if (end == text || value < 0 || value > INT32_MAX)
            return false;
        values[i] = (int32_t)value;
        while (*end == ' ')
            end++;
        if (*end != (i + 1 < count ? ',' : close))
            return false;
        text = end + 1;
    }
    return *text == 0;
}

bool primitive_parse(const char *text, struct primitive *out)
{
    *out = (struct primitive){0};
    for (size_t i = 0; i < sizeof plain_names / sizeof *plain_names; i++) {
        if (strcmp(text, plain_names[i]) == 0) {
            out->kind = (enum primitive_kind)i;
            return true;
        }
    }
    int32_t values[2];
    if (parse_arguments(text, "decimal", '(', ')', values, 2)) {
        *out = (struct primitive){
            .kind = PRIMITIVE_DECIMAL, .precision = values[0], .scale = values[1]};
        return values[0] >= 1 && values[0] <= 38 && values[1] <= values[0];
    }
    if (parse_arguments(text, "fixed", '[', ']', values, 1)) {
        *out = (struct primitive){.kind = PRIMITIVE_FIXED, .length = values[0]};
        return true;
    }
    if (strncmp(text, "geometry", 8) == 0 && (text[8] == 0 || text[8] == '(')) {
        out->kind = PRIMITIVE_GEOMETRY;
        return true;
    }
    if (strncmp(text, "geography", 9) == 0 && (text[9] == 0 || text[9] == '(')) {
        out->kind = PRIMITIVE_GEOGRAPHY;
        return true;
    }
    return false;
}

size_t decimal_size(int32_t precision)
{
    static const uint8_t digits[16] = {2, 4, 6, 9, 11, 14, 16, 18, 21, 23, 26, 28, 31, 33, 35, 38};
    for (size_t n = 0; n < sizeof digits; n++) {
        if (precision <= digits[n])
            return n + 1;
    }
    return 17; /* beyond 38 digits nothing is legal; primitive_parse refuses it */
}

bool transform_result(const char *transform, const struct primitive *source,
                      struct primitive *result)
{
    int32_t argument;
    *result = *source;
    if (strcmp(transform, "identity") == 0 || strcmp(transform, "void") == 0)
        return true;
    if (parse_arguments(transform, "truncate", '[', ']', &argument, 1))
        return argument > 0;
    *result = (struct primitive){.kind = PRIMITIVE_INT};
    if (parse_arguments(transform, "bucket", '[', ']', &argument, 1))
        return argument > 0;
    if (strcmp(transform, "day") == 0)
        result->kind = PRIMITIVE_DATE;
    else if (strcmp(transform, "year") != 0 && strcmp(transform, "month") != 0 &&
             strcmp(transform, "hour") != 0)
        return false;
    return true;
}
