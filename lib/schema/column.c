/* SPDX-License-Identifier: Apache-2.0
 *
 * Type, sources, domain and default of one column, and that they fit together: what
 * can never give a value is refused when the mapping is loaded, not found out from an
 * empty column a week later.
 */
#include "lib/schema/column.h"

#include <stdlib.h>
#include <time.h>

#include "lib/base/buf.h"
#include "lib/base/memory.h"
#include "lib/schema/path.h"

enum { COLUMN_NAME_MAX = 128, DOMAIN_MAX = 1000, DEFAULT_BYTES_MAX = 1024 };

static const char *const type_words[] = {"string", "country", "boolean",    "int",
                                         "long",   "double",  "timestamptz"};
static const enum type type_values[] = {TYPE_STRING, TYPE_STRING, TYPE_BOOLEAN,    TYPE_INT,
                                        TYPE_LONG,   TYPE_DOUBLE, TYPE_TIMESTAMPTZ};
enum { TYPE_WORDS = sizeof type_words / sizeof type_words[0], COUNTRY_WORD = 1 };

/* What one column's checks pass around. */
struct reader {
    struct column *column;
    struct mapping_column *rule;
    const struct part *part;
    const struct source *explode;
    struct error *err;
};

void mapping_column_free(struct mapping_column *rule)
{
    for (size_t i = 0; i < rule->source_count; i++)
        source_free(&rule->sources[i]);
    free(rule->sources);
    for (size_t i = 0; i < rule->domain_count; i++)
        free(rule->domain[i]);
    free(rule->domain);
    free(rule->default_text);
}

static const struct yaml_node *member(const struct reader *reader, const char *key)
{
    return yaml_find(reader->part->node, key);
}

static int refuse(const struct reader *reader, const struct yaml_node *at, const char *why)
{
    return yaml_error(reader->part->tree, at != NULL ? at->line : reader->part->line, reader->err,
                      "column \"%s\": %s", reader->column->name, why);
}

/* Puts file, line and column before what a parser without a place said. */
static int located(const struct reader *reader, const struct yaml_node *at)
{
    return error_wrap(reader->err, "%s:%d: column \"%s\"", reader->part->tree->name, at->line,
                      reader->column->name);
}

