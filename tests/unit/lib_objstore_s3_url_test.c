/* SPDX-License-Identifier: Apache-2.0
 *
 * What is pure of the S3 store: places, endpoints, paths, verdicts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "lib/objstore/s3_error.h"
#include "lib/objstore/s3_url.h"

static struct s3_place place_of(const char *url)
{
    struct s3_place place;
    struct error err;
    if (s3_place_parse(&place, url, &err) != OK)
        fail_msg("%s: %s", url, err.text);
    return place;
}

/* The harm: objects go to another bucket or key than the tables name. */
static void a_place_is_taken_as_it_stands(void **state)
{
    (void)state;
    struct s3_place place = place_of("s3://bucket/a%2Fb/c=d");
    assert_string_equal(place.bucket, "bucket");
    assert_string_equal(place.prefix, "a%2Fb/c=d");
    assert_string_equal(place_of("s3://bucket").prefix, "");
    assert_string_equal(place_of("s3://bucket/").prefix, "");
    assert_string_equal(place_of("s3://my.old_Bucket/a//").prefix, "a");
}

static void a_place_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "s3://",          "s3:///a",          "s3a://bucket/a", "s3://ab",          "s3://b..ucket",
        "s3://-bucket",   "s3://buc ket",     "s3://bucket/..", "s3://bucket/a//b", "s3://bucket/.",
        "s3://bucket/?a", "s3://bucket/a\nb", "s3://user@host"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct s3_place place;
        struct error err;
        if (s3_place_parse(&place, urls[i], &err) != ERROR_INPUT)
            fail_msg("%s is taken", urls[i]);
    }
    char url[300] = "s3://bucket/";
    memset(url + 12, 'a', S3_PREFIX_MAX + 1);
    struct s3_place place;
    struct error err;
    assert_int_equal(s3_place_parse(&place, url, &err), ERROR_INPUT);
}

static void assert_url(const char *place_url, const char *endpoint_url, const char *region,
                       enum s3_style style, const char *key, const char *wanted)
{
    struct s3_place place = place_of(place_url);
    struct s3_endpoint endpoint;
    struct error err;
    struct buf url = {0};
    struct aws_endpoint at = {.url = (char *)(uintptr_t)endpoint_url};
    if (s3_endpoint_make(&endpoint, &at, region, &place, style, &err) != OK)
        fail_msg("%s", err.text);
    buf_printf(&url, "%s://%s", endpoint.https ? "https" : "http", endpoint.host);
    s3_path_put(&endpoint, &place, key, &url);
    assert_string_equal(buf_cstr(&url), wanted);
    buf_free(&url);
}

/* The harm: a signature that never fits, a host that no certificate covers. */
static void an_object_is_asked_for_where_it_lies(void **state)
{
    (void)state;
    assert_url("s3://lake/wh", NULL, "eu-west-1", S3_STYLE_AUTO, "a/b.parquet",
               "https://lake.s3.eu-west-1.amazonaws.com/wh/a/b.parquet");
    assert_url("s3://lake", "", "cn-north-1", S3_STYLE_AUTO, "a",
               "https://lake.s3.cn-north-1.amazonaws.com.cn/a");
    assert_url("s3://my.lake", NULL, "us-east-1", S3_STYLE_AUTO, "a",
               "https://s3.us-east-1.amazonaws.com/my.lake/a");
    assert_url("s3://lake/wh", "http://127.0.0.1:9000/", "us-east-1", S3_STYLE_AUTO, "a",
               "http://127.0.0.1:9000/lake/wh/a");
    assert_url("s3://lake/wh", "http://[::1]:9000", "us-east-1", S3_STYLE_AUTO, "a",
               "http://[::1]:9000/lake/wh/a");
    assert_url("s3://lake", "https://store.test:443", "us-east-1", S3_STYLE_HOST, "a",
               "https://lake.store.test/a");
    assert_url("s3://lake", "http://store.test:80", "us-east-1", S3_STYLE_PATH, NULL,
               "http://store.test/lake");
    /* As libcurl writes them */
    assert_url("s3://lake", "http://127.1:09000", "us-east-1", S3_STYLE_AUTO, NULL,
               "http://127.0.0.1:9000/lake");
    assert_url("s3://lake", "http://[0:0:0:0:0:0:0:1]:9000", "us-east-1", S3_STYLE_AUTO, NULL,
               "http://[::1]:9000/lake");
    assert_url("s3://lake", "https://store.test:0443", "us-east-1", S3_STYLE_HOST, NULL,
               "https://lake.store.test/");
    assert_url("s3://lake/wh", NULL, "us-east-1", S3_STYLE_AUTO, NULL,
               "https://lake.s3.us-east-1.amazonaws.com/");
    /* '=' of Hive's paths, '+', '%', blanks, what isn't ASCII */
    assert_url("s3://lake", NULL, "us-east-1", S3_STYLE_AUTO, "d=1/a+b %2F\xc3\xa9~",
               "https://lake.s3.us-east-1.amazonaws.com/d%3D1/a%2Bb%20%252F%C3%A9~");
}

static void an_endpoint_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "store.test", "ftp://store.test", "https://",   "https:///bucket", "http",
        "http://a/b", "http://a b",       "http://a?b", "http://u@a"};
    struct s3_place place = place_of("s3://my.lake");
    struct s3_endpoint endpoint;
    const struct aws_endpoint none = {0};
    struct error err;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        if (s3_endpoint_make(&endpoint, &(struct aws_endpoint){.url = (char *)(uintptr_t)urls[i]},
                             "us-east-1", &place, S3_STYLE_AUTO, &err) != ERROR_INPUT)
            fail_msg("%s is taken", urls[i]);
    }
    assert_int_equal(s3_endpoint_make(&endpoint, &none, "us/../x", &place, S3_STYLE_AUTO, &err),
                     ERROR_INPUT);
    assert_int_equal(s3_endpoint_make(&endpoint, &none, "us-east-1", &place, S3_STYLE_HOST, &err),
                     ERROR_INPUT);
}

