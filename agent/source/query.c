/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/query.h"

#include <string.h>
#include <strings.h>

#include "lib/http/http.h"

void query_free(struct query *query)
{
    buf_free(&query->text);
    *query = (struct query){.count = 0};
}

static void add(struct query *query, struct slice piece)
{
    struct query_parameter *parameter = &query->parameters[query->count++];
    const uint8_t *mark = memchr(piece.data, '=', piece.len);
    size_t name_len = mark != NULL ? (size_t)(mark - piece.data) : piece.len;
    *parameter = (struct query_parameter){.name = query->text.len, .has_value = mark != NULL};
    http_percent_decode(slice_of(piece.data, name_len), true, &query->text);
    parameter->name_len = query->text.len - parameter->name;
    parameter->value = query->text.len;
    if (mark != NULL)
        http_percent_decode(slice_of(mark + 1, piece.len - name_len - 1), true, &query->text);
    parameter->value_len = query->text.len - parameter->value;
}

bool query_decode(struct query *query, struct slice text)
{
    buf_reset(&query->text);
    query->count = 0;
    while (text.len > 0) {
        const uint8_t *mark = memchr(text.data, '&', text.len);
        size_t len = mark != NULL ? (size_t)(mark - text.data) : text.len;
        size_t used = len + (mark != NULL);
        if (len > 0 && query->count == QUERY_PARAMETERS_MAX)
            return false;
        if (len > 0)
            add(query, slice_of(text.data, len));
        text = slice_of(text.data + used, text.len - used);
    }
    return true;
}

/* Never without an address, which would say that there is none. */
static struct slice part(const struct query *query, size_t at, size_t len)
{
    return len > 0 ? slice_of(query->text.data + at, len) : slice_cstr("");
}

struct slice query_name(const struct query *query, size_t at)
{
    return part(query, query->parameters[at].name, query->parameters[at].name_len);
}

struct slice query_value(const struct query *query, size_t at)
{
    return part(query, query->parameters[at].value, query->parameters[at].value_len);
}

struct slice query_find(const struct query *query, const char *name)
{
    for (size_t i = 0; i < query->count; i++) {
        struct slice found = query_name(query, i);
        if (found.len == strlen(name) &&
            strncasecmp((const char *)found.data, name, found.len) == 0)
            return query_value(query, i);
    }
    return (struct slice){0};
}
