/* SPDX-License-Identifier: Apache-2.0
 *
 * Signature Version 4. The canonical request is
 *
 *   method LF path LF query LF (name:value LF)* LF names LF payload hash
 *
 * with the query's pairs and the fields sorted; names are the fields' own, joined by ';'. The
 * server makes the same text of what it heard, so whatever is signed must go out as it is here.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/aws/aws.h"
#include "lib/base/assert.h"
#include "lib/base/buf.h"
#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "lib/http_client/http_client.h"

enum { STAMP_SIZE = 17, OWN_FIELDS_MAX = 4 }; /* 20130524T000000Z */

/* A signed field or a pair of the query. `order` keeps equal ones as they came. */
struct pair {
    struct slice name;
    struct slice value;
    size_t order;
};

static int pair_compare(const void *a, const void *b)
{
    const struct pair *x = a;
    const struct pair *y = b;
    int by_name = slice_compare(x->name, y->name);
    return by_name != 0 ? by_name : slice_compare(x->value, y->value);
}

static int field_compare(const void *a, const void *b)
{
    const struct pair *x = a;
    const struct pair *y = b;
    int by_name = slice_compare(x->name, y->name);
    return by_name != 0 ? by_name : (x->order > y->order) - (x->order < y->order);
}

/* S3 takes keys as they are: they may hold "..", and are encoded once. */
static bool path_is_plain(const char *service)
{
    return strcmp(service, "s3") == 0 || strcmp(service, "s3express") == 0 ||
           strcmp(service, "s3-outposts") == 0;
}

/* Without "", "." and "..", as RFC 3986, 5.2.4, has it; a slash at the end stays. */
static void put_normal_path(const char *path, struct buf *out)
{
    size_t start = out->len;
    for (const char *at = path; *at != 0;) {
        at += strspn(at, "/");
        size_t len = strcspn(at, "/");
        if (len == 2 && memcmp(at, "..", 2) == 0) {
            while (out->len > start && out->data[--out->len] != '/')
                continue;
        } else if (len > 0 && !(len == 1 && *at == '.')) {
            buf_put_u8(out, '/');
            buf_put(out, at, len);
        }
        at += len;
    }
    size_t len = strlen(path);
    if (out->len == start || (len > 0 && path[len - 1] == '/'))
        buf_put_u8(out, '/');
}

static void put_path(const struct aws_request *request, struct buf *out)
{
    if (path_is_plain(request->service)) {
        buf_put_cstr(out, request->path[0] != 0 ? request->path : "/");
        return;
    }
    struct buf normal = {0};
    put_normal_path(request->path, &normal);
    http_client_encode(buf_slice(&normal), true, out);
    buf_free(&normal);
}

static void put_query(const char *query, struct buf *out)
{
    if (query == NULL)
        return;
    size_t max = 1;
    for (const char *at = query; *at != 0; at++)
        max += *at == '&';
    struct pair *pairs = memory_alloc(max, sizeof *pairs);
    size_t count = 0;
    for (const char *at = query; *at != 0;) {
        size_t len = strcspn(at, "&");
        size_t name_len = strcspn(at, "=&");
        size_t value_at = name_len < len ? name_len + 1 : len;
        if (len > 0)
            pairs[count++] = (struct pair){.name = slice_of(at, name_len),
                                           .value = slice_of(at + value_at, len - value_at)};
        at += len + (at[len] == '&');
    }
    qsort(pairs, count, sizeof *pairs, pair_compare);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_put_u8(out, '&');
        buf_put_slice(out, pairs[i].name);
        buf_put_u8(out, '=');
        buf_put_slice(out, pairs[i].value);
    }
    free(pairs);
}

/* Of "Name: value" or "Name;". */
static struct pair field_split(const char *field, size_t order)
{
    size_t len = strcspn(field, ":;");
    ASSERT(len > 0 && field[len] != 0 && strpbrk(field, "\r\n") == NULL);
    return (struct pair){
        .name = slice_of(field, len), .value = slice_cstr(field + len + 1), .order = order};
}

static void put_lower(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++)
        buf_put_u8(out, (uint8_t)tolower(text.data[i]));
}

/* Without blanks at the ends, each row of them within as one. */
static void put_trimmed(struct slice text, struct buf *out)
{
    size_t start = out->len;
    bool blank = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == ' ' || c == '\t') {
            blank = true;
            continue;
        }
        if (blank && out->len > start)
            buf_put_u8(out, ' ');
        blank = false;
        buf_put_u8(out, c);
    }
}

