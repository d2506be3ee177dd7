/* SPDX-License-Identifier: Apache-2.0
 *
 * What a REST catalog's server sends, decoded; and what is made of it.
 */
#include "tests/unit/cloud_rest_support.h"

static int config_of(struct rest_config *out, const char *client, const char *text)
{
    struct error err;
    json_t *properties = json_loads(client, 0, NULL);
    assert_non_null(properties);
    int rc = rest_config_decode(out, properties, slice_cstr(text), &err);
    json_decref(properties);
    return rc;
}

static const char *property(const struct rest_config *config, const char *key)
{
    const char *text = json_string_value(json_object_get(config->properties, key));
    return text != NULL ? text : "(none)";
}

/* A server's default must give way to what the user set, and its override must not. */
static void config_order(void **state)
{
    (void)state;
    struct rest_config config;
    assert_int_equal(config_of(&config,
                               "{\"a\":\"client\",\"b\":\"client\",\"header.X-A\":\"mine\"}",
                               "{\"defaults\":{\"a\":\"default\",\"c\":\"default\",\"n\":7,"
                               "\"header.x-a\":\"theirs\"},\"overrides\":{\"b\":\"override\"}}"),
                     OK);
    assert_string_equal(property(&config, "a"), "client");
    assert_string_equal(property(&config, "b"), "override");
    assert_string_equal(property(&config, "c"), "default");
    assert_string_equal(property(&config, "n"), "(none)");
    assert_string_equal(property(&config, "header.x-a"), "mine");
    assert_string_equal(config.separator, "%1F");
    assert_string_equal(config.prefix, "");
    assert_true(config.endpoints[REST_TABLE_COMMIT]);
    assert_false(config.endpoints[REST_NAMESPACE_HEAD]);
    assert_false(config.endpoints[REST_TABLE_CREDENTIALS]);
    assert_false(config.idempotent);
    rest_config_free(&config);
}

static void config_endpoints(void **state)
{
    (void)state;
    struct rest_config config;
    assert_int_equal(config_of(&config, "{}",
                               "{\"overrides\":{\"namespace-separator\":\"%2E\"},\"endpoints\":[7,"
                               "\"HEAD /v1/{prefix}/namespaces/{namespace}\","
                               "\"GET /v1/{prefix}/namespaces/{namespace}/tables/{table}\"],"
                               "\"idempotency-key-lifetime\":\"PT30M\"}"),
                     OK);
    assert_true(config.endpoints[REST_NAMESPACE_HEAD]);
    assert_true(config.endpoints[REST_TABLE_LOAD]);
    assert_false(config.endpoints[REST_NAMESPACE_LOAD]);
    assert_false(config.endpoints[REST_TABLE_COMMIT]);
    assert_string_equal(config.separator, "%2E");
    assert_true(config.idempotent);
    rest_config_free(&config);
}

/* Nothing that a server sends may lead requests elsewhere than below its own path. */
static void config_hostile(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "<html>",
        "{\"defaults\":[],\"overrides\":{}}",
        "{\"overrides\":{\"prefix\":\"../other\"}}",
        "{\"overrides\":{\"prefix\":\"a/./b\"}}",
        "{\"overrides\":{\"prefix\":\"a/..\"}}",
        "{\"overrides\":{\"prefix\":\"a?b\"}}",
        "{\"overrides\":{\"prefix\":\"a#b\"}}",
        "{\"overrides\":{\"prefix\":\"a b\"}}",
        "{\"overrides\":{\"prefix\":\"a\\r\\nb\"}}",
        "{\"overrides\":{\"prefix\":\"\\u00e9\"}}",
        "{\"overrides\":{\"namespace-separator\":\"/\"}}",
        "{\"overrides\":{\"namespace-separator\":\"\"}}",
        "{\"overrides\":{\"namespace-separator\":\"?x=\"}}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rest_config config;
        if (config_of(&config, "{}", bad[i]) != ERROR_INPUT)
            fail_msg("taken: %s", bad[i]);
    }
}

static char *path_of(const char *config_text, const char *ns, const char *table)
{
    struct rest_config config;
    struct buf path = {0};
    struct error err;
    assert_int_equal(config_of(&config, "{}", config_text), OK);
    assert_int_equal(rest_path_make(&config, ns, table, NULL, &path, &err), OK);
    rest_config_free(&config);
    char *text = memory_copy_cstr(buf_cstr(&path));
    buf_free(&path);
    return text;
}

