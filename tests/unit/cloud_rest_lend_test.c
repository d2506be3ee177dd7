/* SPDX-License-Identifier: Apache-2.0
 *
 * What a REST catalog gives for one table: credentials for its files, and a token.
 */
#include "tests/unit/cloud_rest_support.h"

/* ---- what it lends ---- */

/* A store that takes credentials, and keeps what it was given. */
struct borrower {
    size_t count;
    struct objstore_loan loans[4];
    char prefixes[4][40];
};

static int borrow(void *impl, const struct objstore_loan *loan, struct error *err)
{
    struct borrower *borrower = impl;
    (void)err;
    assert_true(borrower->count < 4);
    snprintf(borrower->prefixes[borrower->count], 40, "%s", loan->prefix);
    borrower->loans[borrower->count++] = *loan;
    return OK;
}

static void borrower_close(void *impl)
{
    (void)impl;
}

/* What a store of another kind than S3 needs is nothing to us but names. */
static const char *const of_s3[] = {"s3.access-key-id", "s3.secret-access-key", NULL};
static const struct objstore_ops s3_like = {
    .scheme = "memory", .borrows = of_s3, .lend = borrow, .close = borrower_close};
static const char *const of_gcs[] = {"gcs.oauth2.token", NULL};
static const struct objstore_ops gcs_like = {
    .scheme = "memory", .borrows = of_gcs, .lend = borrow, .close = borrower_close};

static void bench_borrow(struct rest_bench *b, const struct objstore_ops *ops,
                         struct borrower *borrower)
{
    objstore_close(b->store);
    b->store = objstore_wrap(ops, borrower, "memory:");
    b->rest = (struct catalog_rest_options){.access_delegation = "vended-credentials"};
}

#define KEYS(prefix, key)                                                                          \
    "{\"prefix\":\"memory:/" prefix "\",\"config\":{\"s3.access-key-id\":\"" key                   \
    "\",\"s3.secret-access-key\":\"secret-" key "\",\"s3.session-token\":\"token-" key             \
    "\",\"s3.session-token-expires-at-ms\":\"1790000600000\"}}"

static void assert_lends(struct rest_bench *b, const struct objstore_loan *loan, const char *key)
{
    struct objstore_lent got = {0};
    if (loan->take(loan->context, &got, &b->err) != OK)
        fail_msg("%s", b->err.text);
    const char *secret = objstore_lent_find(&got, "s3.secret-access-key");
    const char *token = objstore_lent_find(&got, "s3.session-token");
    assert_string_equal(objstore_lent_find(&got, "s3.access-key-id"), key);
    assert_true(strncmp(secret, "secret-", 7) == 0 && strcmp(secret + 7, key) == 0);
    assert_true(strncmp(token, "token-", 6) == 0 && strcmp(token + 6, key) == 0);
    assert_int_equal(got.expires_ms, INT64_C(1790000600000));
    objstore_lent_free(&got);
}

/* The store has them from a table's first load on: for its place, and for each within it that
 * has its own. It asks again only for others, and that load needs no store. */
static void a_store_is_lent_what_a_load_brings(void **state)
{
    struct rest_bench *b = *state;
    struct borrower borrower = {0};
    char *body = table_answer(",\"storage-credentials\":[" KEYS("", "wide") "," KEYS(
        "db/t/data/", "data") "," KEYS("db/other/", "other") "]");
    bench_borrow(b, &s3_like, &borrower);
    answer(b, 200, CONFIG);
    answer(b, 200, body);
    answer(b, 200, body);
    answer(b, 200,
           "{\"metadata-location\":\"memory:/db/t/metadata/1.json\","
           "\"storage-credentials\":[" KEYS("db/t/", "next") "]}");
    bench_open_well(b);
    load_well(b);
    load_well(b);
    assert_int_equal(borrower.count, 2);
    assert_string_equal(borrower.prefixes[0], "db/t/");
    assert_string_equal(borrower.prefixes[1], "db/t/data/");
    assert_lends(b, &borrower.loans[0], "wide");
    assert_lends(b, &borrower.loans[1], "data");
    assert_int_equal(b->server.heard_count, 3);
    assert_lends(b, &borrower.loans[0], "next");
    assert_heard(b, 3, "GET /cat/v1/p%7Cq/namespaces/db/tables/t?snapshots=refs HTTP");
    assert_heard(b, 3, "X-Iceberg-Access-Delegation: vended-credentials");
    free(body);
}

