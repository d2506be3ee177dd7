/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/plain.h"

#include <stdbool.h>
#include <string.h>

/* Bytes of the character that begins there; 0: it is no UTF-8. */
static size_t character_len(const unsigned char *at, size_t left)
{
    size_t len = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (at[0] > 0xf4 || len > left)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool beyond = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    return overlong || beyond ? 0 : len;
}

size_t plain_character(const unsigned char *at, size_t left, char out[8])
{
    size_t len = character_len(at, left);
    bool c1 = len == 2 && at[0] == 0xc2 && at[1] < 0xa0; /* commands to a terminal */
    bool end = len == 3 && at[0] == 0xe2 && at[1] == 0x80 && (at[2] == 0xa8 || at[2] == 0xa9);
    if (len == 0)
        memcpy(out, "\xef\xbf\xbd", 4);
    else if (at[0] == '\n' || at[0] == '\r' || at[0] == '\t')
        snprintf(out, 8, "\\%c", at[0] == '\n' ? 'n' : at[0] == '\r' ? 'r' : 't');
    else if (at[0] < 0x20 || at[0] == 0x7f || c1)
        snprintf(out, 8, "\\u%04x", at[len - 1]);
    else if (end)
        snprintf(out, 8, "\\u20%02x", at[2] - 0x80);
    else
        snprintf(out, 8, "%.*s", (int)len, (const char *)at);
    return len > 0 ? len : 1;
}

void plain_put(struct buf *out, const char *text)
{
    char shown[8];
    size_t left = text != NULL ? strlen(text) : 0;
    for (size_t at = 0; at < left;) {
        at += plain_character((const unsigned char *)text + at, left - at, shown);
        buf_put_cstr(out, shown);
    }
}

void plain_write(FILE *to, const char *text)
{
    struct buf out = {0};
    plain_put(&out, text);
    fwrite(out.data, 1, out.len, to);
    buf_free(&out);
}

void plain_ascii(char *text)
{
    for (char *at = text; *at != 0; at++)
        *at = (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x7f ? *at : '?';
}
