/* SPDX-License-Identifier: Apache-2.0
 *
 * Who asks a REST catalog: tokens given, fetched and exchanged.
 */
#include "tests/unit/cloud_rest_support.h"

/* ---- sign-in ---- */

static void signs_in(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.credential = "me:s3cr&t", .audience = "a b"};
    answer(b, 200, TOKEN("t1", "100"));
    answer(b, 200, CONFIG);
    answer(b, 404, NOTHING);
    answer(b, 200, TOKEN("t2", "100")); /* ten seconds ahead */
    answer(b, 404, NOTHING);
    bench_open_well(b);
    b->mono_ms += 89000;
    load_none(b);
    b->mono_ms += 2000;
    load_none(b);
    assert_heard(b, 0, "POST /cat/v1/oauth/tokens HTTP");
    assert_heard(b, 0,
                 "grant_type=client_credentials&client_id=me&client_secret=s3cr%26t"
                 "&scope=catalog&audience=a%20b");
    assert_not_heard(b, 0, "Authorization");
    assert_heard(b, 1, "Authorization: Bearer t1\r\n");
    assert_heard(b, 2, "Authorization: Bearer t1\r\n");
    assert_heard(b, 4, "Authorization: Bearer t2\r\n");
}

/* Services that keep to the letter of the standard want the credential in the header. */
static void signs_in_by_basic(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.credential = "me:s3cr&t", .scope = "PRINCIPAL:ALL"};
    answer(b, 401, "{\"error\":\"invalid_client\"}");
    answer(b, 200, TOKEN("t1", "100"));
    answer(b, 200, CONFIG);
    answer(b, 200, TOKEN("t2", "100"));
    answer(b, 404, NOTHING);
    bench_open_well(b);
    b->mono_ms += 95000;
    load_none(b);
    assert_heard(b, 1, "Authorization: Basic bWU6czNjciUyNnQ=\r\n");
    assert_heard(b, 1, "\r\n\r\ngrant_type=client_credentials&scope=PRINCIPAL%3AALL");
    assert_heard(b, 3, "Authorization: Basic bWU6czNjciUyNnQ=\r\n"); /* at once */
}

static void sign_in_refused(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.credential = "me:s3cret"};
    answer(b, 401, "{\"error\":\"invalid_client\",\"error_description\":\"s3cret is wrong\"}");
    answer(b, 401, "{\"error\":\"invalid_client\",\"error_description\":\"s3cret is wrong\"}");
    assert_int_equal(bench_open(b), ERROR_DENIED);
    assert_non_null(strstr(b->err.text, "invalid_client"));
    assert_null(strstr(b->err.text, "s3cret"));
}

static void sign_in_is_down(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.credential = "s3cret"};
    answer_with(b, 503, "Retry-After: 3\r\n", "");
    assert_int_equal(bench_open(b), ERROR_RETRY);
    assert_int_equal(b->err.retry_after_ms, 3000);
    assert_heard(b, 0, "grant_type=client_credentials&client_secret=s3cret&scope=catalog");
}

/* A token service that is down for a minute must not stop commits whose token is still good. */
static void old_token_goes_on(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.credential = "me:s"};
    answer(b, 200, TOKEN("t1", "1000"));
    answer(b, 200, CONFIG);
    answer(b, 500, ""); /* a renewal */
    answer(b, 404, NOTHING);
    answer(b, 404, NOTHING); /* no renewal yet */
    answer(b, 500, "");      /* it has expired */
    bench_open_well(b);
    b->mono_ms += 950000;
    load_none(b);
    load_none(b);
    b->mono_ms += 60000;
    assert_int_equal(load_code(b), ERROR_RETRY);
    assert_heard(b, 3, "Bearer t1");
}

/* The answer that was given last never comes: the client waits for it this long. */
static void never_comes(struct rest_bench *b, int64_t waited_ms)
{
    answer(b, 0, "");
    b->server.took_ms[b->server.count - 1] = waited_ms;
}

