/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/framing.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct framing {
    size_t lengths;
    size_t codings;
    size_t hosts;
    const char *fault;
};

static bool is_token(const char *name, size_t len)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    (c != 0 && strchr(others, c) != NULL);
        if (!fine)
            return false;
    }
    return len > 0;
}

static bool is_digits(const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
    }
    return len > 0;
}

static bool is(const char *text, size_t len, const char *wanted)
{
    return len == strlen(wanted) && strncasecmp(text, wanted, len) == 0;
}

static enum MHD_Result look(void *context, enum MHD_ValueKind kind, const char *name,
                            size_t name_len, const char *value, size_t value_len)
{
    struct framing *framing = context;
    (void)kind;
    if (!is_token(name, name_len))
        framing->fault = "a header's name has characters that are none of a name";
    if (is(name, name_len, MHD_HTTP_HEADER_CONTENT_LENGTH)) {
        framing->lengths++;
        if (!is_digits(value, value_len))
            framing->fault = "Content-Length is no number";
    } else if (is(name, name_len, MHD_HTTP_HEADER_TRANSFER_ENCODING)) {
        framing->codings++;
        if (!is(value, value_len, "chunked"))
            framing->fault = "Transfer-Encoding may be chunked";
    } else if (is(name, name_len, MHD_HTTP_HEADER_HOST)) {
        framing->hosts++;
    }
    return framing->fault == NULL ? MHD_YES : MHD_NO;
}

const char *framing_fault(struct MHD_Connection *connection, const char *version)
{
    struct framing framing = {0};
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, look, &framing);
    if (framing.fault != NULL)
        return framing.fault;
    if (framing.lengths > 1)
        return "there is more than one Content-Length";
    if (framing.codings > 1)
        return "there is more than one Transfer-Encoding";
    if (framing.lengths > 0 && framing.codings > 0)
        return "there are Content-Length and Transfer-Encoding";
    if (framing.codings > 0 && strcmp(version, MHD_HTTP_VERSION_1_0) == 0)
        return "HTTP/1.0 has no Transfer-Encoding";
    if (framing.hosts > 1)
        return "there is more than one Host";
    return NULL;
}