/* An entry for a part of the table that tells a region alone must not refuse the load: what is lent
 * for the whole counts there too. */
static void an_entry_without_a_secret_is_passed_over(void **state)
{
    struct rest_bench *b = *state;
    struct borrower borrower = {0};
    char *body = table_answer(",\"storage-credentials\":[" KEYS(
        "db/t/", "wide") ",{\"prefix\":\"memory:/db/t/data/\","
                         "\"config\":{\"client.region\":\"eu-west-1\"}}]");
    bench_borrow(b, &s3_like, &borrower);
    answer(b, 200, CONFIG);
    answer(b, 200, body);
    bench_open_well(b);
    load_well(b);
    assert_int_equal(borrower.count, 1);
    assert_string_equal(borrower.prefixes[0], "db/t/");
    assert_lends(b, &borrower.loans[0], "wide");
    free(body);
}

/* Less than five minutes are left: others are asked for, where the server says that it can be. */
static void asks_before_an_end(void **state)
{
    struct rest_bench *b = *state;
    struct borrower borrower = {0};
    char *body = table_answer(",\"storage-credentials\":[" KEYS("db/t/", "first") "]");
    bench_borrow(b, &s3_like, &borrower);
    answer(b, 200,
           "{\"overrides\":{},\"endpoints\":[\"GET /v1/{prefix}/namespaces/{namespace}/"
           "tables/{table}\",\"GET /v1/{prefix}/namespaces/{namespace}/"
           "tables/{table}/credentials\"]}");
    answer(b, 200, body);
    answer(b, 200, "{\"storage-credentials\":[" KEYS("db/t/", "second") "]}");
    bench_open_well(b);
    load_well(b);
    b->wall_ms += 301000;
    assert_lends(b, &borrower.loans[0], "second");
    assert_heard(b, 2, "GET /cat/v1/namespaces/db/tables/t/credentials HTTP");
    free(body);
}

static void asks_by_a_load(void **state)
{
    struct rest_bench *b = *state;
    struct borrower borrower = {0};
    char *body = table_answer(",\"storage-credentials\":[" KEYS("db/t/", "first") "]");
    char *next = table_answer(",\"storage-credentials\":[" KEYS("db/t/", "second") "]");
    bench_borrow(b, &s3_like, &borrower);
    answer(b, 200, CONFIG);
    answer_with(b, 200, "ETag: e1\r\n", body);
    answer(b, 200, next);
    bench_open_well(b);
    load_well(b);
    b->wall_ms += 301000;
    assert_lends(b, &borrower.loans[0], "second");
    assert_not_heard(b, 2, "If-None-Match"); /* a 304 would lend nothing */
    free(body);
    free(next);
}

/* A person has to know what to change; requests by other credentials would be refused later. */
static void a_catalog_that_lends_nothing_says_so(void **state)
{
    struct rest_bench *b = *state;
    struct borrower borrower = {0};
    char *nothing = table_answer(",\"config\":{\"client.region\":\"x\"}");
    char *remote = table_answer(",\"config\":{\"s3.remote-signing-enabled\":\"true\"}");
    bench_borrow(b, &s3_like, &borrower);
    answer(b, 200, CONFIG);
    answer(b, 200, nothing);
    answer(b, 200, remote);
    bench_open_well(b);
    assert_int_equal(load_code(b), ERROR_DENIED);
    assert_string_equal(b->err.text,
                        "load db.t: the catalog lends nothing for memory:/db/t/, and this store "
                        "takes s3.access-key-id and s3.secret-access-key: let it vend that to this "
                        "principal, or take catalog.access_delegation out and give the service "
                        "rights of its own");
    assert_int_equal(load_code(b), ERROR_DENIED);
    assert_non_null(strstr(b->err.text, "s3.remote-signing-enabled), which isn't supported; let"));
    assert_int_equal(borrower.count, 0);
    free(nothing);
    free(remote);
}

