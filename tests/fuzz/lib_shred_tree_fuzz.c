/* SPDX-License-Identifier: Apache-2.0
 *
 * The shredder against the slow way: the text becomes jansson's tree, each path is followed
 * through it and each value coerced by the rules of lib/shred. The first byte chooses one
 * of three mappings and how the text is looked through; each event comes twice, since the
 * shredder guesses keys by those of the last. What jansson can't say (a number's text, numbers
 * beyond its types, lone surrogates, U+0000, invalid UTF-8) is not compared, nor a raw NUL, which
 * it skips.
 */
#include <jansson.h>
#include <math.h>

#include "lib/shred/text.h"
#include "tests/unit/lib_shred_support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TABLE_COLUMNS = 12, LEVELS_MAX = 2, INSTANCES_MAX = 64, TEXT_SIZE = 24 };

static const char *const systems[] = {"ios", "android", "1", NULL};

struct table {
    const char *explode;
    size_t count;
    struct test_column columns[TABLE_COLUMNS];
};

static const struct table tables[] = {
    {"a[].b[]",
     9,
     {{.name = "id", .type = TYPE_STRING, .from = "id"},
      {.name = "seat", .type = TYPE_STRING, .from = "a[].s | s", .default_text = "d"},
      {.name = "bid", .type = TYPE_LONG, .from = "a[].b[].i | a[].b[].l[0].i"},
      {.name = "p", .type = TYPE_DOUBLE, .from = "a[].b[].p | a[].p | p[1]"},
      {.name = "cat", .type = TYPE_STRING, .from = "a[].b[].c", .list = true},
      {.name = "ints", .type = TYPE_INT, .from = "n | n.n", .list = true},
      {.name = "ok", .type = TYPE_BOOLEAN, .from = "o"},
      {.name = "first", .type = TYPE_STRING, .from = "a[0].b[1].c[0] | l[2][0]"},
      {.name = "t", .type = TYPE_TIMESTAMPTZ, .from = "ts | a[].b[].ts"}}},
    {"",
     8,
     {{.name = "id", .type = TYPE_STRING, .from = "id | x.id", .required = true},
      {.name = "country", .type = TYPE_STRING, .from = "g.c", .coercion = COERCE_COUNTRY},
      {.name = "os",
       .type = TYPE_STRING,
       .from = "g.os | os",
       .coercion = COERCE_ENUM,
       .domain = systems},
      {.name = "w", .type = TYPE_INT, .from = "s[0] | s[1].w | s"},
      {.name = "deep", .type = TYPE_LONG, .from = "s[1].w[0][1].v"},
      {.name = "reals", .type = TYPE_DOUBLE, .from = "r", .list = true},
      {.name = "flags", .type = TYPE_BOOLEAN, .from = "f | g.f", .list = true},
      {.name = "key", .type = TYPE_STRING, .from = "g.c.d | g.longer_than_sixteen_bytes"}}},
    {"imp[]",
     6,
     {{.name = "id", .type = TYPE_STRING, .from = "id", .required = true},
      {.name = "imp", .type = TYPE_STRING, .from = "imp[].id"},
      {.name = "w", .type = TYPE_INT, .from = "imp[].banner.w | imp[].banner.format[0].w"},
      {.name = "floor", .type = TYPE_DOUBLE, .from = "imp[].bidfloor"},
      {.name = "cat", .type = TYPE_STRING, .from = "site.cat | app.cat", .list = true},
      {.name = "domain", .type = TYPE_STRING, .from = "site.domain | app.domain | app.bundle"}}},
};
enum { TABLES = sizeof tables / sizeof tables[0] };

/* What comes of one event, or that it can't be told. */
struct judge {
    struct buf rows;
    bool unsure;
    size_t row_count;
};

/* ---- values ---- */