/* The harm: each request waits out a service that takes connections and says nothing. */
static void a_silent_service_is_left_alone(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.credential = "me:s"};
    answer(b, 200, TOKEN("t1", "1000"));
    answer(b, 200, CONFIG);
    never_comes(b, 60000);
    answer(b, 404, NOTHING);
    answer(b, 404, NOTHING); /* no renewal yet */
    never_comes(b, 60000);   /* the token ends meanwhile */
    answer(b, 404, NOTHING);
    bench_open_well(b);
    b->mono_ms += 901000;
    load_none(b);
    load_none(b);
    b->mono_ms += 31000;
    assert_int_equal(load_code(b), ERROR_RETRY);
    assert_heard(b, 3, "Bearer t1");
    assert_heard(b, 4, "Bearer t1");
    assert_heard(b, 5, "grant_type=");
    assert_int_equal(b->server.heard_count, 6);
}

/* The request is known to have done nothing: it goes out again, as the same one. */
static void refused_token_is_renewed(void **state)
{
    struct rest_bench *b = *state;
    char *body = table_answer("");
    b->rest = (struct catalog_rest_options){.credential = "me:s"};
    answer(b, 200, TOKEN("t1", "1000"));
    answer(b, 200, "{\"overrides\":{},\"idempotency-key-lifetime\":\"PT1H\"}");
    answer(b, 419, "");
    answer(b, 200, TOKEN("t2", "1000"));
    answer(b, 200, body);
    answer(b, 401, ERROR_BODY("NotAuthorizedException", "no"));
    answer(b, 200, TOKEN("t3", "1000"));
    answer(b, 401, ERROR_BODY("NotAuthorizedException", "no"));
    bench_open_well(b);
    assert_int_equal(commit(b), OK);
    assert_int_equal(commit(b), ERROR_DENIED);
    const char *key = strstr(buf_cstr(&b->server.heard[2]), "Idempotency-Key: ");
    char first[64];
    memcpy(first, key, 53);
    first[53] = 0;
    assert_heard(b, 4, first);
    assert_heard(b, 4, "Bearer t2");
    assert_int_equal(b->server.heard_count, 8);
    free(body);
}

/* Who mounts a token that somebody else renews must not have to restart us. */
static void token_file_is_read_again(void **state)
{
    struct rest_bench *b = *state;
    bench_write(b, " t1 \n");
    b->rest = (struct catalog_rest_options){.token_file = b->file};
    answer(b, 200, CONFIG);
    answer(b, 401, "");
    answer(b, 404, NOTHING);
    answer(b, 401, ""); /* the same token: no second try */
    bench_open_well(b);
    bench_write(b, "~t2"); /* nothing that mkstemp may make */
    load_none(b);
    assert_int_equal(load_code(b), ERROR_DENIED);
    assert_null(strstr(b->err.text, "~t2"));
    assert_heard(b, 0, "Authorization: Bearer t1\r\n");
    assert_heard(b, 2, "Authorization: Bearer ~t2\r\n");
    assert_int_equal(b->server.heard_count, 4);
}

/* The same of a credential; one that is being written just now leaves the old one. */
static void credential_file_is_read_again(void **state)
{
    struct rest_bench *b = *state;
    bench_write(b, "me:first");
    b->rest = (struct catalog_rest_options){.credential_file = b->file};
    answer(b, 200, TOKEN("t1", "100"));
    answer(b, 200, CONFIG);
    answer(b, 200, TOKEN("t2", "100"));
    answer(b, 404, NOTHING);
    answer(b, 401, "{\"error\":\"invalid_client\"}");
    answer(b, 200, TOKEN("t3", "100")); /* by Basic */
    answer(b, 404, NOTHING);
    answer(b, 200, TOKEN("t4", "100")); /* a secret alone can't go so */
    answer(b, 404, NOTHING);
    bench_open_well(b);
    bench_write(b, "");
    b->mono_ms += 101000;
    load_none(b);
    bench_write(b, "me:second");
    b->mono_ms += 101000;
    load_none(b);
    bench_write(b, "alone");
    b->mono_ms += 101000;
    load_none(b);
    assert_heard(b, 2, "client_secret=first");
    assert_heard(b, 4, "client_secret=second");
    assert_heard(b, 7, "client_secret=alone");
}

/* ---- a token exchanged for another ---- */