/* As BigLake's and Azure's catalogs lend, to a store that is another one: the load says so, not a
 * request much later. */
static void what_is_for_another_store_is_refused(void **state)
{
    struct rest_bench *b = *state;
    struct borrower borrower = {0};
    char *wide = table_answer(",\"config\":{\"gcs.oauth2.token\":\"hush\"}");
    char *within = table_answer(",\"storage-credentials\":[" KEYS(
        "db/t/",
        "wide") ",{\"prefix\":\"memory:/db/t/data/\","
                "\"config\":{\"adls.sas-token.\\nhush\":\"hush\",\"s3.access-key-id\":\"x\"}}]");
    bench_borrow(b, &s3_like, &borrower);
    answer(b, 200, CONFIG);
    answer(b, 200, wide);
    answer(b, 200, within);
    bench_open_well(b);
    assert_int_equal(load_code(b), ERROR_DENIED);
    assert_string_equal(b->err.text,
                        "load db.t: the catalog lends only gcs.oauth2.token for memory:/db/t/, and "
                        "this store takes s3.access-key-id and s3.secret-access-key: let it vend "
                        "that to this principal, or take catalog.access_delegation out and give "
                        "the service rights of its own");
    assert_int_equal(borrower.count, 0);
    assert_int_equal(load_code(b), ERROR_DENIED);
    assert_non_null(strstr(b->err.text, "only adls.sas-token for memory:/db/t/data/, and this"));
    assert_null(strstr(b->err.text, "hush"));
    free(wide);
    free(within);
}

/* A token and its end, as Google's catalog gives them; at a renewal, too, what comes has to be for
 * the store. */
static void each_store_takes_its_own(void **state)
{
    struct rest_bench *b = *state;
    struct borrower borrower = {0};
    struct objstore_lent got = {0};
    char *first = table_answer(",\"config\":{\"gcs.oauth2.token\":\"ya29.a\","
                               "\"gcs.oauth2.token_expires_at\":\"1790000600000\"}");
    char *next = table_answer(",\"storage-credentials\":[" KEYS("db/t/", "s3") "]");
    bench_borrow(b, &gcs_like, &borrower);
    answer(b, 200, CONFIG);
    answer(b, 200, first);
    answer(b, 200, next);
    bench_open_well(b);
    load_well(b);
    assert_int_equal(borrower.count, 1);
    struct objstore_loan *loan = &borrower.loans[0];
    assert_int_equal(loan->take(loan->context, &got, &b->err), OK);
    assert_string_equal(objstore_lent_find(&got, "gcs.oauth2.token"), "ya29.a");
    assert_int_equal(got.expires_ms, INT64_C(1790000600000));
    objstore_lent_free(&got);
    assert_int_equal(loan->take(loan->context, &got, &b->err), ERROR_DENIED);
    assert_non_null(strstr(b->err.text, "the catalog lends only s3.secret-access-key for "
                                        "memory:/db/t/, and this store takes gcs.oauth2.token:"));
    objstore_lent_free(&got);
    free(first);
    free(next);
}

/* A server that tells its clients to ask for credentials, and gives us none, is not to stop who
 * has rights of its own. */
