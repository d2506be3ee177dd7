/* SPDX-License-Identifier: Apache-2.0
 *
 * What nodes mean: keys that are known, words, numbers with units, and the nearest
 * known name for a wrong one.
 */
#include "lib/yaml/yaml.h"

#include <ctype.h>
#include <strings.h>

#include "lib/base/buf.h"

const struct yaml_node *yaml_find(const struct yaml_node *map, const char *key)
{
    if (map == NULL || map->kind != YAML_MAP)
        return NULL;
    for (size_t i = 0; i < map->count; i++)
        if (strcmp(map->entries[i].key, key) == 0)
            return &map->entries[i].value;
    return NULL;
}

const struct yaml_node *yaml_find_dotted(const struct yaml_node *map, const char *dotted)
{
    while (map != NULL && map->kind == YAML_MAP) {
        size_t len = strcspn(dotted, ".");
        const struct yaml_node *found = NULL;
        for (size_t i = 0; i < map->count && found == NULL; i++)
            if (slice_equal(slice_cstr(map->entries[i].key), slice_of(dotted, len)))
                found = &map->entries[i].value;
        if (dotted[len] == 0)
            return found;
        map = found;
        dotted += len + 1;
    }
    return NULL;
}

int yaml_expect(const struct yaml_tree *tree, const struct yaml_node *node, enum yaml_kind kind,
                const char *what, struct error *err)
{
    static const char *const names[] = {"a text", "a list", "a mapping of keys to values"};
    if (node->kind == YAML_TEXT && node->empty)
        return yaml_error(tree, node->line, err, "%s has no value", what);
    if (node->kind != kind)
        return yaml_error(tree, node->line, err, "%s must be %s", what, names[kind]);
    return OK;
}

int yaml_check_keys(const struct yaml_tree *tree, const struct yaml_node *map,
                    const char *const *known, size_t known_count, struct error *err)
{
    for (size_t i = 0; i < map->count; i++) {
        bool found = false;
        for (size_t k = 0; k < known_count && !found; k++)
            found = strcmp(map->entries[i].key, known[k]) == 0;
        if (!found)
            return yaml_error_unknown(tree, map->entries[i].line, "key", map->entries[i].key, known,
                                      known_count, err);
    }
    return OK;
}

/* 1: a leaf, -1: a map on the way to leaves, 0: neither. */
static int dotted_kind(const char *path, const char *const *known, size_t known_count)
{
    size_t len = strlen(path);
    for (size_t i = 0; i < known_count; i++) {
        if (strcmp(known[i], path) == 0)
            return 1;
        if (strncmp(known[i], path, len) == 0 && known[i][len] == '.')
            return -1;
    }
    return 0;
}

/* A slip may be one of a key's levels, too: "rol" for the "roll" of "roll.age". */
static int refuse_dotted(const struct yaml_tree *tree, int line, const char *path,
                         const char *const *known, size_t known_count, struct error *err)
{
    struct arena arena = {0};
    size_t max = known_count;
    for (size_t i = 0; i < known_count; i++)
        max += strlen(known[i]); /* dots are fewer */
    const char **names = arena_alloc(&arena, max, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < known_count; i++) {
        names[count++] = known[i];
        for (const char *dot = strchr(known[i], '.'); dot != NULL; dot = strchr(dot + 1, '.'))
            names[count++] = arena_copy_cstr(&arena, slice_of(known[i], (size_t)(dot - known[i])));
    }
    int rc = yaml_error_unknown(tree, line, "key", path, names, count, err);
    arena_free(&arena);
    return rc;
}

static int check_level(const struct yaml_tree *tree, const struct yaml_node *map,
                       const char *prefix, const char *const *known, size_t known_count,
                       struct error *err)
{
    int rc = OK;
    for (size_t i = 0; i < map->count && rc == OK; i++) {
        const struct yaml_entry *entry = &map->entries[i];
        struct buf path = {0};
        buf_printf(&path, "%s%s", prefix, entry->key);
        int kind = dotted_kind(buf_cstr(&path), known, known_count);
        const char *dot = strchr(entry->key, '.');
        if (dot != NULL && kind == 1) {
            rc = yaml_error(tree, entry->line, err,
                            "the key \"%.100s\" goes in levels here: %.*s: {%.100s: ...}",
                            buf_cstr(&path), (int)(dot - entry->key), entry->key, dot + 1);
        } else if (dot != NULL || kind == 0) {
            rc = refuse_dotted(tree, entry->line, buf_cstr(&path), known, known_count, err);
        } else if (kind < 0) {
            rc = yaml_expect(tree, &entry->value, YAML_MAP, buf_cstr(&path), err);
            buf_put_cstr(&path, ".");
            if (rc == OK)
                rc = check_level(tree, &entry->value, buf_cstr(&path), known, known_count, err);
        }
        buf_free(&path);
    }
    return rc;
}

int yaml_check_dotted(const struct yaml_tree *tree, const char *const *known, size_t known_count,
                      struct error *err)
{
    return check_level(tree, &tree->root, "", known, known_count, err);
}