/* The harm: of the longest host that passes more bytes are read than there are. */
static void the_longest_host_is_taken_whole(void **state)
{
    (void)state;
    char bucket[S3_BUCKET_MAX + 1] = {0};
    char url[8 + S3_HOST_MAX] = "http://";
    char place_url[80];
    struct error err;
    memset(bucket, 'b', S3_BUCKET_MAX);
    memset(url + 7, 'h', S3_HOST_MAX);
    snprintf(place_url, sizeof place_url, "s3://%s", bucket);
    struct s3_place place = place_of(place_url);
    struct s3_endpoint endpoint;
    assert_int_equal(s3_endpoint_make(&endpoint, &(struct aws_endpoint){.url = url}, "us-east-1",
                                      &place, S3_STYLE_HOST, &err),
                     OK);
    assert_int_equal(strnlen(endpoint.host, sizeof endpoint.host), S3_BUCKET_MAX + 1 + S3_HOST_MAX);
    assert_memory_equal(endpoint.host, bucket, S3_BUCKET_MAX);
    assert_string_equal(endpoint.host + S3_BUCKET_MAX + 1, url + 7);
}

/* The harm: what passes by itself wakes a person, what never does is tried for ever, what
 * isn't there is taken for a store that is ill. */
static void an_answer_says_what_to_do(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *code;
        enum error_code what;
        enum s3_mend mend;
        bool is_absent;
    } rows[] = {
        {503, "SlowDown", ERROR_RETRY, S3_MEND_NONE, false},
        {200, "InternalError", ERROR_RETRY, S3_MEND_NONE, false},
        {500, "", ERROR_RETRY, S3_MEND_NONE, false},
        {502, "", ERROR_RETRY, S3_MEND_NONE, false},
        {599, "Whatever", ERROR_RETRY, S3_MEND_NONE, false},
        {429, "", ERROR_RETRY, S3_MEND_NONE, false},
        {400, "RequestTimeout", ERROR_RETRY, S3_MEND_NONE, false},
        {400, "BadDigest", ERROR_RETRY, S3_MEND_NONE, false},
        {412, "PreconditionFailed", ERROR_CONFLICT, S3_MEND_NONE, false},
        {412, "", ERROR_CONFLICT, S3_MEND_NONE, false},
        {409, "ConditionalRequestConflict", ERROR_RETRY, S3_MEND_NONE, false},
        {404, "NoSuchKey", ERROR_INPUT, S3_MEND_NONE, true},
        {404, "", ERROR_DENIED, S3_MEND_NONE, false}, /* a proxy's page is no "not there" */
        {404, "NoSuchBucket", ERROR_DENIED, S3_MEND_NONE, false},
        {404, "XAdminUserNotFound", ERROR_DENIED, S3_MEND_CREDENTIALS, false},
        {404, "NoIdeaWhat", ERROR_DENIED, S3_MEND_NONE, false},
        {403, "AccessDenied", ERROR_DENIED, S3_MEND_NONE, false},
        {403, "SignatureDoesNotMatch", ERROR_DENIED, S3_MEND_CLOCK, false},
        {403, "RequestTimeTooSkewed", ERROR_DENIED, S3_MEND_CLOCK, false},
        {403, "", ERROR_DENIED, S3_MEND_NONE, false},
        {400, "ExpiredToken", ERROR_DENIED, S3_MEND_CREDENTIALS, false},
        {400, "", ERROR_DENIED, S3_MEND_NONE, false},
        {400, "AuthorizationHeaderMalformed", ERROR_DENIED, S3_MEND_REGION, false},
        {301, "", ERROR_DENIED, S3_MEND_REGION, false},
        {307, "TemporaryRedirect", ERROR_RETRY, S3_MEND_REGION, false},
        {302, "", ERROR_DENIED, S3_MEND_NONE, false},
        {400, "EntityTooLarge", ERROR_LIMIT, S3_MEND_NONE, false},
        {507, "", ERROR_LIMIT, S3_MEND_NONE, false},
        {418, "Teapot", ERROR_DENIED, S3_MEND_NONE, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct s3_verdict verdict = s3_judge(rows[i].status, rows[i].code);
        if (verdict.code != rows[i].what || verdict.mend != rows[i].mend ||
            verdict.is_absent != rows[i].is_absent)
            fail_msg("%d %s: %d", rows[i].status, rows[i].code, (int)verdict.code);
        assert_non_null(verdict.check);
    }
}

static void a_foreign_text_is_cut_and_printable(void **state)
{
    (void)state;
    char text[8];
    s3_text_copy(text, sizeof text, slice_cstr("a\x1b[2J\n\xff more"));
    assert_string_equal(text, "a?[2J??");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_is_taken_as_it_stands),
        cmocka_unit_test(a_place_that_is_none_is_refused),
        cmocka_unit_test(an_object_is_asked_for_where_it_lies),
        cmocka_unit_test(an_endpoint_that_is_none_is_refused),
        cmocka_unit_test(the_longest_host_is_taken_whole),
        cmocka_unit_test(an_answer_says_what_to_do),
        cmocka_unit_test(a_foreign_text_is_cut_and_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