static int check_name(const struct reader *reader)
{
    const char *name = reader->column->name;
    bool fits = strlen(name) <= COLUMN_NAME_MAX && *name != 0 && !(*name >= '0' && *name <= '9');
    for (const char *at = name; *at != 0; at++)
        fits = fits && ((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                        (*at >= '0' && *at <= '9') || *at == '_');
    if (fits)
        return OK;
    return yaml_error(reader->part->tree, reader->part->line, reader->err,
                      "\"%.100s\" is no column name: letters, digits and _, at most %d", name,
                      COLUMN_NAME_MAX);
}

static int read_flag(const struct reader *reader, const char *key, bool *out)
{
    const struct yaml_node *node = member(reader, key);
    *out = false;
    return node == NULL ? OK : yaml_to_bool(reader->part->tree, node, key, out, reader->err);
}

static int read_type(const struct reader *reader)
{
    const struct yaml_node *node = member(reader, "type");
    const char *text = NULL;
    if (node == NULL)
        return refuse(reader, NULL, "no type");
    int rc = yaml_to_text(reader->part->tree, node, "type", &text, reader->err);
    if (rc != OK)
        return rc;
    struct slice word = slice_cstr(text);
    if (strncmp(text, "list<", 5) == 0 && text[word.len - 1] == '>') {
        word = slice_of(text + 5, word.len - 6);
        reader->column->list = true;
    }
    for (size_t i = 0; i < TYPE_WORDS; i++) {
        if (!slice_is(word, type_words[i]))
            continue;
        reader->column->type = type_values[i];
        reader->rule->coercion = i == COUNTRY_WORD ? COERCE_COUNTRY : COERCE_TYPE;
        return OK;
    }
    char *wrong = memory_copy_slice(word);
    rc = yaml_error_unknown(reader->part->tree, node->line, "type", wrong, type_words, TYPE_WORDS,
                            reader->err);
    free(wrong);
    return rc;
}

static int read_domain(const struct reader *reader)
{
    const struct yaml_node *node = member(reader, "enum");
    if (node == NULL)
        return OK;
    if (reader->column->type != TYPE_STRING || reader->rule->coercion != COERCE_TYPE)
        return refuse(reader, node, "enum is for strings");
    int rc = yaml_expect(reader->part->tree, node, YAML_LIST, "enum", reader->err);
    if (rc != OK)
        return rc;
    if (node->count == 0 || node->count > DOMAIN_MAX)
        return refuse(reader, node, "enum holds 1 to 1000 values");
    struct mapping_column *rule = reader->rule;
    rule->coercion = COERCE_ENUM;
    rule->domain = memory_alloc(node->count, sizeof *rule->domain);
    for (size_t i = 0; i < node->count; i++) {
        const char *text = NULL;
        rc = yaml_to_text(reader->part->tree, &node->entries[i].value, "an enum's value", &text,
                          reader->err);
        if (rc != OK)
            return rc;
        for (size_t j = 0; j < i; j++)
            if (strcmp(rule->domain[j], text) == 0)
                return refuse(reader, &node->entries[i].value, "enum names a value twice");
        rule->domain[rule->domain_count++] = memory_copy_cstr(text);
    }
    return OK;
}

static int read_unit(const struct reader *reader)
{
    static const char *const words[] = {"ms", "s", "us"};
    const struct yaml_node *node = member(reader, "unit");
    reader->rule->unit = UNIT_MS;
    if (node == NULL)
        return OK;
    if (reader->column->type != TYPE_TIMESTAMPTZ)
        return refuse(reader, node, "unit is for timestamptz");
    size_t unit = 0;
    int rc = yaml_to_choice(reader->part->tree, node, "unit", words, 3, &unit, reader->err);
    reader->rule->unit = (enum time_unit)unit;
    return rc;
}

/* ---- sources ---- */

/* Whether a source can give this type at all. */
static bool source_fits(const struct source *source, const struct column *column)
{
    bool plain_text = column->type == TYPE_STRING;
    switch (source->kind) {
    case SOURCE_PATH:
        return true;
    case SOURCE_RECEIVED_AT:
    case SOURCE_TIME:
        return column->type == TYPE_TIMESTAMPTZ && !column->list;
    case SOURCE_POSITION:
    case SOURCE_OFFSET:
        return column->type == TYPE_LONG && !column->list;
    case SOURCE_PARTITION:
        return (column->type == TYPE_INT || column->type == TYPE_LONG) && !column->list;
    case SOURCE_STREAM:
    case SOURCE_HOST:
    case SOURCE_TOPIC:
    case SOURCE_RAW:
        return plain_text && !column->list;
    case SOURCE_KEY:
    case SOURCE_HEADER:
    case SOURCE_QUERY:
        return !column->list; /* a text, coerced as a string of JSON would be */
    }
    return false;
}

static int check_each(const struct reader *reader, const struct yaml_node *node,
                      const struct source *source)
{
    if (source->each_count == 0)
        return OK;
    if (reader->explode->step_count == 0)
        return refuse(reader, node, "impossible path: it walks a list, but nothing is exploded");
    if (!path_follows_explode(source, reader->explode))
        return refuse(reader, node, "impossible path: its [] is not the list that explode walks");
    if (reader->column->required)
        return refuse(reader, node,
                      "a required column can't come from the exploded list: it may be empty");
    return OK;
}

static int check_source(const struct reader *reader, const struct yaml_node *node,
                        const struct source *source)
{
    if (!source_fits(source, reader->column))
        return refuse(reader, node, "impossible source for a column of this type");
    if (source->kind == SOURCE_STREAM || source->kind == SOURCE_POSITION) {
        if (reader->rule->source_count > 1)
            return refuse(reader, node, "$stream and $position stand alone, without alternatives");
        if (reader->column->required)
            return refuse(reader, node, "$stream and $position are always there: not `required`");
        reader->column->fill = source->kind == SOURCE_STREAM ? FILL_STREAM : FILL_POSITION;
    }
    return check_each(reader, node, source);
}

static bool has_source(const struct mapping_column *rule, enum source_kind kind)
{
    for (size_t i = 0; i < rule->source_count; i++)
        if (rule->sources[i].kind == kind)
            return true;
    return false;
}

/* An event without a time has its source's, or else its arrival's. */
static int end_with_times(const struct reader *reader, const struct yaml_node *node)
{
    static const enum source_kind ends[] = {SOURCE_TIME, SOURCE_RECEIVED_AT};
    struct mapping_column *rule = reader->rule;
    if (strcmp(reader->column->name, "event_timestamp") != 0)
        return OK;
    if (reader->column->type != TYPE_TIMESTAMPTZ || reader->column->list)
        return refuse(reader, node, "must be a timestamptz");
    for (size_t i = 0; i < 2; i++) {
        if (has_source(rule, ends[i]))
            continue;
        if (rule->source_count == ALTERNATIVES_MAX)
            return refuse(reader, node,
                          "too many alternatives: $source_time and $received_at must follow");
        rule->sources[rule->source_count++].kind = ends[i];
    }
    return OK;
}

static int read_sources(const struct reader *reader)
{
    const struct yaml_node *node = member(reader, "from");
    const char *text = NULL;
    if (node == NULL)
        return refuse(reader, NULL, "no `from`");
    int rc = yaml_to_text(reader->part->tree, node, "from", &text, reader->err);
    if (rc != OK)
        return rc;
    struct mapping_column *rule = reader->rule;
    rc = path_parse_sources(text, &rule->sources, &rule->source_count, reader->err);
    if (rc != OK)
        return located(reader, node);
    for (size_t i = 0; i < rule->source_count && rc == OK; i++)
        rc = check_source(reader, node, &rule->sources[i]);
    return rc == OK ? end_with_times(reader, node) : rc;
}

/* ---- defaults ---- */

/* -?[0-9]+ within the bounds. */
static bool is_integer(const char *text, int64_t min, int64_t max)
{
    bool negative = *text == '-';
    const char *at = negative ? text + 1 : text;
    int64_t value = 0;
    if (*at == 0)
        return false;
    for (; *at != 0; at++) {
        int digit = *at - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value)) /* downwards: INT64_MIN fits */
            return false;
    }
    if (!negative && __builtin_sub_overflow((int64_t)0, value, &value))
        return false;
    return value >= min && value <= max;
}