/* Who is given a token of an hour, and nothing to get others with, would stop after it. */
static void a_given_token_is_exchanged(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.token = "t1", .audience = "a b"};
    answer(b, 200, CONFIG);
    answer(b, 404, NOTHING);
    answer(b, 200, TOKEN("t2", "100"));
    answer(b, 404, NOTHING);
    answer(b, 200,
           "{\"access_token\":\"t3\",\"token_type\":\"N_A\",\"expires_in\":100,"
           "\"issued_token_type\":\"urn:ietf:params:oauth:token-type:jwt\"}");
    answer(b, 404, NOTHING);
    answer(b, 200, TOKEN("t4", "100"));
    answer(b, 404, NOTHING);
    bench_open_well(b);
    b->mono_ms += 3299000; /* five minutes before an hour is over */
    load_none(b);
    b->mono_ms += 2000;
    load_none(b);
    b->mono_ms += 91000;
    load_none(b);
    b->mono_ms += 91000;
    load_none(b);
    assert_heard(b, 1, "Bearer t1\r\n");
    assert_heard(b, 2, "POST /cat/v1/oauth/tokens HTTP");
    assert_heard(b, 2, "Authorization: Bearer t1\r\n");
    assert_heard(b, 2,
                 "\r\n\r\ngrant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange"
                 "&subject_token=t1"
                 "&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"
                 "&scope=catalog&audience=a%20b");
    assert_heard(b, 3, "Bearer t2\r\n");
    assert_heard(b, 4, "Authorization: Bearer t2\r\n");
    assert_heard(b, 4, "&subject_token=t2&");
    assert_heard(b, 5, "Bearer t3\r\n");
    assert_heard(b, 6, "&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&");
    assert_heard(b, 7, "Bearer t4\r\n");
}

#define JWT "e30.eyJleHAiOjE3OTAwMDA2MDB9.x" /* {"exp":1790000600}: ten minutes from our now */

/* What a token says of its own end counts. */
static void a_jwt_is_exchanged_before_it_ends(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.token = JWT};
    answer(b, 200, CONFIG);
    answer(b, 404, NOTHING);
    answer(b, 503, "");
    answer(b, 404, NOTHING); /* it is still good */
    answer(b, 200, TOKEN("t2", "100"));
    answer(b, 404, NOTHING);
    bench_open_well(b);
    b->mono_ms += 539000;
    load_none(b);
    b->mono_ms += 2000;
    load_none(b);
    b->mono_ms += 30000;
    load_none(b);
    assert_heard(b, 1, "Bearer " JWT "\r\n");
    assert_heard(b, 2, "subject_token=" JWT "&");
    assert_heard(b, 3, "Bearer " JWT "\r\n");
    assert_heard(b, 5, "Bearer t2\r\n");
}

static void a_silent_exchange_is_left_alone(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.token = "t1"};
    answer(b, 200, CONFIG);
    never_comes(b, 600000);
    answer(b, 404, NOTHING);
    answer(b, 404, NOTHING);
    answer(b, 200, TOKEN("t2", "100"));
    answer(b, 404, NOTHING);
    bench_open_well(b);
    b->mono_ms += 3301000;
    load_none(b);
    load_none(b);
    b->mono_ms += 301000;
    load_none(b);
    assert_heard(b, 3, "Bearer t1\r\n");
    assert_heard(b, 4, "subject_token=t1&");
    assert_heard(b, 5, "Bearer t2\r\n");
}

static int reopen(struct rest_bench *b)
{
    struct catalog_options options = {.store = b->store, .clock = &b->clock, .rest = &b->rest};
    char *spec = memory_printf("rest:%s/", b->server.url);
    catalog_close(b->catalog);
    b->catalog = NULL;
    int rc = catalog_open(&b->catalog, spec, &options, &b->err);
    free(spec);
    return rc;
}

static void reopen_well(struct rest_bench *b)
{
    if (reopen(b) != OK)
        fail_msg("%s", b->err.text);
}

