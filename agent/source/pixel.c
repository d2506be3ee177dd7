/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/pixel.h"

#include <stdbool.h>
#include <string.h>

#include "lib/json/json.h"

struct collect {
    struct buf *out;
    uint64_t unresolved;
};

static bool is_macro(const char *value, size_t len)
{
    return len >= 3 && value[0] == '$' && value[1] == '{' && value[len - 1] == '}';
}

static enum MHD_Result take(void *context, enum MHD_ValueKind kind, const char *key, size_t key_len,
                            const char *value, size_t value_len)
{
    struct collect *collect = context;
    (void)kind;
    if (value == NULL)
        return MHD_YES; /* "?name": there, without a value */
    if (is_macro(value, value_len)) {
        collect->unresolved++;
        return MHD_YES;
    }
    if (collect->out->len > 1)
        buf_put_u8(collect->out, ',');
    json_put_string(collect->out, slice_of(key, key_len));
    buf_put_u8(collect->out, ':');
    json_put_string(collect->out, slice_of(value, value_len));
    return MHD_YES;
}

struct slice pixel_event(struct MHD_Connection *connection, struct buf *out,
                         _Atomic uint64_t *unresolved_macros)
{
    struct collect collect = {.out = out};
    buf_reset(out);
    buf_put_u8(out, '{');
    MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, take, &collect);
    buf_put_u8(out, '}');
    if (collect.unresolved > 0)
        atomic_fetch_add(unresolved_macros, collect.unresolved);
    return buf_slice(out);
}

struct MHD_Response *pixel_response(void)
{
    /* GIF89a, 1 x 1, two colours, the first of them transparent. */
    static uint8_t gif[] = {'G', 'I',  'F',  '8',  '9',  'a',  1, 0, 1, 0,    0x80, 0, 0,    0, 0,
                            0,   0xff, 0xff, 0xff, 0x21, 0xf9, 4, 1, 0, 0,    0,    0, 0x2c, 0, 0,
                            0,   0,    1,    0,    1,    0,    0, 2, 2, 0x44, 1,    0, 0x3b};
    struct MHD_Response *response =
        MHD_create_response_from_buffer(sizeof gif, gif, MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return NULL;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "image/gif");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    return response;
}
