/* SPDX-License-Identifier: Apache-2.0
 *
 * A store in S3 that is lent credentials for a part of it.
 */
#include "tests/unit/lib_objstore_s3_support.h"

/* Counts how often it was asked. */
static int lend_keys(void *context, struct objstore_lent *out, struct error *err)
{
    int *asked = context;
    char key[8];
    if (++*asked > 2)
        return error_set(err, ERROR_RETRY, "the catalog answers 503");
    snprintf(key, sizeof key, "LENT%d", *asked);
    objstore_lent_add(out, "client.region", "elsewhere"); /* the user's own counts */
    objstore_lent_add(out, "s3.access-key-id", key);
    objstore_lent_add(out, "s3.secret-access-key", "lentsecret");
    objstore_lent_add(out, "s3.session-token", "lenttoken");
    return OK;
}

/* What is for another store, and a key without its secret. */
static int lend_others(void *context, struct objstore_lent *out, struct error *err)
{
    (void)err;
    objstore_lent_add(out, "gcs.oauth2.token", "hush");
    if (context != NULL)
        objstore_lent_add(out, "s3.access-key-id", "LENT1");
    objstore_lent_add(out, "s3.secret-access-key", "");
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
    struct objstore_loan wide = {.prefix = "a/", .take = lend_keys, .context = &never};
    struct objstore_loan loan = {.prefix = "a/b/", .take = lend_keys, .context = &asked};
    assert_non_null(objstore_borrows(bench.store));
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

/* The harm: the store's own keys go out for what a catalog lends nothing usable for. */
static void what_is_not_for_s3_is_refused(void **state)
{
    (void)state;
    struct bench bench = {.steps = {{NULL, NULL, NULL, NULL}}};
    struct objstore_loan other = {.prefix = "a/", .take = lend_others};
    struct objstore_loan half = {.prefix = "b/", .take = lend_others, .context = &half};
    const char *const keys[] = {"a/x", "b/x"};
    bench_open(&bench);
    assert_int_equal(objstore_lend(bench.store, &other, &bench.err), OK);
    assert_int_equal(objstore_lend(bench.store, &half, &bench.err), OK);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(
            objstore_put_bytes(bench.store, keys[i], slice_cstr("x"), PUT_ALWAYS, &bench.err),
            ERROR_DENIED);
        assert_non_null(
            strstr(bench.err.text, "no s3.access-key-id with a s3.secret-access-key is lent"));
        assert_null(strstr(bench.err.text, "hush"));
    }
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_lent_counts_below_its_prefix),
        cmocka_unit_test(what_is_not_for_s3_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
