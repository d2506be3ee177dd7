/* SPDX-License-Identifier: Apache-2.0
 *
 * The REST catalog over the wire: sign-in, what each answer means, what goes out.
 */
#include "tests/unit/cloud_rest_support.h"

#define TOKEN(text, seconds)                                                                       \
    "{\"access_token\":\"" text "\",\"token_type\":\"bearer\",\"expires_in\":" seconds "}"

/* ---- open ---- */

static void opens(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.warehouse = "s3://b/w h",
                                            .token = "t0ken",
                                            .headers = "Polaris-Realm: r ; X-A:1",
                                            .access_delegation = "vended-credentials"};
    answer(b, 200, "{\"defaults\":{\"header.X-A\":\"2\",\"header.x-b\":\"3\"},\"overrides\":{}}");
    answer(b, 404, NOTHING);
    bench_open_well(b);
    struct catalog_table table = {0};
    bool found = true;
    assert_int_equal(ask(b, &table, &found), OK);
    assert_false(found);
    assert_heard(b, 0, "GET /cat/v1/config?warehouse=s3%3A%2F%2Fb%2Fw%20h HTTP/1.1");
    assert_heard(b, 0, "Authorization: Bearer t0ken");
    assert_heard(b, 0, "Polaris-Realm: r\r\n");
    assert_heard(b, 1, "GET /cat/v1/namespaces/db/tables/t?snapshots=all HTTP/1.1");
    assert_heard(b, 1, "X-A: 1\r\n");
    assert_heard(b, 1, "x-b: 3\r\n");
    assert_heard(b, 1, "X-Iceberg-Access-Delegation: vended-credentials\r\n");
}

static void is_no_catalog(void **state)
{
    struct rest_bench *b = *state;
    answer(b, 200, "<html>");
    assert_int_equal(bench_open(b), ERROR_INPUT);
}

static void may_come_later(void **state)
{
    struct rest_bench *b = *state;
    answer_with(b, 503, "Retry-After: 7\r\n", "");
    assert_int_equal(bench_open(b), ERROR_RETRY);
    assert_int_equal(b->err.retry_after_ms, 7000);
}

/* A field of ours given by hand would be two of them, and the server takes either. */
static void refuses_headers(void **state)
{
    static const char *const bad[] = {
        "Authorization: Bearer x", "no colon", "a b: c", ": x", "X-A:", "If-None-Match: *"};
    struct rest_bench *b = *state;
    struct rest rest = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(rest_fields_add(&rest, bad[i], &b->err), ERROR_INPUT);
    assert_int_equal(rest.field_count, 0);
}

/* The harm: a server says once for all its clients what each request is to have, and one of them
 * stays out for a field that it sets by itself. */
static void leaves_out_a_server_s_own_headers(void **state)
{
    struct rest_bench *b = *state;
    answer(b, 200,
           "{\"defaults\":{\"header.Accept\":\"text/html\",\"header.Content-Type\":\"x\","
           "\"header.a b\":\"c\",\"header.\":\"d\"},"
           "\"overrides\":{\"header.authorization\":\"Bearer x\",\"header.X-A\":\"1\"}}");
    answer(b, 409, "");
    bench_open_well(b);
    assert_int_equal(commit(b), ERROR_CONFLICT);
    assert_heard(b, 1, "Accept: application/json\r\n");
    assert_heard(b, 1, "x-a: 1\r\n");
    assert_not_heard(b, 1, "text/html");
    assert_not_heard(b, 1, "Bearer");
    assert_not_heard(b, 1, "a b");
}

static void moves_to_another_uri(void **state)
{
    struct rest_bench *b = *state;
    char *body = memory_printf("{\"overrides\":{\"uri\":\"%s/else/\"}}", b->server.url);
    answer(b, 200, body);
    answer(b, 404, NOTHING);
    bench_open_well(b);
    struct catalog_table table = {0};
    bool found = true;
    assert_int_equal(ask(b, &table, &found), OK);
    assert_heard(b, 1, "GET /cat/else/v1/namespaces/db/tables/t");
    free(body);
}

static int open_at(struct rest_bench *b, const char *spec)
{
    struct catalog_options options = {.store = b->store, .clock = &b->clock, .rest = &b->rest};
    return catalog_open(&b->catalog, spec, &options, &b->err);
}