static void assert_path(const char *config_text, const char *ns, const char *table,
                        const char *expected)
{
    char *path = path_of(config_text, ns, table);
    assert_string_equal(path, expected);
    free(path);
}

/* A prefix goes out byte for byte: with slashes for some servers, encoded for others. */
static void paths(void **state)
{
    (void)state;
    struct buf out = {0};
    struct error err;
    assert_path(CONFIG, "db", "t", "/v1/p%7Cq/namespaces/db/tables/t");
    assert_path("{\"overrides\":{\"prefix\":\"projects/1/catalogs/c\"}}", "db", NULL,
                "/v1/projects/1/catalogs/c/namespaces/db");
    assert_path("{\"overrides\":{}}", "a.b c", "x/y ?",
                "/v1/namespaces/a%1Fb%20c/tables/x%2Fy%20%3F");
    assert_path("{\"overrides\":{\"namespace-separator\":\"%2E\"}}", "a.b", "t",
                "/v1/namespaces/a%2Eb/tables/t");
    assert_path("{\"overrides\":{}}", NULL, NULL, "/v1/namespaces");
    assert_int_equal(rest_namespace_put("a..b", "%1F", &out, &err), ERROR_INPUT);
    assert_int_equal(rest_namespace_put("", "%1F", &out, &err), ERROR_INPUT);
    buf_free(&out);
}

static void urls(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "host",
                                      "ftp://host",
                                      "http://",
                                      "http:///x",
                                      "https://a b",
                                      "https://u:p@host",
                                      "https://h?x=1",
                                      "https://h#x",
                                      "https://h\r\nX: y"};
    struct buf out = {0};
    struct error err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(rest_url_check(bad[i], &out, &err), ERROR_INPUT);
    assert_int_equal(out.len, 0);
    assert_int_equal(rest_url_check("https://host:8181/api/catalog//", &out, &err), OK);
    assert_string_equal(buf_cstr(&out), "https://host:8181/api/catalog");
    /* A port that goes without saying is not sent as part of Host, so it may not be signed. */
    static const char *const usual[][2] = {{"https://h:443", "https://h"},
                                           {"https://h:443/a/", "https://h/a"},
                                           {"http://[::1]:80/a", "http://[::1]/a"},
                                           {"https://h:80/a:443", "https://h:80/a:443"},
                                           {"https://h:1443", "https://h:1443"}};
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        buf_reset(&out);
        assert_int_equal(rest_url_check(usual[i][0], &out, &err), OK);
        assert_string_equal(buf_cstr(&out), usual[i][1]);
    }
    buf_free(&out);
}

