/* SPDX-License-Identifier: Apache-2.0
 *
 * query.h: a query's parameters, "name=value&name=value", percent-decoded, '+' a blank.
 * Private to agent/source.
 */
#ifndef AGENT_SOURCE_QUERY_H
#define AGENT_SOURCE_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/buf.h"
#include "lib/base/slice.h"

enum { QUERY_PARAMETERS_MAX = 256 };

struct query_parameter {
    size_t name; /* places in the text */
    size_t name_len;
    size_t value;
    size_t value_len;
    bool has_value; /* "name" has none, "name=" an empty one */
};

/* All zero is an empty one; used again for the next. */
struct query {
    struct buf text;
    size_t count;
    struct query_parameter parameters[QUERY_PARAMETERS_MAX];
};
void query_free(struct query *query);

/* False: there are more than QUERY_PARAMETERS_MAX. */
bool query_decode(struct query *query, struct slice text);

struct slice query_name(const struct query *query, size_t at);
struct slice query_value(const struct query *query, size_t at);
/* The first of that name, in any case; data NULL: there is none. */
struct slice query_find(const struct query *query, const char *name);

#endif
