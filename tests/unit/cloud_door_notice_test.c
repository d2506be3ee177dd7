/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/door/notice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/buf.h"

#define S3_RECORD                                                                                  \
    "{\"eventSource\":\"aws:s3\",\"eventName\":\"ObjectCreated:Put\",\"s3\":{\"bucket\":{"         \
    "\"name\":\"b\"},\"object\":{\"key\":\"wh/_bidlake/inbox/db.clicks/a+b%3Dc%2F1.json\"}}}"
#define S3_EVENT "{\"Records\":[" S3_RECORD "]}"
/* As a text within JSON. */
#define S3_TEXT                                                                                    \
    "{\\\"Records\\\":[{\\\"eventName\\\":\\\"ObjectCreated:Put\\\",\\\"s3\\\":{\\\"bucket\\\":{"  \
    "\\\"name\\\":\\\"b\\\"},\\\"object\\\":{\\\"key\\\":\\\"k\\\"}}}]}"

static void one_object(const char *body, const char *bucket, const char *key)
{
    struct notice notice;
    struct error err = {0};
    if (notice_decode(&notice, slice_cstr(body), &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(notice.count, 1);
    assert_string_equal(notice.objects[0].bucket, bucket);
    assert_string_equal(notice.objects[0].key, key);
    notice_free(&notice);
}

/* The harm: a notice that is not understood makes the table wait for the interval. */
static void each_messenger_is_understood(void **state)
{
    (void)state;
    one_object(S3_EVENT, "b", "wh/_bidlake/inbox/db.clicks/a b=c/1.json");
    one_object("{\"EventName\":\"s3:ObjectCreated:Put\",\"Key\":\"b/k\",\"Records\":[{"
               "\"eventSource\":\"minio:s3\",\"eventName\":\"s3:ObjectCreated:Put\",\"s3\":{"
               "\"bucket\":{\"name\":\"b\"},\"object\":{\"key\":\"a%2Fk\"}}}]}",
               "b", "a/k");
    one_object("{\"Type\":\"Notification\",\"Message\":\"" S3_TEXT "\"}", "b", "k");
    one_object("{\"Records\":[{\"eventSource\":\"aws:sqs\",\"body\":\"" S3_TEXT "\"}]}", "b", "k");
    one_object("{\"Records\":[{\"Sns\":{\"Message\":\"" S3_TEXT "\"}}]}", "b", "k");
    one_object("{\"detail-type\":\"Object Created\",\"source\":\"aws.s3\",\"detail\":{"
               "\"bucket\":{\"name\":\"b\"},\"object\":{\"key\":\"a+b%3D\"}}}",
               "b", "a+b%3D");
    one_object("{\"message\":{\"attributes\":{\"bucketId\":\"b\",\"objectId\":\"o/1\","
               "\"eventType\":\"OBJECT_FINALIZE\"}},\"subscription\":\"s\"}",
               "b", "o/1");
    one_object("{\"kind\":\"storage#object\",\"bucket\":\"b\",\"name\":\"n\"}", "b", "n");
    one_object("{\"specversion\":\"1.0\",\"type\":\"google.cloud.storage.object.v1.finalized\","
               "\"data\":{\"bucket\":\"b\",\"name\":\"n\"}}",
               "b", "n");
}

static void what_is_about_something_else_has_no_objects(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"Service\":\"Amazon S3\",\"Event\":\"s3:TestEvent\"}",
        "{\"Records\":[]}",
        "{\"Records\":[{\"eventName\":\"ObjectRemoved:Delete\",\"s3\":{}}]}",
        "{\"Records\":[{\"eventName\":\"s3:ObjectRemoved:Delete\",\"s3\":{\"bucket\":{"
        "\"name\":\"b\"},\"object\":{\"key\":\"k\"}}}]}",
        "{\"Records\":[{\"eventName\":\"ObjectCreated:Put\",\"s3\":{\"bucket\":7}}]}",
        "{\"Records\":[{\"eventName\":\"ObjectCreated:Put\",\"s3\":{\"bucket\":{\"name\":\"b\"},"
        "\"object\":{\"key\":\"a%00b\"}}}]}",
        "{\"detail-type\":\"Object Deleted\",\"detail\":{}}",
        "{\"message\":{\"attributes\":{\"eventType\":\"OBJECT_DELETE\"}}}",
        "{\"Type\":\"UnsubscribeConfirmation\"}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct notice notice;
        struct error err = {0};
        if (notice_decode(&notice, slice_cstr(bodies[i]), &err) != OK)
            fail_msg("%s", err.text);
        assert_int_equal(notice.count, 0);
        notice_free(&notice);
    }
}

static void what_is_no_notice_is_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "x",
        "[]",
        "7",
        "{}",
        "{\"Records\":[7]}",
        "{\"Records\":[{}]}",
        "{\"Type\":\"Notification\"}",
        "{\"Type\":\"Notification\",\"Message\":\"hello\"}",
        "{\"data\":{\"bucket\":\"b\",\"name\":\"n\"}}",
        /* Each would be more than an address in the log. */
        "{\"Type\":\"SubscriptionConfirmation\",\"SubscribeURL\":\"https://x\\\" level=error\"}",
        "{\"Type\":\"SubscriptionConfirmation\",\"SubscribeURL\":\"https://x\\n\"}",
        "{\"Type\":\"SubscriptionConfirmation\",\"SubscribeURL\":\"javascript:alert(1)\"}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct notice notice;
        struct error err = {0};
        if (notice_decode(&notice, slice_cstr(bodies[i]), &err) != ERROR_INPUT)
            fail_msg("%s", bodies[i]);
        assert_null(notice.objects);
        assert_true(err.text[0] != 0);
    }
}

