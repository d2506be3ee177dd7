/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of a partition tuple. A struct partition_value keeps integers of all kinds,
 * dates, times and booleans in `number`, float and double there too, as their bits;
 * string, binary, fixed and uuid in `text`, and decimal in `text` as its unscaled
 * value, two's complement, the highest byte first.
 */
#include "lib/iceberg/internal.h"

#include <math.h>
#include <string.h>

enum partition_form {
    FORM_INTEGER,
    FORM_BOOLEAN,
    FORM_FLOAT,
    FORM_DOUBLE,
    FORM_BYTES,
    FORM_FIXED,
    FORM_DECIMAL
};

static enum partition_form form_of(const struct primitive *type)
{
    switch (type->kind) {
    case PRIMITIVE_BOOLEAN:
        return FORM_BOOLEAN;
    case PRIMITIVE_FLOAT:
        return FORM_FLOAT;
    case PRIMITIVE_DOUBLE:
        return FORM_DOUBLE;
    case PRIMITIVE_UUID:
    case PRIMITIVE_FIXED:
        return FORM_FIXED;
    case PRIMITIVE_DECIMAL:
        return FORM_DECIMAL;
    case PRIMITIVE_STRING:
    case PRIMITIVE_BINARY:
    case PRIMITIVE_UNKNOWN:
    case PRIMITIVE_VARIANT:
    case PRIMITIVE_GEOMETRY:
    case PRIMITIVE_GEOGRAPHY:
        return FORM_BYTES;
    default:
        return FORM_INTEGER;
    }
}

static size_t fixed_size(const struct primitive *type)
{
    if (type->kind == PRIMITIVE_UUID)
        return 16;
    if (type->kind == PRIMITIVE_DECIMAL)
        return decimal_size(type->precision);
    return (size_t)type->length;
}

void partition_avro_type(const struct primitive *type, int32_t field_id, struct buf *out)
{
    static const char *const names[] = {
        [PRIMITIVE_BOOLEAN] = "\"boolean\"",
        [PRIMITIVE_INT] = "\"int\"",
        [PRIMITIVE_LONG] = "\"long\"",
        [PRIMITIVE_FLOAT] = "\"float\"",
        [PRIMITIVE_DOUBLE] = "\"double\"",
        [PRIMITIVE_DATE] = "{\"type\":\"int\",\"logicalType\":\"date\"}",
        [PRIMITIVE_TIME] = "{\"type\":\"long\",\"logicalType\":\"time-micros\"}",
        [PRIMITIVE_TIMESTAMP] =
            "{\"type\":\"long\",\"logicalType\":\"timestamp-micros\",\"adjust-to-utc\":false}",
        [PRIMITIVE_TIMESTAMPTZ] =
            "{\"type\":\"long\",\"logicalType\":\"timestamp-micros\",\"adjust-to-utc\":true}",
        [PRIMITIVE_TIMESTAMP_NS] =
            "{\"type\":\"long\",\"logicalType\":\"timestamp-nanos\",\"adjust-to-utc\":false}",
        [PRIMITIVE_TIMESTAMPTZ_NS] =
            "{\"type\":\"long\",\"logicalType\":\"timestamp-nanos\",\"adjust-to-utc\":true}",
        [PRIMITIVE_STRING] = "\"string\"",
        [PRIMITIVE_BINARY] = "\"bytes\"",
    };
    size_t size = fixed_size(type);
    /* The names hold the field's id: a name may be defined only once. */
    if (type->kind == PRIMITIVE_UUID)
        buf_printf(out,
                   "{\"type\":\"fixed\",\"name\":\"uuid_fixed_%d\",\"size\":16,"
                   "\"logicalType\":\"uuid\"}",
                   field_id);
    else if (type->kind == PRIMITIVE_FIXED)
        buf_printf(out, "{\"type\":\"fixed\",\"name\":\"fixed_%d\",\"size\":%zu}", field_id, size);
    else if (type->kind == PRIMITIVE_DECIMAL)
        buf_printf(out,
                   "{\"type\":\"fixed\",\"name\":\"decimal_%d\",\"size\":%zu,"
                   "\"logicalType\":\"decimal\",\"precision\":%d,\"scale\":%d}",
                   field_id, size, type->precision, type->scale);
    else
        buf_put_cstr(out, type->kind <= PRIMITIVE_BINARY ? names[type->kind] : "\"bytes\"");
}

static uint8_t sign_byte(struct slice decimal)
{
    return decimal.len > 0 && decimal.data[0] >= 0x80 ? 0xff : 0;
}