static void goes_by_a_proxy(void **state)
{
    struct rest_bench *b = *state;
    char *proxy = memory_copy_slice(slice_of(b->server.url, strlen(b->server.url) - 4));
    b->rest = (struct catalog_rest_options){.proxy = proxy};
    answer(b, 200, CONFIG);
    server_begin(b);
    if (open_at(b, "rest:http://catalog.example/cat") != OK)
        fail_msg("%s", b->err.text);
    assert_heard(b, 0, "GET http://catalog.example/cat/v1/config HTTP/1.1\r\n");
    free(proxy);
}

/* The harm: behind a company's TLS gateway S3 is reached, and its catalog is not. */
static void authorities_are_as_aws_has_them(void **state)
{
    static const char file[] = "/nonexistent/ca.pem";
    struct rest_bench *b = *state;
    char *spec = memory_printf("rest:https://%s", b->server.url + strlen("http://"));
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "s3cret", 1);
    setenv("AWS_CA_BUNDLE", file, 1);
    b->rest = (struct catalog_rest_options){
        .signing_name = "glue", .signing_region = "eu-west-1", .timeout_ms = 200};
    assert_int_equal(open_at(b, spec), ERROR_DENIED);
    assert_non_null(strstr(b->err.text, file));
    b->rest.ca_file = "/nonexistent/mine.pem";
    assert_int_equal(open_at(b, spec), ERROR_DENIED);
    assert_non_null(strstr(b->err.text, "/nonexistent/mine.pem"));
    b->rest = (struct catalog_rest_options){.timeout_ms = 200};
    assert_int_equal(open_at(b, spec), ERROR_RETRY); /* nobody says anything there */
    unsetenv("AWS_CA_BUNDLE");
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    free(spec);
}

/* ---- what an answer means ---- */

/* The heart of it: what might have been applied must never be taken for refused, nor the other
 * way round. */
static void commit_statuses(void **state)
{
    static const struct {
        int status;
        int code;
    } cases[] = {
        {400, ERROR_INPUT}, {403, ERROR_DENIED}, {404, ERROR_INPUT},    {405, ERROR_INPUT},
        {406, ERROR_INPUT}, {408, ERROR_RETRY},  {409, ERROR_CONFLICT}, {412, ERROR_CONFLICT},
        {413, ERROR_INPUT}, {429, ERROR_RETRY},  {500, ERROR_RETRY},    {501, ERROR_INPUT},
        {502, ERROR_RETRY}, {503, ERROR_RETRY},  {504, ERROR_RETRY},    {0, ERROR_RETRY},
        {200, ERROR_RETRY}, {204, ERROR_RETRY},  {302, ERROR_INPUT},
    };
    enum { COUNT = sizeof cases / sizeof cases[0] };
    struct rest_bench *b = *state;
    answer(b, 200, CONFIG);
    for (size_t i = 0; i < COUNT; i++)
        answer(b, cases[i].status, cases[i].status == 200 ? "{}" : ERROR_BODY("Some", "why\\n"));
    bench_open_well(b);
    for (size_t i = 0; i < COUNT; i++) {
        int rc = commit(b);
        if (rc != cases[i].code || b->err.code != (enum error_code)rc)
            fail_msg("%d: %s: %s", cases[i].status, error_code_name((enum error_code)rc),
                     b->err.text);
    }
    assert_heard(b, 1, "POST /cat/v1/p%7Cq/namespaces/db/tables/t HTTP/1.1");
    assert_heard(b, 1, "{\"requirements\":[],\"updates\":[]}");
    assert_not_heard(b, 1, "Idempotency-Key");
}

static void says_what_the_server_said(void **state)
{
    struct rest_bench *b = *state;
    answer(b, 200, CONFIG);
    answer(b, 409, ERROR_BODY("CommitFailedException", "main\\u001b has moved"));
    bench_open_well(b);
    assert_int_equal(commit(b), ERROR_CONFLICT);
    assert_int_equal(b->err.cause, 409);
    assert_string_equal(b->err.text, "commit db.t: the catalog answers 409 "
                                     "CommitFailedException: main? has moved");
}

