/* SPDX-License-Identifier: Apache-2.0
 *
 * options.h: a program's options as one table: each row is a key of its YAML file, a flag,
 * a default, bounds and a line of help. The key "spool.bytes" is the flag "--spool-bytes".
 *
 * The values lie in a struct of the program's own: texts as const char *, sizes, times
 * and counts as int64_t (bytes, ms). First the defaults, then the file, then the flags.
 *
 * Ownership  texts are copied into the arena that is handed in.
 * Errors     ERROR_INPUT with file and line, or the flag, and the nearest known name.
 */
#ifndef LIB_OPTIONS_OPTIONS_H
#define LIB_OPTIONS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/error.h"

enum option_kind { OPTION_text, OPTION_bytes, OPTION_ms, OPTION_count };

struct option {
    enum option_kind kind;
    size_t field; /* offset in the program's struct */
    const char *key;
    const char *otherwise; /* the default, as it would stand in the file */
    const char *min;       /* of texts: the words that it may be, "a|b"; "": any text */
    const char *max;       /* "" for texts */
    const char *help;
    bool live; /* a program that reads its configuration again takes this one up */
};

struct option_table {
    const struct option *options;
    size_t count;
    /* Keys of the file that are no rows and are not looked at here ("listen"). */
    const char *const *other_keys;
    size_t other_key_count;
    /* Flags that the program takes itself ("--by"): known names for messages. */
    const char *const *other_flags;
    size_t other_flag_count;
    /* Of these, the ones without a value ("--json"). */
    const char *const *switches;
    size_t switch_count;
};

/* A list of names under the key "tables" of the file, or "--tables a,b". */
struct option_names {
    size_t count;
    const char **names;
    const char *origin; /* file:line of the list; NULL: flags or the default */
};

/* Sets every field to its default. */
void options_init(const struct option_table *table, void *fields);

/* The file over what is there; `tables` changes only when the file has that key. */
int options_load(const struct option_table *table, void *fields, struct option_names *tables,
                 const char *path, struct arena *arena, struct error *err) MUST_USE;

/* One flag with its value. */
int options_set_flag(const struct option_table *table, void *fields, const char *flag,
                     const char *value, struct arena *arena, struct error *err) MUST_USE;

/* "a,b,c" */
void option_names_split(struct option_names *out, const char *text, struct arena *arena);

/* One argument of a command line: "--flag value" and "--flag=value" alike. *at moves over
 * what was used; *flag is NULL for what is no flag ("-" included). A flag that is named in
 * `switches` has no value (*value NULL). */
int options_next_argument(int argc, char **argv, int *at, const char *const *switches,
                          size_t switch_count, struct arena *arena, const char **flag,
                          const char **value, struct error *err) MUST_USE;

/* A program's flags beside its table: a switch comes with value NULL. *known false: it is
 * not the program's own. */
typedef int option_take(void *context, const char *flag, const char *value, bool *known,
                        struct error *err);

struct option_line {
    void *fields;
    struct option_names *tables;
    struct arena *arena;
    option_take *take;
    void *context;
    const char *config_path; /* of the last --config; NULL: none */
    const char **arguments;  /* room for argc: what is no flag, in order */
    size_t argument_count;
};

/* The command line from argv[2] on: first the file of --config, then what wins over it:
 * --tables, the program's own flags, the table's. */
int options_parse(const struct option_table *table, struct option_line *line, int argc, char **argv,
                  struct error *err) MUST_USE;

/* Appends the keys that are not live and differ: "a, b". */
void options_put_changed(const struct option_table *table, const void *before, const void *after,
                         struct buf *out);

/* One line an option, for --help. */
void options_print_help(const struct option_table *table);

#endif
