/* SPDX-License-Identifier: Apache-2.0
 *
 * yaml.h: a YAML file as a small tree that knows its lines, for mappings and
 * configuration.
 *
 * It takes the plain part of YAML that a person writes into a configuration:
 * mappings, sequences, scalars, one document. Anchors, aliases, tags, directives
 * and doubled keys are refused, so that a file means what it shows. Size, depth and
 * counts are bounded; the text may be hostile.
 *
 * Scalars are text; what they mean is for the one who asks (yaml_to_...): there is no
 * `no` that becomes false in a country column. Quoting makes no difference but one: an
 * empty unquoted value ("key:") is no value, an error wherever one is asked for.
 *
 * Ownership  a tree owns its nodes; they are good until yaml_tree_free.
 * Threads    const once parsed.
 * Errors     ERROR_INPUT with "name:line: what, did you mean ...".
 */
#ifndef LIB_YAML_YAML_H
#define LIB_YAML_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

enum { YAML_BYTES_MAX = 1 << 20, YAML_DEPTH_MAX = 16, YAML_ENTRIES_MAX = 4096 };

enum yaml_kind { YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    int line;         /* from 1 */
    bool empty;       /* an unquoted nothing */
    const char *text; /* of YAML_TEXT; no NUL within */
    size_t count;     /* of YAML_LIST and YAML_MAP */
    struct yaml_entry *entries;
};

struct yaml_entry {
    const char *key; /* NULL in a list */
    int line;        /* of the key */
    struct yaml_node value;
};

struct yaml_tree {
    const char *name; /* how messages call the file */
    struct yaml_node root;
    struct arena arena;
};

/* The root is a map; a document without one, or an empty one, is an error. */
int yaml_tree_parse(struct yaml_tree *out, const char *name, struct slice text,
                    struct error *err) MUST_USE;
int yaml_tree_load(struct yaml_tree *out, const char *path, struct error *err) MUST_USE;
void yaml_tree_free(struct yaml_tree *tree); /* all zero is fine */

/* "name:line: ..." as ERROR_INPUT, for checks of your own. */
int yaml_error(const struct yaml_tree *tree, int line, struct error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same with the known name that is nearest: `wrong` stands in the message. */
int yaml_error_unknown(const struct yaml_tree *tree, int line, const char *what, const char *wrong,
                       const char *const *known, size_t known_count, struct error *err);

/* A member of a map, NULL when it is not there. */
const struct yaml_node *yaml_find(const struct yaml_node *map, const char *key);
/* Down through maps by a dotted key ("spool.bytes"), NULL when a step is not there. */
const struct yaml_node *yaml_find_dotted(const struct yaml_node *map, const char *dotted);

/* That the node is of this kind; `what` names it in messages ("spool"). */
int yaml_expect(const struct yaml_tree *tree, const struct yaml_node *node, enum yaml_kind kind,
                const char *what, struct error *err) MUST_USE;
/* That a map has no other keys than these. */
int yaml_check_keys(const struct yaml_tree *tree, const struct yaml_node *map,
                    const char *const *known, size_t known_count, struct error *err) MUST_USE;
/* The same for a whole tree of options named by dotted keys: "spool.bytes" allows a map
 * `spool` with a key `bytes`. Values of leaves are not looked at. */
int yaml_check_dotted(const struct yaml_tree *tree, const char *const *known, size_t known_count,
                      struct error *err) MUST_USE;

/* What a scalar means. `what` names it in messages; text is borrowed from the tree. */
int yaml_to_text(const struct yaml_tree *tree, const struct yaml_node *node, const char *what,
                 const char **out, struct error *err) MUST_USE;
int yaml_to_bool(const struct yaml_tree *tree, const struct yaml_node *node, const char *what,
                 bool *out, struct error *err) MUST_USE; /* true, false */
/* Index of the word in `words`. */
int yaml_to_choice(const struct yaml_tree *tree, const struct yaml_node *node, const char *what,
                   const char *const *words, size_t word_count, size_t *out,
                   struct error *err) MUST_USE;

/* Numbers with a unit, as texts, for flags and defaults too. */
enum yaml_unit {
    YAML_COUNT, /* "1000000" */
    YAML_BYTES, /* "256MiB": B KiB MiB GiB TiB and kB MB GB TB; a bare 0 */
    YAML_MS,    /* "60s": ms s m h d; a bare 0 */
};

struct yaml_range {
    enum yaml_unit unit;
    int64_t min;
    int64_t max;
};

/* False for what is no such number; not negative, at most INT64_MAX. */
bool yaml_number_parse(enum yaml_unit unit, const char *text, int64_t *out) MUST_USE;
int yaml_to_number(const struct yaml_tree *tree, const struct yaml_node *node, const char *what,
                   const struct yaml_range *range, int64_t *out, struct error *err) MUST_USE;

/* The known name nearest to a wrong one; NULL when none is near. */
const char *yaml_nearest(const char *wrong, const char *const *names, size_t count);

#endif