static void commits(void **state)
{
    struct rest_bench *b = *state;
    char *body = table_answer("");
    answer(b, 200, "{\"overrides\":{},\"idempotency-key-lifetime\":\"PT1H\"}");
    answer(b, 200, body);
    answer(b, 200, body);
    bench_open_well(b);
    json_t *list = json_array();
    struct catalog_table out = {0};
    assert_int_equal(catalog_commit(b->catalog, "db", "t", NULL, list, list, &out, &b->err), OK);
    assert_non_null(out.metadata);
    assert_int_equal(commit(b), OK);
    assert_heard(b, 1, "Idempotency-Key: 01");
    const char *key = strstr(buf_cstr(&b->server.heard[1]), "Idempotency-Key: ");
    char first[64];
    memcpy(first, key, 53);
    first[53] = 0;
    assert_not_heard(b, 2, first); /* another request, another key */
    catalog_table_free(&out);
    json_decref(list);
    free(body);
}

static void obeys_endpoints(void **state)
{
    struct rest_bench *b = *state;
    answer(b, 200, "{\"overrides\":{},\"endpoints\":[]}");
    bench_open_well(b);
    assert_int_equal(commit(b), ERROR_INPUT);
    assert_non_null(strstr(b->err.text, "takes no commits"));
    assert_int_equal(b->server.heard_count, 1);
}

/* ---- load ---- */

static void load_by_etag(void **state)
{
    struct rest_bench *b = *state;
    char *body = table_answer("");
    answer(b, 200, CONFIG);
    answer_with(b, 200, "ETag: \"e1\"\r\n", body);
    answer(b, 304, "");
    answer(b, 200, body);
    answer(b, 500, "");
    answer(b, 404, ERROR_BODY("NotFoundException", "file"));
    answer(b, 304, "");
    bench_open_well(b);
    load_well(b);
    load_well(b);
    load_well(b); /* without ETag now */
    struct catalog_table table = {0};
    bool found = true;
    assert_int_equal(ask(b, &table, &found), ERROR_RETRY);
    assert_int_equal(ask(b, &table, &found), ERROR_CORRUPT);
    assert_int_equal(ask(b, &table, &found), ERROR_INPUT); /* 304 to no question */
    assert_not_heard(b, 1, "If-None-Match");
    assert_heard(b, 2, "If-None-Match: \"e1\"\r\n");
    assert_heard(b, 3, "If-None-Match: \"e1\"\r\n");
    assert_not_heard(b, 4, "If-None-Match");
    free(body);
}

/* The harm: somebody in between says 304 of the table as it was before the commit, at each attempt.
 */
static void load_after_a_commit_asks_for_all(void **state)
{
    struct rest_bench *b = *state;
    char *body = table_answer("");
    answer(b, 200, CONFIG);
    for (int i = 0; i < 2; i++) {
        answer_with(b, 200, "ETag: \"e1\"\r\n", body);
        answer(b, i == 0 ? 409 : 0, "");
    }
    answer_with(b, 200, "ETag: \"e1\"\r\n", body);
    answer(b, 304, "");
    bench_open_well(b);
    load_well(b);
    assert_int_equal(commit(b), ERROR_CONFLICT);
    load_well(b);
    assert_int_equal(commit(b), ERROR_RETRY);
    load_well(b);
    load_well(b);
    assert_not_heard(b, 3, "If-None-Match");
    assert_not_heard(b, 5, "If-None-Match");
    assert_heard(b, 6, "If-None-Match: \"e1\"\r\n");
    free(body);
}

/* The harm: a page of whoever stands before the catalog reads as "no such table: run init", and
 * that is what somebody then does. */
static void a_page_is_no_catalog_s_answer(void **state)
{
    static const char *const pages[] = {
        "", "<html>404 Not Found</html>", "{\"message\":\"no Route matched\"}",
        "{\"status\":404,\"error\":\"Not Found\",\"path\":\"/v1\"}"};
    enum { COUNT = sizeof pages / sizeof pages[0] };
    struct rest_bench *b = *state;
    struct catalog_names names = {0};
    struct catalog_table table = {0};
    bool found = false;
    answer(b, 200, CONFIG);
    for (size_t i = 0; i < COUNT; i++)
        answer(b, 404, pages[i]);
    answer(b, 404, "{\"error\":{\"code\":404,\"status\":\"NOT_FOUND\"}}");
    answer(b, 404, pages[0]);
    answer(b, 404, pages[0]);
    bench_open_well(b);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(ask(b, &table, &found), ERROR_DENIED);
        assert_non_null(strstr(b->err.text, "no catalog's answer: check catalog.uri"));
    }
    assert_int_equal(ask(b, &table, &found), OK);
    assert_false(found);
    assert_int_equal(catalog_list_tables(b->catalog, "db", &names, &b->err), ERROR_DENIED);
    assert_int_equal(catalog_create_namespace(b->catalog, "db", &b->err), ERROR_DENIED);
    assert_int_equal(b->server.heard_count, COUNT + 4); /* nothing was made */
}

