/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/pixel.h"

#include <stdbool.h>

#include "lib/json/json.h"

static bool is_macro(struct slice value)
{
    return value.len >= 3 && value.data[0] == '$' && value.data[1] == '{' &&
           value.data[value.len - 1] == '}';
}

struct slice pixel_event(const struct query *query, struct buf *out, uint64_t *unresolved_macros)
{
    buf_reset(out);
    buf_put_u8(out, '{');
    for (size_t i = 0; i < query->count; i++) {
        struct slice value = query_value(query, i);
        if (!query->parameters[i].has_value)
            continue;
        if (is_macro(value)) {
            ++*unresolved_macros;
            continue;
        }
        if (out->len > 1)
            buf_put_u8(out, ',');
        json_put_string(out, query_name(query, i));
        buf_put_u8(out, ':');
        json_put_string(out, value);
    }
    buf_put_u8(out, '}');
    return buf_slice(out);
}

/* GIF89a, 1 x 1, two colours, the first of them transparent. */
static const uint8_t gif[] = {'G', 'I',  'F',  '8',  '9',  'a',  1, 0, 1, 0,    0x80, 0, 0,    0, 0,
                              0,   0xff, 0xff, 0xff, 0x21, 0xf9, 4, 1, 0, 0,    0,    0, 0x2c, 0, 0,
                              0,   0,    1,    0,    1,    0,    0, 2, 2, 0x44, 1,    0, 0x3b};
const struct slice pixel_gif = {.data = gif, .len = sizeof gif};
