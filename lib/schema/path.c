/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/schema/path.h"

#include <stdlib.h>

#include "lib/base/memory.h"
#include "lib/yaml/yaml.h"

enum { INDEX_MAX = 65535 };

void source_free(struct source *source)
{
    for (size_t i = 0; i < source->step_count; i++)
        free(source->steps[i].key);
    free(source->steps);
    free(source->name);
    *source = (struct source){0};
}

static const char blanks[] = " \t\n\r";

static bool is_key_byte(uint8_t byte)
{
    return byte > ' ' && byte != '.' && byte != '[' && byte != ']' && byte != '|' && byte != '$' &&
           byte != 0x7f;
}

static int impossible(struct slice path, const char *why, struct error *err)
{
    return error_set(err, ERROR_INPUT, "impossible path \"%.*s\": %s",
                     (int)(path.len > 100 ? 100 : path.len), (const char *)path.data, why);
}

static int add_step(struct source *out, struct path_step step, struct error *err)
{
    if (out->step_count == PATH_STEPS_MAX) {
        free(step.key);
        return error_set(err, ERROR_INPUT, "impossible path: more than %d steps", PATH_STEPS_MAX);
    }
    if (out->steps == NULL)
        out->steps = memory_alloc(PATH_STEPS_MAX, sizeof *out->steps);
    out->steps[out->step_count++] = step;
    if (step.kind == STEP_EACH)
        out->each_count++;
    return OK;
}

static int parse_key(struct slice path, size_t *at, struct source *out, struct error *err)
{
    size_t start = *at;
    while (*at < path.len && is_key_byte(path.data[*at]))
        ++*at;
    if (*at == start)
        return impossible(path, "a key is missing", err);
    struct slice key = slice_of(path.data + start, *at - start);
    return add_step(out, (struct path_step){.kind = STEP_KEY, .key = memory_copy_slice(key)}, err);
}

/* Stands behind the '['. */
static int parse_bracket(struct slice path, size_t *at, struct source *out, struct error *err)
{
    struct path_step step = {.kind = STEP_EACH};
    size_t start = *at;
    while (*at < path.len && path.data[*at] >= '0' && path.data[*at] <= '9' &&
           step.index <= INDEX_MAX)
        step.index = step.index * 10 + (uint32_t)(path.data[(*at)++] - '0');
    if (*at > start)
        step.kind = STEP_INDEX;
    if (*at == path.len || path.data[*at] != ']' || step.index > INDEX_MAX)
        return impossible(path, "a bracket holds a number up to 65535, or nothing", err);
    ++*at;
    return add_step(out, step, err);
}

static int parse_path(struct slice path, struct source *out, struct error *err)
{
    out->kind = SOURCE_PATH;
    size_t at = 0;
    int rc = parse_key(path, &at, out, err);
    while (rc == OK && at < path.len) {
        uint8_t byte = path.data[at];
        if (byte == '.') {
            at++;
            rc = parse_key(path, &at, out, err);
        } else if (byte == '[') {
            at++;
            rc = parse_bracket(path, &at, out, err);
        } else {
            rc = impossible(path, "what follows a key is '.' or '['", err);
        }
    }
    /* A row takes fields of an exploded element; one that is no object has none. */
    for (size_t i = 0; i < out->step_count && rc == OK; i++)
        if (out->steps[i].kind == STEP_EACH &&
            (i + 1 == out->step_count || out->steps[i + 1].kind != STEP_KEY))
            rc = impossible(path, "a key must follow []", err);
    return rc;
}

static const char *const dollar_names[] = {
    "$received_at", "$source_time", "$stream", "$position", "$host",   "$topic",
    "$partition",   "$offset",      "$key",    "$raw",      "$header", "$query",
};
static const enum source_kind dollar_kinds[] = {
    SOURCE_RECEIVED_AT, SOURCE_TIME,   SOURCE_STREAM, SOURCE_POSITION, SOURCE_HOST,   SOURCE_TOPIC,
    SOURCE_PARTITION,   SOURCE_OFFSET, SOURCE_KEY,    SOURCE_RAW,      SOURCE_HEADER, SOURCE_QUERY,
};
enum { DOLLAR_COUNT = sizeof dollar_names / sizeof dollar_names[0], NAMED_FROM = 10 };
_Static_assert(sizeof dollar_kinds / sizeof dollar_kinds[0] == DOLLAR_COUNT, "one kind a name");