static void only_the_user_wants_to_borrow(void **state)
{
    struct rest_bench *b = *state;
    struct borrower borrower = {0};
    char *body = table_answer("");
    bench_borrow(b, &s3_like, &borrower);
    b->rest = (struct catalog_rest_options){0};
    answer(b, 200,
           "{\"overrides\":{\"header.X-Iceberg-Access-Delegation\":\"vended-credentials\"}}");
    answer(b, 200, body);
    bench_open_well(b);
    load_well(b);
    assert_int_equal(borrower.count, 0);
    free(body);
}

/* ---- a token for one table ---- */

/* It counts for that table alone; refused it goes, and the catalog's own brings the next one. */
static void a_table_may_have_its_own_token(void **state)
{
    struct rest_bench *b = *state;
    char *first = table_answer(",\"config\":{\"token\":\"for-t\"}");
    char *second = table_answer(",\"config\":{\"token\":\"for-t-again\"}");
    struct catalog_table table = {0};
    bool found;
    b->rest = (struct catalog_rest_options){.token = "mine"};
    answer(b, 200, CONFIG);
    answer_with(b, 200, "ETag: e1\r\n", first);
    answer(b, 404, NOTHING);
    answer(b, 401, ERROR_BODY("NotAuthorizedException", "for-t is too old"));
    answer_with(b, 200, "ETag: e2\r\n", second);
    answer(b, 409, "");
    bench_open_well(b);
    load_well(b);
    assert_int_equal(catalog_load_table(b->catalog, "db", "u", &table, &found, &b->err), OK);
    load_well(b);
    assert_int_equal(commit(b), ERROR_CONFLICT);
    assert_heard(b, 1, "Authorization: Bearer mine\r\n");
    assert_heard(b, 2, "Authorization: Bearer mine\r\n");
    assert_heard(b, 3, "Authorization: Bearer for-t\r\n");
    assert_heard(b, 3, "If-None-Match: e1");
    assert_heard(b, 4, "Authorization: Bearer mine\r\n");
    assert_not_heard(b, 4, "If-None-Match"); /* a 304 would bring no token */
    assert_heard(b, 5, "POST ");
    assert_heard(b, 5, "Authorization: Bearer for-t-again\r\n");
    free(first);
    free(second);
}

/* The harm: what nobody asked about counts for the table as it is now. */
static void a_304_to_no_question_is_none(void **state)
{
    struct rest_bench *b = *state;
    char *body = table_answer(",\"config\":{\"token\":\"for-t\"}");
    struct catalog_table table = {0};
    bool found = false;
    b->rest = (struct catalog_rest_options){.token = "mine"};
    answer(b, 200, CONFIG);
    answer_with(b, 200, "ETag: e1\r\n", body);
    answer(b, 401, "");
    answer(b, 304, "");
    bench_open_well(b);
    load_well(b);
    assert_int_equal(catalog_load_table(b->catalog, "db", "t", &table, &found, &b->err),
                     ERROR_INPUT);
    assert_heard(b, 2, "If-None-Match: e1");
    assert_not_heard(b, 3, "If-None-Match");
    free(body);
}

static void a_table_s_token_has_to_be_one(void **state)
{
    struct rest_bench *b = *state;
    char *body = table_answer(",\"config\":{\"token\":\"a\\r\\nb\"}");
    answer(b, 200, CONFIG);
    answer(b, 200, body);
    bench_open_well(b);
    assert_int_equal(load_code(b), ERROR_CORRUPT);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE(a_store_is_lent_what_a_load_brings),
        WIRE(an_entry_without_a_secret_is_passed_over),
        WIRE(asks_before_an_end),
        WIRE(asks_by_a_load),
        WIRE(a_catalog_that_lends_nothing_says_so),
        WIRE(what_is_for_another_store_is_refused),
        WIRE(each_store_takes_its_own),
        WIRE(only_the_user_wants_to_borrow),
        WIRE(a_table_may_have_its_own_token),
        WIRE(a_304_to_no_question_is_none),
        WIRE(a_table_s_token_has_to_be_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
