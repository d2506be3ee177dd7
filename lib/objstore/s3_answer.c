/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys are asked for with encoding-type=url, since XML has no way to write some bytes; an answer
 * says by EncodingType whether they came so.
 */
#include "lib/objstore/s3_answer.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/instant.h"
#include "lib/base/memory.h"
#include "lib/objstore/store.h"
#include "lib/xml/xml.h"

enum { TEXT_MAX = 1024 };

static int64_t instant_ms(const char *text)
{
    int64_t us = 0;
    return text != NULL && instant_parse_rfc3339(slice_cstr(text), &us) ? us / 1000 : 0;
}

static void text_at(const struct xml_node *node, const char *path, char *out, size_t size)
{
    const char *text = xml_text(node, path);
    s3_text_copy(out, size, slice_cstr(text != NULL ? text : ""));
}

bool s3_error_decode(struct slice body, struct s3_problem *out)
{
    struct xml *xml = NULL;
    struct error ignored; /* what doesn't read says nothing */
    *out = (struct s3_problem){0};
    if (body.len == 0 || xml_decode(&xml, body, &ignored) != OK)
        return false;
    const struct xml_node *root = xml_root(xml);
    if (strcmp(root->name, "ErrorResponse") == 0)
        root = xml_child(root, "Error");
    bool is_error = root != NULL && strcmp(root->name, "Error") == 0;
    if (is_error) {
        text_at(root, "Code", out->code, sizeof out->code);
        text_at(root, "Message", out->message, sizeof out->message);
        text_at(root, "Region", out->region, sizeof out->region);
        out->server_ms = instant_ms(xml_text(root, "ServerTime"));
    }
    xml_free(xml);
    return is_error;
}