/* The lines of the fields into `lines`, their names into `names`. */
static void put_fields(const struct aws_signed *out, const char *host, struct buf *lines,
                       struct buf *names)
{
    size_t count = out->field_count + 1;
    struct pair *pairs = memory_alloc(count, sizeof *pairs);
    struct buf lower = {0};
    for (size_t i = 0; i < out->field_count; i++) {
        pairs[i] = field_split(out->fields[i], i);
        put_lower(pairs[i].name, &lower);
    }
    buf_put_cstr(&lower, "host");
    pairs[count - 1] =
        (struct pair){.name = slice_cstr("host"), .value = slice_cstr(host), .order = count};
    const uint8_t *at = lower.data; /* it grows no more */
    for (size_t i = 0; i < count; i++) {
        pairs[i].name.data = at;
        at += pairs[i].name.len;
    }
    qsort(pairs, count, sizeof *pairs, field_compare);
    for (size_t i = 0; i < count; i++) {
        bool again = i > 0 && slice_equal(pairs[i].name, pairs[i - 1].name);
        if (!again) {
            buf_put_cstr(names, i > 0 ? ";" : "");
            buf_put_slice(names, pairs[i].name);
            buf_put_slice(lines, pairs[i].name);
        }
        buf_put_cstr(lines, again ? "," : ":");
        put_trimmed(pairs[i].value, lines);
        if (i + 1 == count || !slice_equal(pairs[i].name, pairs[i + 1].name))
            buf_put_u8(lines, '\n');
    }
    buf_free(&lower);
    free(pairs);
}

static void put_hex_digest(struct slice bytes, struct buf *out)
{
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    sha256(bytes, digest);
    hex_encode(slice_of(digest, sizeof digest), hex);
    buf_put_cstr(out, hex);
}

static void add_field(struct aws_signed *out, const char *name, const char *value)
{
    out->fields[out->field_count++] = memory_printf("%s: %s", name, value);
}

/* HMAC over HMAC: secret, day, region, service, "aws4_request", then the text. */
static void signature(const struct aws_request *request, const char *stamp, struct slice text,
                      char hex[2 * SHA256_SIZE + 1])
{
    uint8_t key[SHA256_SIZE];
    char *secret = memory_printf("AWS4%s", request->credentials->secret);
    hmac_sha256(slice_cstr(secret), slice_of(stamp, 8), key);
    memory_wipe(&secret);
    const struct slice steps[] = {slice_cstr(request->region), slice_cstr(request->service),
                                  slice_cstr("aws4_request"), text};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        uint8_t next[SHA256_SIZE];
        hmac_sha256(slice_of(key, sizeof key), steps[i], next);
        memcpy(key, next, sizeof key);
        explicit_bzero(next, sizeof next);
    }
    hex_encode(slice_of(key, sizeof key), hex);
    explicit_bzero(key, sizeof key);
}

/* The string to sign; `names` gets the signed fields' names. */
static void put_string_to_sign(const struct aws_signed *out, const struct aws_request *request,
                               const char *stamp, const char *scope, struct buf *names,
                               struct buf *text)
{
    struct buf canonical = {0};
    buf_printf(&canonical, "%s\n", request->method);
    put_path(request, &canonical);
    buf_put_u8(&canonical, '\n');
    put_query(request->query, &canonical);
    buf_put_u8(&canonical, '\n');
    put_fields(out, request->host, &canonical, names);
    buf_printf(&canonical, "\n%s\n%s", buf_cstr(names), request->payload_hash);
    buf_printf(text, "AWS4-HMAC-SHA256\n%s\n%s\n", stamp, scope);
    put_hex_digest(buf_slice(&canonical), text);
    buf_wipe(&canonical); /* it holds the token */
}

void aws_sign(struct aws_signed *out, const struct aws_request *request)
{
    aws_signed_free(out);
    char stamp[STAMP_SIZE];
    time_t seconds = request->now_ms / 1000;
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t stamp_len = strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &utc);
    ASSERT(stamp_len == STAMP_SIZE - 1);

    out->fields = memory_alloc(request->field_count + OWN_FIELDS_MAX, sizeof *out->fields);
    for (size_t i = 0; i < request->field_count; i++)
        out->fields[out->field_count++] = memory_copy_cstr(request->fields[i]);
    add_field(out, "x-amz-date", stamp);
    if (request->send_payload_hash || strncmp(request->service, "s3", 2) == 0)
        add_field(out, "x-amz-content-sha256", request->payload_hash);
    if (request->credentials->token != NULL)
        add_field(out, "x-amz-security-token", request->credentials->token);

    struct buf names = {0};
    struct buf text = {0};
    char hex[2 * SHA256_SIZE + 1];
    char *scope =
        memory_printf("%.8s/%s/%s/aws4_request", stamp, request->region, request->service);
    put_string_to_sign(out, request, stamp, scope, &names, &text);
    signature(request, stamp, buf_slice(&text), hex);
    out->fields[out->field_count++] = memory_printf(
        "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
        request->credentials->access_key, scope, buf_cstr(&names), hex);
    free(scope);
    buf_free(&names);
    buf_free(&text);
}

void aws_signed_free(struct aws_signed *out)
{
    for (size_t i = 0; i < out->field_count; i++) {
        char *field = (char *)(uintptr_t)out->fields[i];
        memory_wipe(&field);
    }
    free(out->fields);
    *out = (struct aws_signed){0};
}

bool aws_clock_offset(int64_t server_ms, int64_t now_ms, int64_t *offset_ms)
{
    static const int64_t most_ms = 400 * 86400 * INT64_C(1000);
    *offset_ms = server_ms > 0 ? server_ms - now_ms : 0;
    return server_ms > 0 && *offset_ms <= most_ms && *offset_ms >= -most_ms;
}
