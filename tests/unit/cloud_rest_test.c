/* SPDX-License-Identifier: Apache-2.0
 *
 * The REST catalog over the wire: what each answer means, what goes out.
 */
#include "tests/unit/cloud_rest_support.h"

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
    load_none(b);
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
    assert_int_equal(load_code(b), OK);
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
    assert_int_equal(load_code(b), ERROR_RETRY);
    assert_int_equal(load_code(b), ERROR_CORRUPT);
    assert_int_equal(load_code(b), ERROR_INPUT); /* 304 to no question */
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
    answer(b, 200, CONFIG);
    for (size_t i = 0; i < COUNT; i++)
        answer(b, 404, pages[i]);
    answer(b, 404, "{\"error\":{\"code\":404,\"status\":\"NOT_FOUND\"}}");
    answer(b, 404, pages[0]);
    answer(b, 404, pages[0]);
    bench_open_well(b);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(load_code(b), ERROR_DENIED);
        assert_non_null(strstr(b->err.text, "no catalog's answer: check catalog.uri"));
    }
    load_none(b);
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

/* What it does can't be what is wanted: better said before the first event than after it. */
static void s3_tables_are_refused(void **state)
{
    static const struct catalog_rest_options cases[] = {
        {.signing_name = "s3tables",
         .warehouse = "arn:aws:s3tables:eu-west-1:123456789012:bucket/b"},
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
        WIRE(s3_tables_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
