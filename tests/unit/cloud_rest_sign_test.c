/* SPDX-License-Identifier: Apache-2.0
 *
 * Who asks a REST catalog: AWS's signature.
 */
#include "tests/unit/cloud_rest_support.h"

/* What aws_sign makes of the parts as they stand on the wire. */
static void assert_signed(struct rest_bench *b, size_t i, const char *method, const char *path,
                          const char *query, const char *body)
{
    struct aws_credentials keys = {.access_key = (char *)(uintptr_t) "AKIDEXAMPLE",
                                   .secret = (char *)(uintptr_t) "s3cret"};
    static const char *const fields[] = {"Accept: application/json",
                                         "Content-Type: application/json"};
    uint8_t digest[SHA256_SIZE];
    char hash[2 * SHA256_SIZE + 1];
    struct aws_signed expected = {0};
    sha256(slice_cstr(body), digest);
    hex_encode(slice_of(digest, sizeof digest), hash);
    struct aws_request request = {.method = method,
                                  .host = b->server.url + strlen("http://"),
                                  .path = path,
                                  .query = query,
                                  .fields = fields,
                                  .field_count = *body != 0 ? 2 : 1,
                                  .payload_hash = hash,
                                  .service = "glue",
                                  .region = "eu-west-1",
                                  .now_ms = b->wall_ms,
                                  .send_payload_hash = true,
                                  .credentials = &keys};
    char *host = memory_copy_slice(slice_of(request.host, strcspn(request.host, "/")));
    request.host = host;
    aws_sign(&expected, &request);
    for (size_t k = 0; k < expected.field_count; k++)
        assert_heard(b, i, expected.fields[k]);
    aws_signed_free(&expected);
    free(host);
}

static int keys_setup(void **state)
{
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "s3cret", 1);
    return bench_setup(state);
}

static int keys_teardown(void **state)
{
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    return bench_teardown(state);
}

static void signs(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){
        .warehouse = "arn:x", .signing_name = "glue", .signing_region = "eu-west-1"};
    answer(b, 200,
           "{\"overrides\":{\"prefix\":\"arn%3Aaws%2Fb\",\"token\":\"t\","
           "\"rest.signing-name\":\"sts\",\"rest.signing-region\":\"us-east-1\"}}");
    answer(b, 403, "{\"message\":\"The security token included in the request is expired\"}");
    answer(b, 409, "");
    answer(b, 403, "{\"message\":\"Signature does not match\"}");
    bench_open_well(b);
    assert_int_equal(commit(b), ERROR_CONFLICT);
    assert_int_equal(commit(b), ERROR_DENIED);
    assert_signed(b, 0, "GET", "/cat/v1/config", "warehouse=arn%3Ax", "");
    assert_signed(b, 2, "POST", "/cat/v1/arn%3Aaws%2Fb/namespaces/db/tables/t", NULL,
                  "{\"requirements\":[],\"updates\":[]}");
    assert_not_heard(b, 2, "Bearer");
    assert_int_equal(b->server.heard_count, 4);
}

static void keys_write(struct rest_bench *b, const char *key)
{
    char *text =
        memory_printf("[default]\naws_access_key_id = %s\naws_secret_access_key = s\n", key);
    bench_write(b, text);
    free(text);
}

/* The harm: keys in a file that were wrong, or that somebody has replaced and removed, are signed
 * by until the service is started again. */
static void signs_by_keys_that_were_mended(void **state)
{
    struct rest_bench *b = *state;
    keys_write(b, "AKIDWRONG");
    setenv("AWS_SHARED_CREDENTIALS_FILE", b->file, 1);
    setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
    b->rest = (struct catalog_rest_options){.signing_name = "glue", .signing_region = "eu-west-1"};
    answer(b, 200, CONFIG);
    answer(b, 403, "{\"message\":\"The request signature we calculated does not match\"}");
    answer(b, 409, "");
    answer(b, 403, "{\"message\":\"The security token included in the request is invalid.\"}");
    answer(b, 409, "");
    bench_open_well(b);
    assert_int_equal(commit(b), ERROR_DENIED);
    keys_write(b, "AKIDRIGHT");
    assert_int_equal(commit(b), ERROR_CONFLICT);
    keys_write(b, "AKIDNEXT");
    assert_int_equal(commit(b), ERROR_CONFLICT);
    unsetenv("AWS_SHARED_CREDENTIALS_FILE");
    unsetenv("AWS_CONFIG_FILE");
    assert_heard(b, 1, "Credential=AKIDWRONG/");
    assert_heard(b, 2, "Credential=AKIDRIGHT/");
    assert_heard(b, 3, "Credential=AKIDRIGHT/");
    assert_heard(b, 4, "Credential=AKIDNEXT/");
    assert_int_equal(b->server.heard_count, 5);
}

/* AWS refuses a signature that is five minutes old: a machine without time synchronisation would
 * never commit. */
static void signs_by_the_server_s_clock(void **state)
{
    struct rest_bench *b = *state;
    int64_t ours_ms = b->wall_ms; /* 2026-09-21T14:13:20Z */
    b->rest = (struct catalog_rest_options){.signing_name = "glue", .signing_region = "eu-west-1"};
    answer_with(b, 403, "Date: Mon, 21 Sep 2026 15:13:20 GMT\r\n",
                "{\"message\":\"Signature expired: 20260921T141320Z is now earlier than\"}");
    answer(b, 200, CONFIG);
    answer_with(b, 403, "Date: Mon, 21 Sep 2026 15:13:25 GMT\r\n", "{\"message\":\"no right\"}");
    bench_open_well(b);
    assert_int_equal(commit(b), ERROR_DENIED);
    assert_signed(b, 0, "GET", "/cat/v1/config", NULL, "");
    b->wall_ms = ours_ms + 3600000;
    assert_signed(b, 1, "GET", "/cat/v1/config", NULL, "");
    assert_signed(b, 2, "POST", "/cat/v1/p%7Cq/namespaces/db/tables/t", NULL,
                  "{\"requirements\":[],\"updates\":[]}");
    assert_int_equal(b->server.heard_count, 3);
}