static const char *skip_digits(const char *at)
{
    while (*at >= '0' && *at <= '9')
        at++;
    return at;
}

/* -?[0-9]+ with optional fraction and exponent, finite. */
static bool is_double(const char *text)
{
    const char *start = *text == '-' ? text + 1 : text;
    const char *at = skip_digits(start);
    bool fits = at > start;
    if (*at == '.') {
        start = ++at;
        at = skip_digits(at);
        fits = fits && at > start;
    }
    if (*at == 'e' || *at == 'E') {
        start = at[1] == '-' ? at + 2 : at + 1;
        at = skip_digits(start);
        fits = fits && at > start;
    }
    return fits && *at == 0 && __builtin_isfinite(strtod(text, NULL));
}

/* Whether text begins as the pattern does, '9' standing for any digit. */
static bool has_shape(const char *text, const char *pattern)
{
    for (; *pattern != 0; text++, pattern++) {
        bool fits = *pattern == '9' ? *text >= '0' && *text <= '9' : *text == *pattern;
        if (!fits)
            return false;
    }
    return true;
}

static int two_digits(const char *at)
{
    return (at[0] - '0') * 10 + (at[1] - '0');
}

/* What follows the seconds: .fff, then Z or an offset, which is given back in seconds. */
static bool parse_zone(const char *at, int64_t *offset)
{
    *offset = 0;
    if (*at == '.') {
        const char *start = ++at;
        at = skip_digits(at);
        if (at == start)
            return false;
    }
    if (strcmp(at, "Z") == 0)
        return true;
    if ((*at != '+' && *at != '-') || !has_shape(at + 1, "99:99") || at[6] != 0)
        return false;
    int hours = two_digits(at + 1);
    int minutes = two_digits(at + 4);
    *offset = (*at == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return hours < 24 && minutes < 60;
}

/* Digits in the unit, or YYYY-MM-DDTHH:MM:SS[.fff](Z|+HH:MM); from 1970, before 2200. */
static bool is_time(const char *text, enum time_unit unit)
{
    static const int64_t ticks[] = {[UNIT_MS] = 1000, [UNIT_S] = 1, [UNIT_US] = 1000000};
    const int64_t end = INT64_C(7258118400);
    int64_t offset = 0;
    if (is_integer(text, 0, end * ticks[unit] - 1))
        return true;
    if (!has_shape(text, "9999-99-99T99:99:99") || !parse_zone(text + 19, &offset))
        return false;
    struct tm asked = {.tm_year = two_digits(text) * 100 + two_digits(text + 2) - 1900,
                       .tm_mon = two_digits(text + 5) - 1,
                       .tm_mday = two_digits(text + 8),
                       .tm_hour = two_digits(text + 11),
                       .tm_min = two_digits(text + 14),
                       .tm_sec = two_digits(text + 17)};
    /* timegm makes a date of anything; one that it had to change was none. */
    struct tm made = asked;
    int64_t seconds = timegm(&made) - offset;
    return made.tm_mon == asked.tm_mon && made.tm_mday == asked.tm_mday &&
           made.tm_hour == asked.tm_hour && made.tm_min == asked.tm_min &&
           made.tm_sec == asked.tm_sec && seconds >= 0 && seconds < end;
}

static bool default_fits(const struct column *column, const struct mapping_column *rule,
                         const char *text)
{
    if (rule->coercion == COERCE_COUNTRY)
        return country_alpha3(slice_cstr(text)) != NULL;
    switch (column->type) {
    case TYPE_BOOLEAN:
        return strcmp(text, "true") == 0 || strcmp(text, "false") == 0 || strcmp(text, "1") == 0 ||
               strcmp(text, "0") == 0;
    case TYPE_INT:
        return is_integer(text, INT32_MIN, INT32_MAX);
    case TYPE_LONG:
        return is_integer(text, INT64_MIN, INT64_MAX);
    case TYPE_DOUBLE:
        return is_double(text);
    case TYPE_TIMESTAMPTZ:
        return is_time(text, rule->unit);
    case TYPE_STRING:
        break;
    }
    if (rule->coercion != COERCE_ENUM)
        return true;
    for (size_t i = 0; i < rule->domain_count; i++)
        if (strcmp(rule->domain[i], text) == 0)
            return true;
    return false;
}

/* Text of the default: a list takes `[]` or the text of its only element. */
static int default_text(const struct reader *reader, const struct yaml_node *node,
                        const char **text)
{
    if (reader->column->list && node->kind == YAML_LIST && node->count == 0) {
        *text = "[]";
        return OK;
    }
    return yaml_to_text(reader->part->tree, node, "default", text, reader->err);
}

static int check_default(const struct reader *reader, const struct yaml_node *node,
                         const char *text)
{
    const struct column *column = reader->column;
    const struct mapping_column *rule = reader->rule;
    if (column->fill != FILL_NONE)
        return refuse(reader, node, "$stream and $position are always there: no default");
    if (strlen(text) > DEFAULT_BYTES_MAX)
        return refuse(reader, node, "the default is too long");
    if ((column->list && strcmp(text, "[]") == 0) || default_fits(column, rule, text))
        return OK;
    if (rule->coercion == COERCE_ENUM)
        return yaml_error_unknown(reader->part->tree, node->line, "default", text,
                                  (const char *const *)rule->domain, rule->domain_count,
                                  reader->err);
    return yaml_error(reader->part->tree, node->line, reader->err,
                      "column \"%s\": default \"%.100s\" is no %s", column->name, text,
                      rule->coercion == COERCE_COUNTRY ? "country code" : type_name(column->type));
}

static int read_default(const struct reader *reader)
{
    const struct yaml_node *node = member(reader, "default");
    const char *text = NULL;
    if (node == NULL)
        return OK;
    int rc = default_text(reader, node, &text);
    if (rc == OK)
        rc = check_default(reader, node, text);
    if (rc == OK)
        reader->rule->default_text = memory_copy_cstr(text);
    return rc;
}

static int read_bloom(const struct reader *reader)
{
    int rc = read_flag(reader, "bloom", &reader->column->bloom);
    if (rc == OK && reader->column->bloom &&
        (reader->column->list || reader->column->type == TYPE_BOOLEAN))
        rc = refuse(reader, member(reader, "bloom"), "no Bloom filter for a list or a boolean");
    return rc;
}

int column_parse(struct column *column, struct mapping_column *rule, const char *name,
                 const struct part *part, const struct source *explode, struct error *err)
{
    static const char *const keys[] = {"type",  "from",    "required", "personal",
                                       "bloom", "default", "enum",     "unit"};
    struct reader reader = {column, rule, part, explode, err};
    column->name = memory_copy_cstr(name);
    rule->line = part->line;
    int rc = check_name(&reader);
    if (rc == OK)
        rc = yaml_expect(part->tree, part->node, YAML_MAP, name, err);
    if (rc == OK)
        rc = yaml_check_keys(part->tree, part->node, keys, sizeof keys / sizeof keys[0], err);
    if (rc == OK)
        rc = read_flag(&reader, "required", &column->required);
    if (rc == OK)
        rc = read_flag(&reader, "personal", &column->personal);
    if (rc == OK)
        rc = read_type(&reader);
    if (rc == OK)
        rc = read_bloom(&reader);
    if (rc == OK)
        rc = read_domain(&reader);
    if (rc == OK)
        rc = read_unit(&reader);
    if (rc == OK)
        rc = read_sources(&reader);
    if (rc == OK)
        rc = read_default(&reader);
    return rc;
}