/* The harm: a stranger's notice takes memory or stack without end. */
static void wrappings_and_objects_are_bounded(void **state)
{
    (void)state;
    struct notice notice;
    struct error err;
    struct buf text = {0};
    buf_put_cstr(&text, "{\"Records\":[");
    for (int i = 0; i < 5000; i++)
        buf_put_cstr(&text, i > 0 ? "," S3_RECORD : S3_RECORD);
    buf_put_cstr(&text, "]}");
    assert_int_equal(notice_decode(&notice, buf_slice(&text), &err), OK);
    assert_int_equal(notice.count, 5000);
    notice_free(&notice);
    while (text.len <= NOTICE_BYTES_MAX)
        buf_put_u8(&text, ' ');
    assert_int_equal(notice_decode(&notice, buf_slice(&text), &err), ERROR_LIMIT);

    buf_reset(&text);
    buf_put_cstr(&text, "{\"Records\":[],\"x\":[");
    for (int i = 0; i < NOTICE_VALUES_MAX; i++)
        buf_put_cstr(&text, i % 2 == 0 ? "{}," : "0,");
    buf_put_cstr(&text, "0]}");
    assert_int_equal(notice_decode(&notice, buf_slice(&text), &err), ERROR_LIMIT);

    struct buf inner = {0};
    buf_put_cstr(&inner, "{\"Event\":\"s3:TestEvent\"}");
    for (int depth = 0; depth < 4; depth++) {
        buf_reset(&text);
        buf_put_cstr(&text, "{\"Type\":\"Notification\",\"Message\":\"");
        for (size_t i = 0; i < inner.len; i++) {
            if (inner.data[i] == '"' || inner.data[i] == '\\')
                buf_put_u8(&text, '\\');
            buf_put_u8(&text, inner.data[i]);
        }
        buf_put_cstr(&text, "\"}");
        assert_int_equal(notice_decode(&notice, buf_slice(&text), &err),
                         depth < 3 ? OK : ERROR_INPUT);
        buf_reset(&inner);
        buf_put_slice(&inner, buf_slice(&text));
    }
    buf_free(&inner);
    buf_free(&text);
}