/* Without leading bytes that only repeat the sign. */
static struct slice decimal_trim(struct slice decimal)
{
    uint8_t sign = sign_byte(decimal);
    while (decimal.len > 1 && decimal.data[0] == sign && (decimal.data[1] >= 0x80) == (sign != 0))
        decimal = slice_of(decimal.data + 1, decimal.len - 1);
    return decimal;
}

static bool number_fits(int64_t number, const struct primitive *type)
{
    if (type->kind == PRIMITIVE_INT || type->kind == PRIMITIVE_DATE)
        return number >= INT32_MIN && number <= INT32_MAX;
    return type->kind != PRIMITIVE_BOOLEAN || number == 0 || number == 1;
}

bool partition_value_put(const struct partition_value *value, const struct primitive *type,
                         struct buf *out)
{
    enum partition_form form = form_of(type);
    struct slice text = value->text;
    buf_put_varint(out, value->null ? 0 : 1);
    if (value->null)
        return true;
    if (value->is_text != (form >= FORM_BYTES) ||
        (!value->is_text && !number_fits(value->number, type)))
        return false;
    if (form == FORM_INTEGER) {
        buf_put_varint(out, value->number);
    } else if (form == FORM_BOOLEAN) {
        buf_put_u8(out, (uint8_t)value->number);
    } else if (form == FORM_FLOAT) {
        buf_put_u32le(out, (uint32_t)value->number);
    } else if (form == FORM_DOUBLE) {
        buf_put_u64le(out, (uint64_t)value->number);
    } else if (form == FORM_BYTES) {
        put_avro_bytes(out, text);
    } else if (form == FORM_FIXED) {
        if (text.len != fixed_size(type))
            return false;
        buf_put_slice(out, text);
    } else {
        struct slice digits = decimal_trim(text);
        size_t size = fixed_size(type);
        if (digits.len == 0 || digits.len > size)
            return false;
        for (size_t i = digits.len; i < size; i++)
            buf_put_u8(out, sign_byte(digits));
        buf_put_slice(out, digits);
    }
    return true;
}

void partition_value_bytes(const struct partition_value *value, const struct primitive *type,
                           struct buf *out)
{
    enum partition_form form = form_of(type);
    if (value->null)
        return;
    if (form == FORM_DECIMAL)
        buf_put_slice(out, decimal_trim(value->text));
    else if (form >= FORM_BYTES)
        buf_put_slice(out, value->text);
    else if (form == FORM_BOOLEAN)
        buf_put_u8(out, (uint8_t)value->number);
    else if (form == FORM_FLOAT || type->kind == PRIMITIVE_INT || type->kind == PRIMITIVE_DATE)
        buf_put_u32le(out, (uint32_t)value->number);
    else
        buf_put_u64le(out, (uint64_t)value->number);
}

static double number_as_double(const struct partition_value *value, enum partition_form form)
{
    if (form == FORM_FLOAT) {
        uint32_t bits = (uint32_t)value->number;
        float number;
        memcpy(&number, &bits, sizeof number);
        return (double)number;
    }
    double number;
    memcpy(&number, &value->number, sizeof number);
    return number;
}

bool partition_value_is_nan(const struct partition_value *value, const struct primitive *type)
{
    enum partition_form form = form_of(type);
    return (form == FORM_FLOAT || form == FORM_DOUBLE) && isnan(number_as_double(value, form));
}

static int compare_doubles(double a, double b)
{
    if (a == b) /* -0.0 is below +0.0 */
        return (signbit(b) != 0) - (signbit(a) != 0);
    return (a > b) - (a < b);
}

static int compare_decimals(struct slice a, struct slice b)
{
    a = decimal_trim(a);
    b = decimal_trim(b);
    bool below_a = sign_byte(a) != 0;
    bool below_b = sign_byte(b) != 0;
    if (below_a != below_b)
        return below_a ? -1 : 1;
    if (a.len != b.len)
        return (a.len > b.len) == below_a ? -1 : 1;
    return slice_compare(a, b);
}

int partition_value_compare(const struct partition_value *a, const struct partition_value *b,
                            const struct primitive *type)
{
    enum partition_form form = form_of(type);
    if (form == FORM_FLOAT || form == FORM_DOUBLE)
        return compare_doubles(number_as_double(a, form), number_as_double(b, form));
    if (form == FORM_DECIMAL)
        return compare_decimals(a->text, b->text);
    if (form >= FORM_BYTES)
        return slice_compare(a->text, b->text);
    return (a->number > b->number) - (a->number < b->number);
}