/* Some servers tell only where the metadata is. */
static void load_by_location(void **state)
{
    struct rest_bench *b = *state;
    char *body = table_answer("");
    json_t *whole = json_loads(body, 0, NULL);
    char *metadata = json_dumps(json_object_get(whole, "metadata"), JSON_COMPACT);
    assert_int_equal(objstore_put_bytes(b->store, "db/t/metadata/1.json", slice_cstr(metadata),
                                        PUT_ALWAYS, &b->err),
                     OK);
    answer(b, 200, CONFIG);
    answer(b, 200, "{\"metadata-location\":\"memory:/db/t/metadata/1.json\",\"metadata\":null}");
    bench_open_well(b);
    load_well(b);
    free(metadata);
    json_decref(whole);
    free(body);
}

static void creates(void **state)
{
    struct rest_bench *b = *state;
    char *body = table_answer("");
    struct catalog_table out = {0};
    json_t *request = json_pack("{s:s}", "name", "t");
    answer(b, 200, CONFIG);
    answer(b, 200, body);
    answer(b, 409, ERROR_BODY("AlreadyExistsException", "it is there"));
    answer(b, 0, "");
    bench_open_well(b);
    assert_int_equal(catalog_create_table(b->catalog, "db", "t", request, &out, &b->err), OK);
    assert_non_null(out.metadata);
    catalog_table_free(&out);
    assert_int_equal(catalog_create_table(b->catalog, "db", "t", request, &out, &b->err),
                     ERROR_CONFLICT);
    assert_int_equal(catalog_create_table(b->catalog, "db", "t", request, &out, &b->err),
                     ERROR_RETRY);
    assert_heard(b, 1, "POST /cat/v1/p%7Cq/namespaces/db/tables HTTP/1.1");
    assert_heard(b, 1, "/db/t\""); /* the location that is asked for */
    assert_heard(b, 1, "\"stage-create\":false");
    json_decref(request);
    free(body);
}

/* ---- names ---- */

static void namespaces_made(void **state)
{
    struct rest_bench *b = *state;
    answer(b, 200, "{\"overrides\":{}}");
    answer(b, 404, NOTHING); /* a.b? */
    answer(b, 404, NOTHING); /* a? */
    answer(b, 200, "");      /* a */
    answer(b, 409, "");      /* a.b: somebody was faster */
    answer(b, 200, "");      /* db? */
    answer(b, 404, NOTHING);
    answer(b, 403, ERROR_BODY("ForbiddenException", "no"));
    bench_open_well(b);
    if (catalog_create_namespace(b->catalog, "a.b", &b->err) != OK)
        fail_msg("%s", b->err.text);
    assert_int_equal(catalog_create_namespace(b->catalog, "db", &b->err), OK);
    assert_int_equal(catalog_create_namespace(b->catalog, "no", &b->err), ERROR_DENIED);
    assert_heard(b, 1, "GET /cat/v1/namespaces/a%1Fb HTTP");
    assert_heard(b, 2, "GET /cat/v1/namespaces/a HTTP");
    assert_heard(b, 3, "{\"namespace\":[\"a\"],\"properties\":{}}");
    assert_heard(b, 4, "{\"namespace\":[\"a\",\"b\"],\"properties\":{}}");
}