bool s3_root_is(struct slice body, const char *name)
{
    struct xml *xml = NULL;
    struct error ignored;
    bool is_it = xml_decode(&xml, body, &ignored) == OK && strcmp(xml_root(xml)->name, name) == 0;
    xml_free(xml);
    return is_it;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place: a text gets no longer by it. A NUL ends no key: such a one is none. */
static bool url_decode(char *text)
{
    char *to = text;
    for (const char *at = text; *at != 0; at++) {
        int high = *at == '%' ? hex_digit(at[1]) : -1;
        int low = high >= 0 ? hex_digit(at[2]) : -1;
        if (*at == '%' && (low < 0 || high + low == 0))
            return false;
        *to++ = low >= 0 ? (char)(high * 16 + low) : *at == '+' ? ' ' : *at;
        at += low >= 0 ? 2 : 0;
    }
    *to = 0;
    return true;
}

/* A copy of the key at "Key"; NULL: there is none that reads. */
static char *key_copy(const struct xml_node *node, bool encoded)
{
    const char *text = xml_text(node, "Key");
    if (text == NULL || *text == 0)
        return NULL;
    char *key = memory_copy_cstr(text);
    if (!encoded || url_decode(key))
        return key;
    free(key);
    return NULL;
}

static bool is_true(const struct xml_node *root, const char *name)
{
    const char *text = xml_text(root, name);
    return text != NULL && strcmp(text, "true") == 0;
}

static bool number_read(const char *text, uint64_t *out)
{
    *out = 0;
    if (text == NULL || *text == 0)
        return false;
    for (; *text != 0; text++) {
        if (*text < '0' || *text > '9' || *out > (UINT64_MAX - 9) / 10)
            return false;
        *out = *out * 10 + (uint64_t)(*text - '0');
    }
    return true;
}

static bool is_encoded(const struct xml_node *root)
{
    const char *text = xml_text(root, "EncodingType");
    return text != NULL && strcmp(text, "url") == 0;
}

static int root_decode(struct slice body, const char *name, struct xml **xml, struct error *err)
{
    int rc = xml_decode(xml, body, err);
    if (rc == OK && strcmp(xml_root(*xml)->name, name) != 0)
        rc = error_set(err, ERROR_INPUT, "<%.60s> came instead of it", xml_root(*xml)->name);
    /* What a store or a proxy said wrongly now may be right the next time. */
    if (rc != OK)
        err->code = ERROR_RETRY;
    return rc == OK ? OK : error_wrap(err, "<%s>", name);
}

/* Objects that others put below the warehouse under names that are no keys ("a//b", "folder/")
 * are passed over; paging goes on behind them. */
static int page_take(const struct xml_node *root, const char *prefix, struct s3_page *out,
                     struct error *err)
{
    size_t prefix_len = strlen(prefix);
    bool encoded = is_encoded(root); /* a walk over all that is there: not once for each */
    for (const struct xml_node *node = xml_child(root, "Contents"); node != NULL;
         node = xml_next(node, "Contents")) {
        uint64_t size = 0;
        char *key = key_copy(node, encoded);
        bool fine = key != NULL && strncmp(key, prefix, prefix_len) == 0 &&
                    number_read(xml_text(node, "Size"), &size);
        if (!fine || (out->last != NULL && strcmp(out->last, key) >= 0)) {
            free(key);
            return error_set(err, ERROR_RETRY, "a list whose keys are %s",
                             fine ? "not in order" : "not what was asked for");
        }
        free(out->last);
        out->last = key;
        if (objstore_key_is_fine(key + prefix_len))
            objstore_list_add(&out->list, key + prefix_len, size,
                              instant_ms(xml_text(node, "LastModified")));
    }
    return OK;
}

int s3_page_decode(struct slice body, const char *prefix, struct s3_page *out, struct error *err)
{
    struct xml *xml = NULL;
    *out = (struct s3_page){0};
    int rc = root_decode(body, "ListBucketResult", &xml, err);
    if (rc == OK)
        rc = page_take(xml_root(xml), prefix, out, err);
    if (rc == OK)
        out->more = is_true(xml_root(xml), "IsTruncated");
    if (rc == OK && out->more && out->last == NULL)
        rc = error_set(err, ERROR_RETRY, "a list that is empty and goes on");
    xml_free(xml);
    return rc;
}

void s3_page_free(struct s3_page *page)
{
    objstore_list_free(&page->list);
    free(page->last);
    *page = (struct s3_page){0};
}

int s3_uploads_decode(struct slice body, struct s3_uploads *out, struct error *err)
{
    struct xml *xml = NULL;
    *out = (struct s3_uploads){0};
    int rc = root_decode(body, "ListMultipartUploadsResult", &xml, err);
    if (rc != OK) {
        xml_free(xml);
        return rc;
    }
    const struct xml_node *root = xml_root(xml);
    bool encoded = is_encoded(root);
    for (const struct xml_node *node = xml_child(root, "Upload"); node != NULL;
         node = xml_next(node, "Upload")) {
        const char *id = xml_text(node, "UploadId");
        char *key = key_copy(node, encoded);
        if (key == NULL || id == NULL || *id == 0) {
            free(key);
            continue;
        }
        if ((out->count & (out->count - 1)) == 0)
            out->uploads = memory_resize(out->uploads, out->count > 0 ? out->count * 2 : 1,
                                         sizeof *out->uploads);
        out->uploads[out->count++] =
            (struct s3_upload){.key = key,
                               .id = memory_copy_cstr(id),
                               .initiated_ms = instant_ms(xml_text(node, "Initiated"))};
    }
    out->more = is_true(root, "IsTruncated");
    xml_free(xml);
    return OK;
}

void s3_uploads_free(struct s3_uploads *uploads)
{
    for (size_t i = 0; i < uploads->count; i++) {
        free(uploads->uploads[i].key);
        free(uploads->uploads[i].id);
    }
    free(uploads->uploads);
    *uploads = (struct s3_uploads){0};
}

bool s3_stays_decode(struct slice body, struct s3_stays *out)
{
    struct xml *xml = NULL;
    struct error ignored; /* s3_send found its root */
    *out = (struct s3_stays){0};
    if (xml_decode(&xml, body, &ignored) != OK)
        return false;
    const struct xml_node *error = xml_child(xml_root(xml), "Error");
    bool found = false;
    for (; error != NULL && !found; error = xml_next(error, "Error")) {
        text_at(error, "Code", out->problem.code, sizeof out->problem.code);
        text_at(error, "Message", out->problem.message, sizeof out->problem.message);
        text_at(error, "Key", out->key, sizeof out->key);
        found = !s3_judge(500, out->problem.code).is_absent;
    }
    xml_free(xml);
    return found;
}

int s3_text_decode(struct slice body, const char *path, char **out, struct error *err)
{
    struct xml *xml = NULL;
    *out = NULL;
    int rc = xml_decode(&xml, body, err);
    const char *text = rc == OK ? xml_text(xml_root(xml), path) : NULL;
    bool fine = text != NULL && *text != 0 && strlen(text) <= TEXT_MAX;
    for (const char *at = text; fine && *at != 0; at++)
        fine = (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x7f;
    if (fine)
        *out = memory_copy_cstr(text);
    else
        rc = error_set(err, ERROR_RETRY, "an answer without <%s>", path);
    xml_free(xml);
    return rc;
}