static void a_subscription_is_shown(void **state)
{
    (void)state;
    struct notice notice;
    struct error err;
    assert_int_equal(notice_decode(&notice,
                                   slice_cstr("{\"Type\":\"SubscriptionConfirmation\","
                                              "\"SubscribeURL\":\"https://sns/x\"}"),
                                   &err),
                     OK);
    assert_string_equal(notice.confirm_url, "https://sns/x");
    notice_free(&notice);
}

/* The harm: a notice that counts for nothing, or one about another place that makes turns. */
static void a_key_leads_to_its_table(void **state)
{
    (void)state;
    static const char *const tables[] = {"db.clicks", "a.b.views"};
    static const struct {
        const char *warehouse;
        const char *bucket;
        const char *key;
        bool wanted[2];
    } cases[] = {
        {"s3://b/wh", "b", "wh/_bidlake/inbox/db.clicks/s/1.json", {true, false}},
        {"s3://b/wh/", "b", "wh/_bidlake/inbox/a.b.views/s/1.json", {false, true}},
        {"gs://b/x/wh//", "b", "x/wh/_bidlake/inbox/db.clicks/s/1.json", {true, false}},
        {"s3://b", "b", "_bidlake/inbox/db.clicks/s/1.json", {true, false}},
        {"s3://b/", "b", "_bidlake/inbox/db.clicks/s/1.json", {true, false}},
        {"s3://b/wh", "other", "wh/_bidlake/inbox/db.clicks/s/1.json", {false, false}},
        {"s3://b/wh", "bb", "wh/_bidlake/inbox/db.clicks/s/1.json", {false, false}},
        {"s3://b/wh", "b", "_bidlake/inbox/db.clicks/s/1.json", {false, false}},
        {"s3://b/wh", "b", "wh2/_bidlake/inbox/db.clicks/s/1.json", {false, false}},
        {"s3://b/wh", "b", "wh/_bidlake/inbox/db.click", {false, false}},
        {"s3://b/wh", "b", "wh/db/clicks/data/1.parquet", {false, false}},
        {"file:///wh", "", "wh/_bidlake/inbox/db.clicks/s/1.json", {false, false}},
        {"file:///wh", "", "_bidlake/inbox/db.clicks/s/1.json", {false, false}},
        {"memory:", "", "_bidlake/inbox/db.clicks/s/1.json", {false, false}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct notice notice;
        struct error err;
        struct buf body = {0};
        bool wanted[2] = {true, true};
        const struct notice_place place = {cases[i].warehouse, tables, 2};
        buf_printf(
            &body,
            "{\"Records\":[{\"eventName\":\"ObjectCreated:Put\",\"s3\":{\"bucket\":{\"name\":"
            "\"b\"},\"object\":{\"key\":\"x\"}}},{\"eventName\":\"ObjectCreated:Put\",\"s3\":{"
            "\"bucket\":{\"name\":\"%s\"},"
            "\"object\":{\"key\":\"%s\"}}}]}",
            cases[i].bucket, cases[i].key);
        assert_int_equal(notice_decode(&notice, buf_slice(&body), &err), OK);
        bool any = notice_tables(&notice, &place, wanted);
        if (wanted[0] != cases[i].wanted[0] || wanted[1] != cases[i].wanted[1])
            fail_msg("%s %s", cases[i].warehouse, cases[i].key);
        assert_int_equal(any, wanted[0] || wanted[1]);
        notice_free(&notice);
        buf_free(&body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_messenger_is_understood),
        cmocka_unit_test(what_is_about_something_else_has_no_objects),
        cmocka_unit_test(what_is_no_notice_is_refused),
        cmocka_unit_test(wrappings_and_objects_are_bounded),
        cmocka_unit_test(a_subscription_is_shown),
        cmocka_unit_test(a_key_leads_to_its_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