static void lists(void **state)
{
    struct rest_bench *b = *state;
    struct catalog_names names = {0};
    answer(b, 200, "{\"overrides\":{}}");
    answer(b, 200, "{\"identifiers\":[{\"name\":\"t1\"}],\"next-page-token\":\"n/2\"}");
    answer(b, 200, "{\"identifiers\":[{\"name\":\"t2\"}]}");
    answer(b, 200, "{\"identifiers\":[],\"next-page-token\":\"x\"}");
    answer(b, 200, "{\"identifiers\":[],\"next-page-token\":\"x\"}");
    answer(b, 200, "{\"namespaces\":[[\"a\"]]}");
    answer(b, 200, "{\"namespaces\":[[\"a\"],[\"a\",\"b\"]]}");
    answer(b, 400, "");
    bench_open_well(b);
    assert_int_equal(catalog_list_tables(b->catalog, "db", &names, &b->err), OK);
    assert_int_equal(names.count, 2);
    assert_string_equal(names.names[1], "t2");
    catalog_names_free(&names);
    assert_int_equal(catalog_list_tables(b->catalog, "db", &names, &b->err), ERROR_CORRUPT);
    assert_int_equal(names.count, 0);
    assert_int_equal(catalog_list_namespaces(b->catalog, &names, &b->err), OK);
    assert_int_equal(names.count, 2);
    assert_string_equal(names.names[1], "a.b");
    catalog_names_free(&names);
    assert_heard(b, 1, "/tables?pageToken= HTTP");
    assert_heard(b, 2, "/tables?pageToken=n%2F2 HTTP");
    assert_heard(b, 6, "/namespaces?parent=a&pageToken= HTTP");
    assert_heard(b, 7, "/namespaces?parent=a%1Fb&pageToken= HTTP");
}

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
    struct catalog_table table = {0};
    bool found;
    b->mono_ms += 89000;
    assert_int_equal(ask(b, &table, &found), OK);
    b->mono_ms += 2000;
    assert_int_equal(ask(b, &table, &found), OK);
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
    struct catalog_table table = {0};
    bool found;
    b->mono_ms += 95000;
    assert_int_equal(ask(b, &table, &found), OK);
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
    struct catalog_table table = {0};
    bool found;
    b->mono_ms += 950000;
    assert_int_equal(ask(b, &table, &found), OK);
    assert_int_equal(ask(b, &table, &found), OK);
    b->mono_ms += 60000;
    assert_int_equal(ask(b, &table, &found), ERROR_RETRY);
    assert_heard(b, 3, "Bearer t1");
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

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Who mounts a token that somebody else renews must not have to restart us. */
static void token_file_is_read_again(void **state)
{
    struct rest_bench *b = *state;
    char path[] = "/tmp/bidlake_token_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_text(path, " t1 \n");
    b->rest = (struct catalog_rest_options){.token_file = path};
    answer(b, 200, CONFIG);
    answer(b, 401, "");
    answer(b, 404, NOTHING);
    answer(b, 401, ""); /* the same token: no second try */
    bench_open_well(b);
    write_text(path, "~t2"); /* nothing that mkstemp may make */
    struct catalog_table table = {0};
    bool found;
    assert_int_equal(ask(b, &table, &found), OK);
    assert_int_equal(ask(b, &table, &found), ERROR_DENIED);
    assert_null(strstr(b->err.text, "~t2"));
    assert_heard(b, 0, "Authorization: Bearer t1\r\n");
    assert_heard(b, 2, "Authorization: Bearer ~t2\r\n");
    assert_int_equal(b->server.heard_count, 4);
    unlink(path);
}

/* The same of a credential; one that is being written just now leaves the old one. */
static void credential_file_is_read_again(void **state)
{
    struct rest_bench *b = *state;
    char path[] = "/tmp/bidlake_credential_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_text(path, "me:first");
    b->rest = (struct catalog_rest_options){.credential_file = path};
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
    struct catalog_table table = {0};
    bool found;
    write_text(path, "");
    b->mono_ms += 101000;
    assert_int_equal(ask(b, &table, &found), OK);
    write_text(path, "me:second");
    b->mono_ms += 101000;
    assert_int_equal(ask(b, &table, &found), OK);
    write_text(path, "alone");
    b->mono_ms += 101000;
    assert_int_equal(ask(b, &table, &found), OK);
    assert_heard(b, 2, "client_secret=first");
    assert_heard(b, 4, "client_secret=second");
    assert_heard(b, 7, "client_secret=alone");
    unlink(path);
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
    struct catalog_table table = {0};
    bool found = false;
    assert_int_equal(ask(b, &table, &found), ERROR_CORRUPT);
    assert_null(strstr(b->err.text, "k3y"));
    assert_non_null(strstr(b->err.text, "line 1, column"));
}

/* ---- AWS's signature ---- */

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

static void signs(void **state)
{
    struct rest_bench *b = *state;
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "s3cret", 1);
    b->rest = (struct catalog_rest_options){
        .warehouse = "arn:x", .signing_name = "glue", .signing_region = "eu-west-1"};
    answer(b, 200, "{\"overrides\":{\"prefix\":\"arn%3Aaws%2Fb\",\"token\":\"t\"}}");
    answer(b, 403, "{\"message\":\"The security token included in the request is expired\"}");
    answer(b, 409, "");
    answer(b, 403, "{\"message\":\"Signature does not match\"}");
    bench_open_well(b);
    assert_int_equal(commit(b), ERROR_CONFLICT);
    assert_int_equal(commit(b), ERROR_DENIED);
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    assert_signed(b, 0, "GET", "/cat/v1/config", "warehouse=arn%3Ax", "");
    assert_signed(b, 2, "POST", "/cat/v1/arn%3Aaws%2Fb/namespaces/db/tables/t", NULL,
                  "{\"requirements\":[],\"updates\":[]}");
    assert_not_heard(b, 2, "Bearer");
    assert_int_equal(b->server.heard_count, 4);
}

