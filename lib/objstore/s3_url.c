/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/objstore/s3_url.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/http_client/http_client.h"

static bool is_alnum(char c)
{
    return isalnum((unsigned char)c) != 0;
}

/* Old buckets and other stores' have capitals and '_' beside what S3 allows today. */
static bool bucket_is_fine(const char *name, size_t len)
{
    if (len < 3 || len > S3_BUCKET_MAX || !is_alnum(name[0]) || !is_alnum(name[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_alnum(name[i]) && strchr("-._", name[i]) == NULL)
            return false;
        if (name[i] == '.' && name[i - 1] == '.')
            return false;
    }
    return true;
}

/* As the rest of the store's keys: no empty segments, none of dots, no control characters. And
 * none of '?' and '#', at which others cut a location. */
static bool prefix_is_fine(const char *prefix)
{
    while (*prefix != 0) {
        size_t len = strcspn(prefix, "/");
        if (len == 0 || (len == 1 && prefix[0] == '.') || strncmp(prefix, "../", 3) == 0 ||
            strcmp(prefix, "..") == 0)
            return false;
        for (size_t i = 0; i < len; i++) {
            unsigned char c = (unsigned char)prefix[i];
            if (c < 0x20 || c == 0x7f || c == '?' || c == '#')
                return false;
        }
        prefix += len + (prefix[len] == '/');
    }
    return true;
}

int s3_place_parse(struct s3_place *out, const char *url, struct error *err)
{
    *out = (struct s3_place){0};
    if (strncmp(url, "s3://", 5) != 0)
        return error_set(err, ERROR_INPUT, "not a place in S3: write s3://bucket/prefix");
    const char *bucket = url + 5;
    size_t len = strcspn(bucket, "/");
    if (!bucket_is_fine(bucket, len))
        return error_set(err, ERROR_INPUT, "\"%.*s\" is no bucket's name: write s3://bucket/prefix",
                         (int)(len < 100 ? len : 100), bucket);
    const char *prefix = bucket + len + (bucket[len] == '/');
    size_t prefix_len = strlen(prefix);
    while (prefix_len > 0 && prefix[prefix_len - 1] == '/')
        prefix_len--;
    if (prefix_len > S3_PREFIX_MAX)
        return error_set(err, ERROR_INPUT, "the prefix is longer than %d bytes", S3_PREFIX_MAX);
    memcpy(out->bucket, bucket, len);
    memcpy(out->prefix, prefix, prefix_len);
    if (!prefix_is_fine(out->prefix))
        return error_set(err, ERROR_INPUT,
                         "the prefix \"%s\" may not have empty segments, '.', '..', '?', '#' or "
                         "control characters",
                         out->prefix);
    return OK;
}

/* What a certificate for "*.s3.region.amazonaws.com" covers: one label, lower case. */
static bool bucket_is_a_label(const char *bucket)
{
    for (const char *at = bucket; *at != 0; at++) {
        if (!islower((unsigned char)*at) && !isdigit((unsigned char)*at) && *at != '-')
            return false;
    }
    return true;
}

/* Nothing, or ":" and a number that a port has. */
static bool port_is_fine(const char *text, size_t len)
{
    unsigned port = 0;
    if (len == 0)
        return true;
    for (size_t i = 1; i < len; i++) {
        if (!isdigit((unsigned char)text[i]) || i > 5)
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return text[0] == ':' && port > 0 && port <= 65535;
}

/* A name or an address, that of IPv6 in brackets, with a port or not. */
static bool host_is_fine(const char *host, size_t len)
{
    bool bracket = len > 0 && host[0] == '[';
    size_t at = bracket;
    if (len > S3_HOST_MAX)
        return false;
    while (at < len && (is_alnum(host[at]) || strchr(bracket ? ":." : "-._", host[at]) != NULL))
        at++;
    bool has_name = at > (bracket ? 1 : 0);
    if (bracket && (at == len || host[at++] != ']'))
        return false;
    return has_name && port_is_fine(host + at, len - at);
}

/* "https://host[:port][/]" */
static int endpoint_parse(struct s3_endpoint *out, const char *url, char host[S3_HOST_MAX + 1],
                          struct error *err)
{
    out->https = strncmp(url, "https://", 8) == 0;
    bool known = out->https || strncmp(url, "http://", 7) == 0;
    const char *at = known ? url + (out->https ? 8 : 7) : url;
    size_t len = strcspn(at, "/");
    if (!known || !host_is_fine(at, len) || (at[len] == '/' && at[len + 1] != 0))
        return error_set(err, ERROR_INPUT,
                         "endpoint \"%.200s\": write https://host or http://host:port", url);
    memcpy(host, at, len);
    host[len] = 0;
    return OK;
}

static int amazon_host(const struct aws_endpoint *at, const char *region,
                       char host[S3_HOST_MAX + 1], struct error *err)
{
    struct buf name = {0};
    int rc = aws_host("s3", region, at, &name, err);
    snprintf(host, S3_HOST_MAX + 1, "%s", buf_cstr(&name));
    buf_free(&name);
    return rc;
}

/* As it is sent, and so it must be signed. */
static int host_put(struct s3_endpoint *out, const struct s3_place *place, const char *host,
                    struct error *err)
{
    struct buf url = {0};
    struct buf sent;
    buf_init(&sent, sizeof out->host);
    buf_printf(&url, "%s://%s%s%s", out->https ? "https" : "http",
               out->in_path ? "" : place->bucket, out->in_path ? "" : ".", host);
    int rc = http_client_host(buf_cstr(&url), &sent, err);
    const char *text = buf_cstr(&sent); /* its NUL counts against the ceiling */
    if (rc == OK && buf_failed(&sent))
        rc = error_set(err, ERROR_INPUT, "endpoint \"%.200s\": its name is too long", host);
    if (rc == OK)
        memcpy(out->host, text, sent.len + 1);
    buf_free(&url);
    buf_free(&sent);
    return rc;
}

int s3_endpoint_make(struct s3_endpoint *out, const struct aws_endpoint *at, const char *region,
                     const struct s3_place *place, enum s3_style style, struct error *err)
{
    char host[S3_HOST_MAX + 1];
    *out = (struct s3_endpoint){.https = true};
    bool own = at->url == NULL || *at->url == 0;
    if (!aws_region_is_valid(region))
        return error_set(err, ERROR_INPUT, "\"%.80s\" is no region's name", region);
    int rc = own ? amazon_host(at, region, host, err) : endpoint_parse(out, at->url, host, err);
    if (rc != OK)
        return rc;
    bool label = bucket_is_a_label(place->bucket);
    if (style == S3_STYLE_HOST && out->https && !label)
        return error_set(err, ERROR_INPUT,
                         "the bucket %s has dots or capitals: TLS wants s3.path_style yes or auto",
                         place->bucket);
    out->in_path = style == S3_STYLE_PATH || (style == S3_STYLE_AUTO && (!own || !label));
    return host_put(out, place, host, err);
}

void s3_path_put(const struct s3_endpoint *endpoint, const struct s3_place *place, const char *key,
                 struct buf *out)
{
    if (endpoint->in_path) {
        buf_put_u8(out, '/');
        http_client_encode(slice_cstr(place->bucket), false, out);
    }
    if (key == NULL && endpoint->in_path)
        return;
    buf_put_u8(out, '/');
    if (key == NULL)
        return;
    http_client_encode(slice_cstr(place->prefix), true, out);
    if (place->prefix[0] != 0)
        buf_put_u8(out, '/');
    http_client_encode(slice_cstr(key), true, out);
}