/* The harm: a store that is away for a moment costs the only token that is good. */
static void what_was_exchanged_outlives_a_handle(void **state)
{
    struct rest_bench *b = *state;
    struct catalog_exchanged kept = {0};
    bench_write(b, JWT);
    b->rest = (struct catalog_rest_options){.token_file = b->file, .exchanged = &kept};
    answer(b, 200, CONFIG);
    answer(b, 200,
           "{\"access_token\":\"t2\",\"token_type\":\"N_A\",\"expires_in\":1000,"
           "\"issued_token_type\":\"urn:ietf:params:oauth:token-type:jwt\"}");
    answer(b, 404, NOTHING);
    answer(b, 200, CONFIG);                /* opened anew */
    answer(b, 200, TOKEN("t3", "100000")); /* before it is opened a third time */
    answer(b, 200, CONFIG);
    answer(b, 200, CONFIG); /* with another file */
    answer(b, 200, CONFIG); /* and with the first one again */
    bench_open_well(b);
    b->mono_ms += 545000;
    b->wall_ms += 545000;
    load_none(b);
    b->mono_ms += 800000;
    b->wall_ms += 800000;
    reopen_well(b);
    b->mono_ms += 150000;
    b->wall_ms += 150000;
    reopen_well(b);
    bench_write(b, "t4");
    reopen_well(b);
    bench_write(b, JWT);
    reopen_well(b);
    assert_heard(b, 3, "Bearer t2\r\n");
    assert_heard(b, 4, "subject_token=t2&");
    assert_heard(b, 4, "token-type%3Ajwt&");
    assert_heard(b, 5, "Bearer t3\r\n");
    assert_heard(b, 6, "Bearer t4\r\n");
    assert_heard(b, 7, "Bearer " JWT "\r\n");
    catalog_close(b->catalog);
    b->catalog = NULL;
    catalog_exchanged_free(&kept);
}

/* The same when it is refused at the start, and where a first try to open fails. */
static void what_was_kept_may_be_refused(void **state)
{
    struct rest_bench *b = *state;
    struct catalog_exchanged kept = {0};
    b->rest = (struct catalog_rest_options){.token = "t1", .exchanged = &kept};
    answer(b, 200, CONFIG);
    answer(b, 200, TOKEN("t2", "1000"));
    answer(b, 404, NOTHING);
    answer(b, 503, ""); /* opened anew */
    answer(b, 401, "");
    answer(b, 200, CONFIG);
    bench_open_well(b);
    b->mono_ms += 3301000;
    load_none(b);
    assert_int_equal(reopen(b), ERROR_RETRY);
    reopen_well(b);
    assert_heard(b, 3, "Bearer t2\r\n");
    assert_heard(b, 4, "Bearer t2\r\n");
    assert_heard(b, 5, "Bearer t1\r\n");
    catalog_close(b->catalog);
    b->catalog = NULL;
    assert_null(kept.bearer);
}

/* A service that exchanges none is left in peace; the token does until it is refused, and then it
 * is said why there is no other. */
static void a_token_that_nobody_exchanges(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.token = "t1"};
    answer(b, 200, CONFIG);
    answer(b, 400, "{\"error\":\"unsupported_grant_type\",\"error_description\":\"t1\"}");
    answer(b, 404, NOTHING);
    answer(b, 404, NOTHING);
    answer(b, 401, "");
    bench_open_well(b);
    b->mono_ms += 3500000;
    load_none(b);
    b->mono_ms += 35000000;
    load_none(b);
    assert_int_equal(commit(b), ERROR_DENIED);
    assert_non_null(strstr(b->err.text, "it does not take the given token (not renewed: http://"));
    assert_non_null(strstr(b->err.text, "/v1/oauth/tokens answers 400 unsupported_grant_type): "
                                        "check catalog.token_file"));
    assert_heard(b, 3, "Bearer t1\r\n");
    assert_int_equal(b->server.heard_count, 5);
}

/* A service that is down when the token ends gets no token that has ended. */
static void a_token_that_ended_is_not_exchanged(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.token = JWT};
    answer(b, 200, CONFIG);
    answer_with(b, 503, "Retry-After: 50\r\n", "");
    answer(b, 404, NOTHING);
    answer(b, 404, NOTHING);
    answer(b, 401, "");
    bench_open_well(b);
    b->mono_ms += 545000;
    load_none(b);
    b->mono_ms += 49000; /* as it asked for */
    load_none(b);
    b->mono_ms += 7000;
    assert_int_equal(commit(b), ERROR_DENIED);
    assert_non_null(strstr(b->err.text, "/v1/oauth/tokens answers 503): check catalog.token_file"));
    assert_int_equal(b->server.heard_count, 5);
}