static void grants(void **state)
{
    (void)state;
    /* {"exp":1790000600} ten minutes after now */
    static const char jwt[] = "{\"access_token\":\"e30.eyJleHAiOjE3OTAwMDA2MDB9.x\"}";
    static const struct {
        const char *text;
        int64_t life_ms; /* -1: refused */
    } cases[] = {
        {"{\"access_token\":\"abc\",\"token_type\":\"bearer\",\"expires_in\":100}", 100000},
        {"{\"access_token\":\"abc\",\"token_type\":\"Bearer\"}", 3600000},
        {"{\"access_token\":\"abc\",\"expires_in\":-1}", 3600000},
        {"{\"access_token\":\"abc\",\"expires_in\":9223372036854775807}", 3650LL * 86400 * 1000},
        {jwt, 600000},
        {"{\"access_token\":\"a.b.c\"}", 3600000},
        {"{\"access_token\":\"a b\"}", -1},
        {"{\"access_token\":\"a\\r\\nX: y\"}", -1},
        {"{\"access_token\":\"\"}", -1},
        {"{\"access_token\":7}", -1},
        {"{\"access_token\":\"abc\",\"token_type\":\"mac\"}", -1},
        {"[]", -1},
        {"secret", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rest_grant grant;
        struct error err;
        int rc = rest_grant_decode(&grant, slice_cstr(cases[i].text), INT64_C(1790000000000), &err);
        if (cases[i].life_ms < 0) {
            assert_int_equal(rc, ERROR_INPUT);
            assert_null(strstr(err.text, "secret"));
            continue;
        }
        assert_int_equal(rc, OK);
        assert_int_equal(grant.life_ms, cases[i].life_ms);
        memory_wipe(&grant.bearer);
    }
}

static int table_of(const char *text)
{
    struct rest_table table;
    struct error err;
    int rc = rest_table_decode(&table, slice_cstr(text), &err);
    rest_table_free(&table);
    return rc;
}

static void tables(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "[]",
                                      "{}",
                                      "{\"metadata\":{}}",
                                      "{\"metadata-location\":7}",
                                      "{\"metadata-location\":\"x\",\"metadata\":{}}",
                                      "{\"metadata-location\":\"x\",\"metadata\":7}",
                                      "{\"metadata-location\":null,\"metadata\":null}",
                                      "{\"metadata-location\":\"x\\u0000y\",\"metadata\":null}"};
    char *good = table_answer(",\"config\":{\"a\":\"b\",\"c\":7},\"more\":[]");
    struct rest_table table;
    struct error err;
    assert_int_equal(rest_table_decode(&table, slice_cstr(good), &err), OK);
    assert_string_equal(table.table.metadata_location, "memory:/db/t/metadata/1.json");
    assert_int_equal(json_object_size(table.config), 1);
    assert_null(table.credentials);
    rest_table_free(&table);
    free(good);
    assert_int_equal(table_of("{\"metadata-location\":\"x\",\"metadata\":null}"), OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (table_of(bad[i]) != ERROR_CORRUPT)
            fail_msg("taken: %s", bad[i]);
}

static void pages(void **state)
{
    (void)state;
    struct catalog_names names = {0};
    struct error err;
    char *token = NULL;
    const char *text =
        "{\"namespaces\":[[\"a\"],[\"a\",\"b\"],[],[\"dotted.name\"],[7],\"x\",[\"\"]],"
        "\"next-page-token\":\"n\"}";
    assert_int_equal(rest_page_decode(REST_LIST_NAMESPACES, slice_cstr(text), &names, &token, &err),
                     OK);
    assert_string_equal(token, "n");
    free(token);
    text = "{\"identifiers\":[{\"namespace\":[\"a\"],\"name\":\"t\"},{\"name\":7},{}],"
           "\"next-page-token\":null}";
    assert_int_equal(rest_page_decode(REST_LIST_TABLES, slice_cstr(text), &names, &token, &err),
                     OK);
    assert_null(token);
    assert_int_equal(names.count, 3);
    assert_string_equal(names.names[0], "a");
    assert_string_equal(names.names[1], "a.b");
    assert_string_equal(names.names[2], "t");
    text = "{\"identifiers\":{}}";
    assert_int_equal(rest_page_decode(REST_LIST_TABLES, slice_cstr(text), &names, &token, &err),
                     ERROR_CORRUPT);
    text = "{\"identifiers\":[],\"next-page-token\":7}";
    assert_int_equal(rest_page_decode(REST_LIST_TABLES, slice_cstr(text), &names, &token, &err),
                     ERROR_CORRUPT);
    catalog_names_free(&names);
}

/* The longest prefix wins, and what is no credential stays behind. */
static void credentials(void **state)
{
    (void)state;
    struct objstore_lent got;
    json_t *list = json_loads(
        "[{\"prefix\":\"s3://b\",\"config\":{\"s3.secret-access-key\":\"short\"}},"
        "{\"prefix\":\"s3://b/wh/\",\"config\":{\"s3.secret-access-key\":\"long\",\"token\":\"t\","
        "\"s3.session-token-expires-at-ms\":\"1790000000000\"}}]",
        0, NULL);
    json_t *config = json_loads("{\"gcs.oauth2.token\":\"g\",\"client.region\":\"r\"}", 0, NULL);
    assert_true(rest_credentials_pick(list, config, "s3://b/wh/db/t", &got));
    assert_int_equal(got.expires_ms, INT64_C(1790000000000));
    assert_string_equal(objstore_lent_find(&got, "s3.secret-access-key"), "long");
    assert_null(objstore_lent_find(&got, "token"));
    assert_string_equal(rest_credentials_kind(&got), "s3.secret-access-key");
    objstore_lent_free(&got);
    assert_true(rest_credentials_pick(list, config, "gs://other", &got));
    assert_string_equal(rest_credentials_kind(&got), "gcs.oauth2.token");
    assert_int_equal(got.expires_ms, 0);
    objstore_lent_free(&got);
    json_object_del(config, "gcs.oauth2.token");
    assert_false(rest_credentials_pick(NULL, config, "gs://other", &got));
    assert_false(rest_credentials_pick(NULL, NULL, "gs://other", &got));
    json_decref(list);
    json_decref(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_order),   cmocka_unit_test(config_endpoints),
        cmocka_unit_test(config_hostile), cmocka_unit_test(paths),
        cmocka_unit_test(urls),           cmocka_unit_test(grants),
        cmocka_unit_test(tables),         cmocka_unit_test(pages),
        cmocka_unit_test(credentials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