static bool is_integer_text(const char *text, size_t len)
{
    size_t sign = len > 0 && text[0] == '-';
    if (len == sign || len > 18)
        return false;
    for (size_t i = sign; i < len; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return true;
}

/* digits [. digits]: an exponent is left to another fuzzer. */
static bool is_decimal_text(const char *text, size_t len)
{
    size_t at = len > 0 && text[0] == '-';
    size_t whole = strspn(text + at, "0123456789");
    at += whole;
    if (whole == 0 || at == len)
        return whole > 0;
    size_t fraction = text[at] == '.' ? strspn(text + at + 1, "0123456789") : 0;
    return fraction > 0 && at + 1 + fraction == len;
}

static bool integer_of(struct judge *judge, const json_t *value, int64_t min, int64_t max,
                       int64_t *out)
{
    size_t len = json_string_length(value);
    if (json_is_boolean(value)) {
        *out = json_is_true(value);
    } else if (json_is_integer(value)) {
        *out = json_integer_value(value);
    } else if (json_is_real(value)) {
        judge->unsure = true;
        return false;
    } else if (json_is_string(value) && is_integer_text(json_string_value(value), len)) {
        *out = strtoll(json_string_value(value), NULL, 10);
    } else {
        judge->unsure |= len > 18; /* zeros before it, or beyond 64 bits */
        return false;
    }
    return *out >= min && *out <= max;
}

static bool real_of(struct judge *judge, const json_t *value, double *out)
{
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return true;
    }
    if (!json_is_string(value))
        return false;
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    judge->unsure |= strcspn(text, "eE") < len;
    *out = strtod(text, NULL);
    return is_decimal_text(text, len) && isfinite(*out);
}

static bool boolean_of(const json_t *value, bool *out)
{
    const char *text = json_string_value(value);
    if (json_is_boolean(value))
        *out = json_is_true(value);
    else if (json_is_number(value))
        *out = json_number_value(value) != 0;
    else if (text != NULL && (strcmp(text, "true") == 0 || strcmp(text, "1") == 0))
        *out = true;
    else if (text != NULL && (strcmp(text, "false") == 0 || strcmp(text, "0") == 0))
        *out = false;
    else
        return false;
    return true;
}

/* A string's, number's, bool's text; NULL data: none. */
static struct slice text_of(struct judge *judge, const json_t *value, char room[TEXT_SIZE])
{
    if (json_is_string(value))
        return slice_of(json_string_value(value), json_string_length(value));
    if (json_is_boolean(value))
        return slice_cstr(json_is_true(value) ? "true" : "false");
    judge->unsure |= json_is_real(value);
    if (!json_is_integer(value))
        return (struct slice){0};
    snprintf(room, TEXT_SIZE, "%lld", (long long)json_integer_value(value));
    return slice_cstr(room);
}

static bool put_text(struct judge *judge, const struct test_column *column, const json_t *value,
                     struct buf *out)
{
    char room[TEXT_SIZE];
    struct slice text = text_of(judge, value, room);
    if (text.data == NULL)
        return false;
    if (column->coercion == COERCE_COUNTRY) {
        const char *code = country_alpha3(text);
        if (code == NULL)
            return false;
        text = slice_cstr(code);
    }
    bool known = column->domain == NULL;
    for (size_t i = 0; !known && column->domain[i] != NULL; i++)
        known = slice_is(text, column->domain[i]);
    if (known)
        test_put_text(out, text);
    return known;
}

static bool put_time(struct judge *judge, const json_t *value, struct buf *out)
{
    static const int64_t year_2200_ms = INT64_C(7258118400) * 1000;
    int64_t ms = 0;
    if (json_is_string(value) &&
        !is_integer_text(json_string_value(value), json_string_length(value)))
        judge->unsure = true;
    if (json_is_boolean(value) || !integer_of(judge, value, 0, year_2200_ms - 1, &ms))
        return false;
    buf_printf(out, "%lld", (long long)ms * 1000);
    return true;
}