/* `text` is "$word" or "$word.name". */
static int parse_dollar(char *text, struct source *out, struct error *err)
{
    char *name = strchr(text, '.');
    if (name != NULL)
        *name++ = 0;
    size_t i = 0;
    while (i < DOLLAR_COUNT && strcmp(dollar_names[i], text) != 0)
        i++;
    if (i == DOLLAR_COUNT) {
        const char *near = yaml_nearest(text, dollar_names, DOLLAR_COUNT);
        return error_set(err, ERROR_INPUT, "unknown source \"%.100s\"%s%s%s", text,
                         near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
                         near != NULL ? "\"?" : "");
    }
    out->kind = dollar_kinds[i];
    bool named = i >= NAMED_FROM;
    if (named && (name == NULL || *name == 0))
        return error_set(err, ERROR_INPUT, "%s needs a name: %s.NAME", text, text);
    if (!named && name != NULL)
        return error_set(err, ERROR_INPUT, "%s takes no name", text);
    if (!named)
        return OK;
    if (name[strcspn(name, blanks)] != 0)
        return error_set(err, ERROR_INPUT, "a blank in \"%.100s\"", name);
    /* Header names are compared without case, so they are kept in lower case. */
    for (char *at = name; out->kind == SOURCE_HEADER && *at != 0; at++)
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at + ('a' - 'A'));
    out->name = memory_copy_cstr(name);
    return OK;
}

int path_parse_sources(const char *text, struct source **out, size_t *count, struct error *err)
{
    *count = 0;
    *out = memory_alloc(ALTERNATIVES_MAX, sizeof **out);
    for (const char *at = text;;) {
        size_t len = strcspn(at, "|");
        struct slice part = slice_trim(slice_of(at, len), blanks);
        if (*count == ALTERNATIVES_MAX)
            return error_set(err, ERROR_INPUT, "more than %d alternatives", ALTERNATIVES_MAX);
        struct source *source = &(*out)[(*count)++];
        int rc = OK;
        if (part.len > 0 && part.data[0] == '$') {
            char *dollar = memory_copy_slice(part);
            rc = parse_dollar(dollar, source, err);
            free(dollar);
        } else {
            rc = parse_path(part, source, err);
        }
        if (rc != OK || at[len] == 0)
            return rc;
        at += len + 1;
    }
}

int path_parse_explode(const char *text, struct source *out, struct error *err)
{
    struct slice path = slice_trim(slice_cstr(text), blanks);
    /* The closing [] is understood; parse_path wants none there. */
    if (path.len >= 2 && memcmp(path.data + path.len - 2, "[]", 2) == 0)
        path.len -= 2;
    int rc = parse_path(path, out, err);
    for (size_t i = 0; i < out->step_count && rc == OK; i++)
        if (out->steps[i].kind == STEP_INDEX)
            rc =
                error_set(err, ERROR_INPUT, "explode walks keys and [], not one element of a list");
    if (rc == OK && out->each_count > 1)
        rc = error_set(err, ERROR_INPUT, "explode goes at most two levels deep");
    if (rc == OK)
        rc = add_step(out, (struct path_step){.kind = STEP_EACH}, err);
    return rc;
}

bool path_follows_explode(const struct source *source, const struct source *explode)
{
    size_t last = source->step_count;
    while (last > 0 && source->steps[last - 1].kind != STEP_EACH)
        last--;
    if (last > explode->step_count)
        return false;
    for (size_t i = 0; i < last; i++) {
        const struct path_step *ours = &source->steps[i];
        const struct path_step *theirs = &explode->steps[i];
        if (ours->kind != theirs->kind ||
            (ours->kind == STEP_KEY && strcmp(ours->key, theirs->key) != 0))
            return false;
    }
    return true;
}