/* The harm: a token that is good for years is given up for one that a server forgot. */
static void the_given_token_comes_back(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.token = "t1"};
    answer(b, 200, CONFIG);
    answer(b, 200, TOKEN("t2", "100"));
    answer(b, 401, "");
    answer(b, 404, NOTHING);
    answer(b, 404, NOTHING);
    answer(b, 401, "");
    bench_open_well(b);
    b->mono_ms += 3500000;
    load_none(b);
    b->mono_ms += 35000000;
    load_none(b);
    assert_int_equal(commit(b), ERROR_DENIED);
    assert_heard(b, 2, "Bearer t2\r\n");
    assert_heard(b, 3, "Bearer t1\r\n");
    assert_heard(b, 4, "Bearer t1\r\n");
    assert_int_equal(b->server.heard_count, 6);
}

/* Server and user each may forbid it; what somebody put into the file comes first. */
static void exchange_is_off(void **state)
{
    static const struct {
        const char *config;
        const char *ours;
        bool asked;
    } cases[] = {
        {"{\"defaults\":{\"token-exchange-enabled\":\"false\"}}", NULL, false},
        {"{\"defaults\":{\"token-exchange-enabled\":\"false\"}}", "auto", false},
        {"{\"defaults\":{\"token-exchange-enabled\":\"false\"}}", "yes", true},
        {"{\"overrides\":{\"token-exchange-enabled\":\"False\"}}", "yes", false},
        {"{\"overrides\":{\"token-refresh-enabled\":\"false\"}}", "yes", false},
        {"{\"defaults\":{\"token-exchange-enabled\":\"true\"}}", "no", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *made = NULL;
        assert_int_equal(bench_setup(&made), 0);
        struct rest_bench *b = made;
        b->rest = (struct catalog_rest_options){.token = "t1", .token_exchange = cases[i].ours};
        answer(b, 200, cases[i].config);
        if (cases[i].asked)
            answer(b, 200, TOKEN("t2", "100"));
        answer(b, 404, NOTHING);
        bench_open_well(b);
        b->mono_ms += 3500000;
        load_none(b);
        assert_heard(b, cases[i].asked ? 2 : 1, cases[i].asked ? "Bearer t2" : "Bearer t1");
        assert_int_equal(bench_teardown(&made), 0);
    }
    (void)state;
}

static void a_new_token_in_the_file_comes_first(void **state)
{
    struct rest_bench *b = *state;
    bench_write(b, "t1");
    b->rest = (struct catalog_rest_options){.token_file = b->file};
    answer(b, 200, CONFIG);
    answer(b, 404, NOTHING);
    bench_open_well(b);
    bench_write(b, "t2");
    b->mono_ms += 3500000;
    load_none(b);
    assert_heard(b, 1, "Bearer t2");
}

/* Servers repeat what they were sent, and messages go to a log. */
static void a_token_that_comes_back_is_not_shown(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.token = "s3cret-t0ken"};
    answer(b, 200, CONFIG);
    answer(b, 401, ERROR_BODY("NotAuthorizedException", "s3cret-t0ken is unknown: s3cret-t0ken"));
    answer(b, 200, "{\"metadata-location\":\"x\",\"config\":{\"s3.secret-access-key\":\"k3y");
    bench_open_well(b);
    assert_int_equal(commit(b), ERROR_DENIED);
    assert_null(strstr(b->err.text, "s3cret"));
    assert_non_null(strstr(b->err.text, "NotAuthorizedException: ************ is unknown"));
    assert_int_equal(load_code(b), ERROR_CORRUPT);
    assert_null(strstr(b->err.text, "k3y"));
    assert_non_null(strstr(b->err.text, "line 1, column"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE(signs_in),
        WIRE(signs_in_by_basic),
        WIRE(sign_in_refused),
        WIRE(sign_in_is_down),
        WIRE(old_token_goes_on),
        WIRE(a_silent_service_is_left_alone),
        WIRE(refused_token_is_renewed),
        WIRE(token_file_is_read_again),
        WIRE(credential_file_is_read_again),
        WIRE(a_given_token_is_exchanged),
        WIRE(a_jwt_is_exchanged_before_it_ends),
        WIRE(a_silent_exchange_is_left_alone),
        WIRE(what_was_exchanged_outlives_a_handle),
        WIRE(what_was_kept_may_be_refused),
        WIRE(a_token_that_nobody_exchanges),
        WIRE(a_token_that_ended_is_not_exchanged),
        WIRE(the_given_token_comes_back),
        cmocka_unit_test(exchange_is_off),
        WIRE(a_new_token_in_the_file_comes_first),
        WIRE(a_token_that_comes_back_is_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