/* Appends the value as test_put_row writes it; false: it becomes null. */
static bool put_scalar(struct judge *judge, const struct test_column *column, const json_t *value,
                       struct buf *out)
{
    int64_t integer = 0;
    double real = 0;
    bool truth = false;
    bool fine = false;
    switch (column->type) {
    case TYPE_BOOLEAN:
        fine = boolean_of(value, &truth);
        if (fine)
            buf_put_cstr(out, truth ? "true" : "false");
        return fine;
    case TYPE_INT:
    case TYPE_LONG:
        fine = column->type == TYPE_INT ? integer_of(judge, value, INT32_MIN, INT32_MAX, &integer)
                                        : integer_of(judge, value, INT64_MIN, INT64_MAX, &integer);
        if (fine)
            buf_printf(out, "%lld", (long long)integer);
        return fine;
    case TYPE_DOUBLE:
        fine = real_of(judge, value, &real);
        if (fine)
            buf_printf(out, "%.17g", real);
        return fine;
    case TYPE_TIMESTAMPTZ:
        return put_time(judge, value, out);
    default:
        return put_text(judge, column, value, out);
    }
}

static bool put_value(struct judge *judge, const struct test_column *column, const json_t *value,
                      struct buf *out)
{
    size_t i;
    const json_t *element;
    bool any = false;
    if (!column->list)
        return put_scalar(judge, column, value, out);
    if (json_is_object(value))
        return false;
    buf_put_u8(out, '[');
    if (!json_is_array(value)) {
        put_scalar(judge, column, value, out);
    } else {
        json_array_foreach(value, i, element)
        {
            size_t before = out->len;
            if (any)
                buf_put_u8(out, ',');
            if (put_scalar(judge, column, element, out))
                any = true;
            else
                out->len = before;
        }
    }
    buf_put_u8(out, ']');
    return true;
}

/* ---- paths ---- */

/* The steps behind the last EACH, from what that EACH stands for. NULL: nothing there. */
static const json_t *follow(const json_t *value, const struct path_step *steps, size_t count)
{
    for (size_t i = 0; i < count && value != NULL; i++) {
        if (steps[i].kind == STEP_KEY)
            value = json_object_get(value, steps[i].key);
        else if (json_is_array(value))
            value = json_array_get(value, steps[i].index);
        else if (steps[i].index > 0)
            value = NULL;
        if (json_is_null(value))
            value = NULL;
    }
    return value;
}

static size_t behind_each(const struct source *source)
{
    size_t at = source->step_count;
    while (at > 0 && source->steps[at - 1].kind != STEP_EACH)
        at--;
    return at;
}

static bool put_column(struct judge *judge, const struct test_column *column,
                       const struct mapping_column *mapped, const json_t *const *levels)
{
    for (size_t i = 0; i < mapped->source_count; i++) {
        const struct source *source = &mapped->sources[i];
        size_t at = behind_each(source);
        const json_t *value =
            follow(levels[source->each_count], source->steps + at, source->step_count - at);
        size_t before = judge->rows.len;
        if (value != NULL && put_value(judge, column, value, &judge->rows))
            return true;
        judge->rows.len = before;
    }
    if (column->default_text != NULL)
        test_put_text(&judge->rows, slice_cstr(column->default_text));
    return column->default_text != NULL;
}

/* False: the required column has no value. */
static bool put_row(struct judge *judge, const struct table *table, const struct mapping *mapping,
                    const json_t *const *levels)
{
    if (judge->row_count++ > 0)
        buf_put_cstr(&judge->rows, " / ");
    for (size_t i = 0; i < table->count; i++) {
        if (i > 0)
            buf_put_u8(&judge->rows, ' ');
        if (put_column(judge, &table->columns[i], &mapping->columns[i], levels))
            continue;
        if (table->columns[i].required)
            return false;
        buf_put_cstr(&judge->rows, "null");
    }
    return true;
}

/* What explode walks at a level: levels[level + 1] becomes each element, NULL for one that
 * is no object. */
