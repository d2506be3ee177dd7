/* SPDX-License-Identifier: Apache-2.0
 *
 * A store in S3 that is lent credentials for a part of it.
 */
#include "tests/unit/lib_objstore_s3_support.h"

/* Counts how often it was asked. */
static int lend_keys(void *context, struct aws_credentials *out, struct error *err)
{
    int *asked = context;
    if (++*asked > 2)
        return error_set(err, ERROR_RETRY, "the catalog answers 503");
    out->access_key = memory_printf("LENT%d", *asked);
    out->secret = memory_copy_cstr("lentsecret");
    out->token = memory_copy_cstr("lenttoken");
    return OK;
}

static void assert_signed_by(struct bench *bench, size_t i, const char *key)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "Credential=%s/", key);
    if (!was_said(bench, i, wanted))
        fail_msg("request %zu is not signed by %s", i, key);
}

/* A catalog's credentials are for a table's files: with others the store would refuse, and its
 * own keys must not go out for what somebody else pays for. */
static void what_is_lent_counts_below_its_prefix(void **state)
{
    (void)state;
    struct bench bench = {
        .steps = {{"PUT /lake/wh/a/b HTTP", "200 OK", NULL, ""},
                  {"PUT /lake/wh/a/b/c HTTP", "200 OK", NULL, ""},
                  {"PUT /lake/wh/a/bc HTTP", "200 OK", NULL, ""},
                  {"GET /lake?list", "403 No", NULL, XML_ERROR("AccessDenied")},
                  {"PUT /lake/wh/a/b/c HTTP", "400 No", NULL, XML_ERROR("ExpiredToken")},
                  {"PUT /lake/wh/a/b/c HTTP", "200 OK", NULL, ""},
                  {"POST /lake?delete= HTTP", "200 OK", NULL, "<DeleteResult/>"},
                  {"DELETE /lake/wh/a/b/c HTTP", "204 OK", NULL, NULL},
                  {"DELETE /lake/wh/x HTTP", "204 OK", NULL, NULL},
                  {"PUT /lake/wh/a/b/c HTTP", "400 No", NULL, XML_ERROR("ExpiredToken")}}};
    const char *const of_one[] = {"a/b/c", "a/b/d"};
    const char *const of_two[] = {"a/b/c", "x"};
    int asked = 0;
    int never = 0;
    struct objstore_list list = {0};
    bench_open(&bench);
    struct objstore_loan wide = {.prefix = "a/", .aws = lend_keys, .context = &never};
    struct objstore_loan loan = {.prefix = "a/b/", .aws = lend_keys, .context = &asked};
    assert_true(objstore_borrows(bench.store));
    assert_int_equal(objstore_lend(bench.store, &loan, &bench.err), OK);
    assert_int_equal(
        objstore_put_bytes(bench.store, "a/b", slice_cstr("x"), PUT_ALWAYS, &bench.err), OK);
    assert_int_equal(
        objstore_put_bytes(bench.store, "a/b/c", slice_cstr("x"), PUT_ALWAYS, &bench.err), OK);
    assert_int_equal(
        objstore_put_bytes(bench.store, "a/bc", slice_cstr("x"), PUT_ALWAYS, &bench.err), OK);
    assert_int_equal(objstore_list(bench.store, "a/b/", "", 10, &list, &bench.err), ERROR_DENIED);
    assert_non_null(
        strstr(bench.err.text, "s3:ListBucket of credentials that the catalog lends in us-east-1"));
    assert_int_equal(objstore_lend(bench.store, &wide, &bench.err), OK); /* the longer one counts */
    assert_int_equal(
        objstore_put_bytes(bench.store, "a/b/c", slice_cstr("x"), PUT_ALWAYS, &bench.err), OK);
    assert_int_equal(objstore_remove_many(bench.store, of_one, 2, &bench.err), OK);
    assert_int_equal(objstore_remove_many(bench.store, of_two, 2, &bench.err), OK);
    assert_int_equal(
        objstore_put_bytes(bench.store, "a/b/c", slice_cstr("x"), PUT_ALWAYS, &bench.err),
        ERROR_RETRY);
    assert_non_null(strstr(bench.err.text, "the catalog answers 503"));
    assert_int_equal(never, 0);
    const char *const by[] = {"AKTEST", "LENT1", "AKTEST", "LENT1",  "LENT1",
                              "LENT2",  "LENT2", "LENT2",  "AKTEST", "LENT2"};
    for (size_t i = 0; i < 10; i++)
        assert_signed_by(&bench, i, by[i]);
    assert_true(was_said(&bench, 1, "x-amz-security-token: lenttoken"));
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_lent_counts_below_its_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