/* AWS refuses a signature that is five minutes old: a machine without time synchronisation would
 * never commit. */
static void signs_by_the_server_s_clock(void **state)
{
    struct rest_bench *b = *state;
    int64_t ours_ms = b->wall_ms; /* 2026-09-21T14:13:20Z */
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "s3cret", 1);
    b->rest = (struct catalog_rest_options){.signing_name = "glue", .signing_region = "eu-west-1"};
    answer_with(b, 403, "Date: Mon, 21 Sep 2026 15:13:20 GMT\r\n",
                "{\"message\":\"Signature expired: 20260921T141320Z is now earlier than\"}");
    answer(b, 200, CONFIG);
    answer_with(b, 403, "Date: Mon, 21 Sep 2026 15:13:25 GMT\r\n", "{\"message\":\"no right\"}");
    bench_open_well(b);
    assert_int_equal(commit(b), ERROR_DENIED);
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    assert_signed(b, 0, "GET", "/cat/v1/config", NULL, "");
    b->wall_ms = ours_ms + 3600000;
    assert_signed(b, 1, "GET", "/cat/v1/config", NULL, "");
    assert_signed(b, 2, "POST", "/cat/v1/p%7Cq/namespaces/db/tables/t", NULL,
                  "{\"requirements\":[],\"updates\":[]}");
    assert_int_equal(b->server.heard_count, 3);
}

static void signs_or_signs_in(void **state)
{
    struct rest_bench *b = *state;
    b->rest = (struct catalog_rest_options){.signing_name = "glue", .token = "t"};
    assert_int_equal(bench_open(b), ERROR_INPUT);
}

/* What it does can't be what is wanted: better said before the first event than after it. */
static void s3_tables_are_refused(void **state)
{
    static const struct catalog_rest_options cases[] = {
        {.signing_name = "s3tables"},
        {.signing_name = "glue", .warehouse = "arn:aws:s3tables:eu-west-1:123456789012:bucket/b"},
        {.signing_name = "glue", .warehouse = "123456789012:s3tablescatalog/b"},
    };
    struct rest_bench *b = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        b->rest = cases[i];
        assert_int_equal(open_at(b, "rest:http://127.0.0.1:9"), ERROR_INPUT);
        assert_non_null(strstr(b->err.text, "S3 Tables isn't supported"));
    }
    b->rest = (struct catalog_rest_options){0};
    assert_int_equal(open_at(b, "rest:https://s3tables.eu-west-1.amazonaws.com/i"), ERROR_INPUT);
    assert_non_null(strstr(b->err.text, "S3 Tables isn't supported"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE(opens),
        WIRE(is_no_catalog),
        WIRE(may_come_later),
        WIRE(refuses_headers),
        WIRE(leaves_out_a_server_s_own_headers),
        WIRE(moves_to_another_uri),
        WIRE(goes_by_a_proxy),
        WIRE(authorities_are_as_aws_has_them),
        WIRE(commit_statuses),
        WIRE(says_what_the_server_said),
        WIRE(commits),
        WIRE(obeys_endpoints),
        WIRE(load_by_etag),
        WIRE(load_after_a_commit_asks_for_all),
        WIRE(a_page_is_no_catalog_s_answer),
        WIRE(load_by_location),
        WIRE(creates),
        WIRE(namespaces_made),
        WIRE(lists),
        WIRE(signs_in),
        WIRE(signs_in_by_basic),
        WIRE(sign_in_refused),
        WIRE(sign_in_is_down),
        WIRE(old_token_goes_on),
        WIRE(refused_token_is_renewed),
        WIRE(token_file_is_read_again),
        WIRE(credential_file_is_read_again),
        WIRE(a_token_that_comes_back_is_not_shown),
        WIRE(signs),
        WIRE(signs_by_the_server_s_clock),
        WIRE(signs_or_signs_in),
        WIRE(s3_tables_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