static bool put_rows(struct judge *judge, const struct table *table, const struct mapping *mapping,
                     const json_t *levels[LEVELS_MAX + 1], size_t level, size_t at)
{
    const struct source *explode = &mapping->explode;
    if (level == mapping->explode_level_count)
        return put_row(judge, table, mapping, levels);
    size_t end = at;
    while (explode->steps[end].kind != STEP_EACH)
        end++;
    const json_t *list = follow(levels[level], explode->steps + at, end - at);
    size_t count = json_is_array(list) && json_array_size(list) > 0 ? json_array_size(list) : 1;
    judge->unsure |= count > INSTANCES_MAX;
    for (size_t i = 0; i < count && !judge->unsure; i++) {
        const json_t *element = json_is_array(list) ? json_array_get(list, i) : list;
        levels[level + 1] = json_is_object(element) ? element : NULL;
        if (!put_rows(judge, table, mapping, levels, level + 1, end + 1))
            return false;
    }
    return true;
}

/* ---- the whole ---- */

/* Where jansson differs from RFC 8259 or keeps less than the text. */
static bool is_beyond_jansson(struct slice text)
{
    size_t digits = 0;
    size_t depth = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        uint8_t next = i + 1 < text.len ? text.data[i + 1] : 0;
        bool exponent = (c == 'e' || c == 'E') && digits > 0;
        digits = c >= '0' && c <= '9' ? digits + 1 : 0;
        depth += c == '{' || c == '[';
        if (c == 0 || digits > 17 || depth > 60 || exponent || (c == '-' && next == '0'))
            return true;
        if (c == '\\' && next == 'u' && i + 3 < text.len &&
            (text.data[i + 2] == '0' ? text.data[i + 3] == '0' : (text.data[i + 2] | 32) == 'd'))
            return true;
    }
    return !text_is_utf8(text);
}

static void compare(const struct table *table, const struct mapping *mapping,
                    struct shredder *shredder, struct slice text, const json_t *event)
{
    struct judge judge = {0};
    struct shred_batch batch = {0};
    struct refusal refusal;
    struct buf rows = {0};
    struct shred_context context = {.source_time_us = INT64_MIN, .partition = -1, .offset = -1};
    const json_t *levels[LEVELS_MAX + 1] = {event};
    bool wanted = json_is_object(event) && put_rows(&judge, table, mapping, levels, 0, 0);
    for (int again = 0; again < 2; again++) {
        shred_batch_reset(&batch);
        buf_reset(&rows);
        bool taken = shredder_event(shredder, text, &context, &batch, &refusal);
        if (judge.unsure)
            continue;
        test_put_rows(&rows, shredder_layout_borrow(shredder), buf_slice(&batch.rows));
        if (taken != wanted || (taken && !slice_equal(buf_slice(&rows), buf_slice(&judge.rows))))
            fprintf(stderr, "wanted %d: %s\ntaken %d: %s\n", wanted, buf_cstr(&judge.rows), taken,
                    buf_cstr(&rows));
        ASSERT(taken == wanted);
        ASSERT(!taken || slice_equal(buf_slice(&rows), buf_slice(&judge.rows)));
    }
    buf_free(&rows);
    buf_free(&judge.rows);
    shred_batch_free(&batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mapping mappings[TABLES];
    static struct shredder *shredders[TABLES][SHRED_VARIANT_COUNT];
    struct error err;
    json_error_t ignored;
    if (size == 0)
        return 0;
    size_t i = data[0] % TABLES;
    enum shred_variant variant = data[0] / TABLES % SHRED_VARIANT_COUNT;
    if (!shred_variant_is_here(variant))
        variant = SHRED_BEST;
    struct slice text = slice_of(data + 1, size - 1);
    if (mappings[i].columns == NULL)
        test_mapping_make(&mappings[i], tables[i].columns, tables[i].count, tables[i].explode);
    if (shredders[i][variant] == NULL) {
        int rc = shredder_open(&shredders[i][variant], &mappings[i],
                               &(struct shred_options){.variant = variant}, &err);
        ASSERT(rc == OK);
    }
    if (is_beyond_jansson(text))
        return 0;
    json_t *event = json_loadb((const char *)text.data, text.len, 0, &ignored);
    compare(&tables[i], &mappings[i], shredders[i][variant], text, event);
    json_decref(event);
    return 0;
}