int yaml_to_text(const struct yaml_tree *tree, const struct yaml_node *node, const char *what,
                 const char **out, struct error *err)
{
    int rc = yaml_expect(tree, node, YAML_TEXT, what, err);
    if (rc == OK)
        *out = node->text;
    return rc;
}

int yaml_to_bool(const struct yaml_tree *tree, const struct yaml_node *node, const char *what,
                 bool *out, struct error *err)
{
    int rc = yaml_expect(tree, node, YAML_TEXT, what, err);
    if (rc != OK)
        return rc;
    *out = strcmp(node->text, "true") == 0;
    if (!*out && strcmp(node->text, "false") != 0)
        return yaml_error(tree, node->line, err, "%s must be true or false, not \"%.100s\"", what,
                          node->text);
    return OK;
}

int yaml_to_choice(const struct yaml_tree *tree, const struct yaml_node *node, const char *what,
                   const char *const *words, size_t word_count, size_t *out, struct error *err)
{
    int rc = yaml_expect(tree, node, YAML_TEXT, what, err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < word_count; i++) {
        if (strcmp(node->text, words[i]) == 0) {
            *out = i;
            return OK;
        }
    }
    if (yaml_nearest(node->text, words, word_count) != NULL)
        return yaml_error_unknown(tree, node->line, what, node->text, words, word_count, err);
    struct buf list = {0};
    for (size_t i = 0; i < word_count; i++)
        buf_printf(&list, "%s%s", i > 0 ? ", " : "", words[i]);
    rc = yaml_error(tree, node->line, err, "unknown %s \"%.100s\": it is one of %s", what,
                    node->text, buf_cstr(&list));
    buf_free(&list);
    return rc;
}

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit byte_units[] = {
    {"B", 1},
    {"KiB", INT64_C(1) << 10},
    {"MiB", INT64_C(1) << 20},
    {"GiB", INT64_C(1) << 30},
    {"TiB", INT64_C(1) << 40},
    {"kB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000},
    {NULL, 0},
};

static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};

bool yaml_number_parse(enum yaml_unit unit, const char *text, int64_t *out)
{
    int64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, *at - '0', &number))
            return false;
    if (at == text)
        return false;
    if (*at == 0 && (unit == YAML_COUNT || number == 0)) {
        *out = number;
        return true;
    }
    if (unit == YAML_COUNT)
        return false;
    const struct unit *units = unit == YAML_BYTES ? byte_units : time_units;
    for (; units->name != NULL; units++)
        if (strcmp(units->name, at) == 0)
            return !__builtin_mul_overflow(number, units->factor, out);
    return false;
}

/* The number in the largest unit that shows it exactly. */
static void put_number(struct buf *out, enum yaml_unit unit, int64_t number)
{
    const struct unit *units = unit == YAML_BYTES ? byte_units : time_units;
    const struct unit *best = &units[0];
    for (; unit != YAML_COUNT && number != 0 && units->name != NULL; units++)
        if (number % units->factor == 0 && units->factor > best->factor)
            best = units;
    if (unit == YAML_COUNT)
        buf_printf(out, "%lld", (long long)number);
    else
        buf_printf(out, "%lld%s", (long long)(number / best->factor), best->name);
}

int yaml_to_number(const struct yaml_tree *tree, const struct yaml_node *node, const char *what,
                   const struct yaml_range *range, int64_t *out, struct error *err)
{
    static const char *const examples[] = {"a whole number", "a size with its unit, as 256MiB",
                                           "a time with its unit, as 60s"};
    int rc = yaml_expect(tree, node, YAML_TEXT, what, err);
    if (rc != OK)
        return rc;
    if (!yaml_number_parse(range->unit, node->text, out))
        return yaml_error(tree, node->line, err, "%s must be %s, not \"%.100s\"", what,
                          examples[range->unit], node->text);
    if (*out >= range->min && *out <= range->max)
        return OK;
    struct buf bounds = {0};
    put_number(&bounds, range->unit, range->min);
    buf_put_cstr(&bounds, " to ");
    put_number(&bounds, range->unit, range->max);
    rc = yaml_error(tree, node->line, err, "%s is out of range: %.100s is not in %s", what,
                    node->text, buf_cstr(&bounds));
    buf_free(&bounds);
    return rc;
}

enum { NEAR_NAME_MAX = 64 };

/* Levenshtein's distance with neighbours swapped counted as one; case counts nothing. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][NEAR_NAME_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b_len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            int left = tolower((unsigned char)a[i - 1]);
            int right = tolower((unsigned char)b[j - 1]);
            size_t best = last[j - 1] + (left == right ? 0 : 1);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && left == tolower((unsigned char)b[j - 2]) &&
                right == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[b_len];
}

const char *yaml_nearest(const char *wrong, const char *const *names, size_t count)
{
    size_t wrong_len = strlen(wrong);
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    if (wrong_len == 0 || wrong_len > NEAR_NAME_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(names[i]);
        if (len > NEAR_NAME_MAX)
            continue;
        size_t found = distance(wrong, wrong_len, names[i], len);
        /* A third of the longer name wrong is a slip; more is another word. */
        size_t longer = wrong_len > len ? wrong_len : len;
        if (found * 3 <= longer + 1 && found < best_distance) {
            best = names[i];
            best_distance = found;
        }
    }
    return best;
}