/* A gateway that wants a signature, before a catalog that wants a token. */
static void signs_over_a_token(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){
        .signing_name = "execute-api", .signing_region = "eu-west-1", .credential = "me:s"};
    answer(b, 200, TOKEN("t1-secret", "1000"));
    answer(b, 200, CONFIG);
    answer(b, 401, "");
    answer(b, 200, TOKEN("t2-secret", "1000"));
    answer(b, 403, "{\"message\":\"t2-secret has no right\"}");
    bench_open_well(b);
    assert_int_equal(commit(b), ERROR_DENIED);
    assert_non_null(strstr(b->err.text, "environment, signed for execute-api, with client \"me\""));
    assert_null(strstr(b->err.text, "t2-secret"));
    assert_heard(b, 1, "\r\nOriginal-Authorization: Bearer t1-secret\r\n");
    assert_heard(b, 1, "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/");
    assert_heard(b, 1, "SignedHeaders=accept;host;original-authorization;x-amz-");
    assert_not_heard(b, 1, "\r\nAuthorization: Bearer");
    assert_heard(b, 4, "\r\nOriginal-Authorization: Bearer t2-secret\r\n");
    assert_int_equal(b->server.heard_count, 5);
}

static void own_hosts(void **state)
{
    static const char *const own[] = {"https://glue.eu-west-1.amazonaws.com/iceberg",
                                      "https://glue.us-gov-west-1.amazonaws.com",
                                      "https://glue.eu-central-1.api.aws:443/iceberg",
                                      "https://glue.cn-north-1.amazonaws.com.cn"};
    static const char *const others[] = {"http://glue.eu-west-1.amazonaws.com",
                                         "https://glue.s3.amazonaws.com",
                                         "https://glue.s3-us-west-2.amazonaws.com",
                                         "https://glue.s3.eu-west-1.amazonaws.com",
                                         "https://abc.execute-api.eu-west-1.amazonaws.com",
                                         "https://glue.eu-west-1.amazonaws.com.evil.example",
                                         "https://evil.example/.amazonaws.com",
                                         "https://glue.amazonaws.com",
                                         "https://glue.eu-west-1.evil-amazonaws.com",
                                         "https://catalog.example"};
    (void)state;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (!rest_sign_is_own(own[i]))
            fail_msg("not AWS's: %s", own[i]);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (rest_sign_is_own(others[i]))
            fail_msg("AWS's: %s", others[i]);
}

/* What a request would be signed for, after a server at `base` has said `overrides`. */
static void assert_scope(struct rest_bench *b, const char *base, const char *overrides,
                         const char *scope)
{
    struct http_client_options plain = {.proxy = ""};
    struct catalog_rest_options given = {.signing_name = "glue", .signing_region = "eu-west-1"};
    struct rest_auth_options options = {.clock = &b->clock, .base = base, .given = &given};
    struct http_client *http = NULL;
    struct rest_auth *auth = NULL;
    struct rest_config config;
    struct rest_proof proof = {0};
    struct http_call call = {.method = "GET", .url = "https://host/x"};
    char *text = memory_printf("{\"overrides\":{%s}}", overrides);
    json_t *client = json_object();
    rest_auth_properties_put(&given, client);
    assert_int_equal(http_client_open(&http, &plain, &b->err), OK);
    options.http = http;
    assert_int_equal(rest_auth_open(&auth, &options, &b->err), OK);
    assert_int_equal(rest_config_decode(&config, client, slice_cstr(text), &b->err), OK);
    assert_int_equal(rest_auth_configure(auth, &config, base, &b->err), OK);
    assert_int_equal(auth->ops->prove(auth, NULL, &call, &proof, &b->err), OK);
    const char *field = call.fields[call.field_count - 1];
    if (strstr(field, scope) == NULL)
        fail_msg("%s says {%s}: %s", base, overrides, field);
    rest_proof_free(&proof);
    rest_auth_close(auth);
    http_client_close(http);
    rest_config_free(&config);
    json_decref(client);
    free(text);
}

/* The harm: a server has a request signed for a service of its choice, and hands it on to AWS in
 * our name. */
static void who_may_say_what_is_signed_for(void **state)
{
    struct rest_bench *b = *state;
    static const char glue[] = "https://glue.eu-west-1.amazonaws.com/iceberg";
    assert_scope(b, glue, "\"rest.signing-region\":\"us-east-2\"", "/us-east-2/glue/aws4_request");
    assert_scope(b, glue, "\"rest.signing-name\":\"sts\"", "/eu-west-1/glue/");
    assert_scope(b, glue, "\"rest.signing-region\":\"a/b\"", "/eu-west-1/glue/");
    assert_scope(b, glue, "\"uri\":\"https://evil.example\",\"rest.signing-region\":\"us-east-2\"",
                 "/eu-west-1/glue/");
    assert_scope(b, "https://catalog.example", "\"rest.signing-region\":\"us-east-2\"",
                 "/eu-west-1/glue/");
}

#define KEYED(test) cmocka_unit_test_setup_teardown(test, keys_setup, keys_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        KEYED(signs),
        WIRE(signs_by_keys_that_were_mended),
        KEYED(signs_by_the_server_s_clock),
        KEYED(signs_over_a_token),
        cmocka_unit_test(own_hosts),
        KEYED(who_may_say_what_is_signed_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
