/* SPDX-License-Identifier: Apache-2.0
 *
 * The members of the chain that are services. */
#include "tests/unit/lib_aws_world.h"

static void nothing_anywhere_says_what_was_tried(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, (struct aws_provider_options){0});
    assert_int_equal(bench_get(&bench), ERROR_RETRY); /* an instance may be up before its network */
    atomic_fetch_add(&now_ms, 59999);
    assert_int_equal(bench_get(&bench), ERROR_RETRY);
    atomic_fetch_add(&now_ms, 1);
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "no AWS credentials: environment has none, web identity: not set, ");
    assert_says(&bench, "/.aws/credentials and config: no such file, container: not set, "
                        "instance metadata: no answer in 1 s");
    assert_kind(&bench, "none yet");
    home_write(".aws/config", "[default]\nregion = eu-south-1\n");
    env_set("AWS_EC2_METADATA_DISABLED", "true");
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "profile default: no credentials");
    assert_says(&bench, "off by AWS_EC2_METADATA_DISABLED");
    stop(&bench);
    server_free(&server);
}

static char *set_web_identity(const char *token)
{
    char *path = home_path("token");
    home_write("token", token);
    env_set("AWS_WEB_IDENTITY_TOKEN_FILE", path);
    env_set("AWS_ROLE_ARN", "arn:aws:iam::1:role/uploader");
    return path;
}

/* The harm: the token that was read first is sent for ever, though it ends after an hour. */
static void web_identity_reads_its_token_each_time(void **state)
{
    (void)state;
    struct bench bench;
    char *path = set_web_identity("first.token\n");
    route_set(0, "POST / ", 200, STS(WEB, "ASIA1", "2026-11-21T10:08:07Z"));
    start(&bench, (struct aws_provider_options){0});
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "ASIA1");
    assert_string_equal(bench.got.token, "tok/en+1=");
    assert_int_equal(bench.got.expires_ms, START_MS + 3600000);
    assert_kind(&bench, "web identity arn:aws:iam::1:role/uploader");
    home_write("token", "second.token");
    atomic_fetch_add(&now_ms, 3600000);
    route_set(0, "POST / ", 200, STS(WEB, "ASIA2", "2026-11-21T11:08:07Z"));
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "ASIA2");
    stop(&bench);
    assert_heard("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&DurationSeconds=3600&"
                 "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fuploader&RoleSessionName=bidlake&"
                 "WebIdentityToken=first.token\n");
    assert_heard("WebIdentityToken=second.token\n");
    assert_heard("Content-Type: application/x-www-form-urlencoded");
    assert_not_heard("Authorization");
    server_free(&server);
    free(path);
}

/* The harm: an outage of the identity provider is taken for a wrong role, or the other way
 * round; or the token stands in the log. */
static void what_sts_says_is_judged(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
        int rc;
        const char *says;
    } cases[] = {
        {400, STS_ERROR("InvalidIdentityToken", "No provider"), ERROR_DENIED,
         "web identity: role arn:aws:iam::1:role/uploader: STS says 400 InvalidIdentityToken: No "
         "provider"},
        {403, STS_ERROR("AccessDenied", "Not authorized\nsecond line"), ERROR_DENIED,
         "AccessDenied: Not authorized"},
        {400, STS_ERROR("IDPCommunicationError", "x"), ERROR_RETRY, "IDPCommunicationError"},
        {400, STS_ERROR("Throttling", ""), ERROR_RETRY, "STS says 400 Throttling"},
        {500, "<html>", ERROR_RETRY, "STS says 500"},
        {503, "", ERROR_RETRY, "STS says 503"},
        {301, "", ERROR_DENIED, "STS says 301"},
        {403, STS_ERROR("No code at all", "a message"), ERROR_DENIED, "STS says 403 : a message"},
        {400, STS_ERROR("ExpiredTokenException", "Token is.the.token here"), ERROR_DENIED,
         "STS refuses the token"},
        {403, STS_ERROR("SignatureDoesNotMatch", "x-amz-security-token:abc"), ERROR_DENIED,
         "STS says 403 SignatureDoesNotMatch"},
        {200, "", ERROR_RETRY, "no XML"},
        {200, "{}", ERROR_RETRY, "no XML"},
        {200, "<a/>", ERROR_RETRY, "no whole credentials"},
        {200, STS(WEB, "ASIA 1", "2026-11-21T10:08:07Z"), ERROR_DENIED, "access key has a blank"},
        {200, STS(WEB, "ASIA1", "tomorrow"), ERROR_RETRY, "no time"},
        {200, STS(WEB, "ASIA1", "2026-11-21T09:08:06Z"), ERROR_RETRY, "had expired"},
        {0, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<" WEB "Response>", ERROR_RETRY, ""},
        {0, "no HTTP\r\n\r\n", ERROR_RETRY, ""},
    };
    struct bench bench;
    char *path = set_web_identity("is.the.token");
    start(&bench, (struct aws_provider_options){0});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        route_set(0, "POST / ", cases[i].status, cases[i].body);
        assert_int_equal(bench_get(&bench), cases[i].rc);
        assert_says(&bench, cases[i].says);
        assert_null(strstr(bench.err.text, "is.the.token"));
        assert_null(strstr(bench.err.text, "security-token"));
        assert_null(strstr(bench.err.text, "second line"));
    }
    struct buf huge = {0};
    while (huge.len < 1 << 20)
        buf_put_cstr(&huge, "<a>0123456789</a>");
    route_set(0, "POST / ", 200, buf_cstr(&huge));
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "longer than");
    buf_reset(&huge);
    buf_put_cstr(&huge, "<ErrorResponse><Error><Code>A</Code><Message>eyJ");
    while (huge.len < 1000)
        buf_put_cstr(&huge, "abcdefghij");
    buf_put_cstr(&huge, " is wrong</Message></Error></ErrorResponse>");
    route_set(0, "POST / ", 400, buf_cstr(&huge));
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "STS says 400 A: ... is wrong");
    stop(&bench);
    server_free(&server);
    buf_free(&huge);
    free(path);
}

static void a_web_identity_that_is_not_whole_is_an_error(void **state)
{
    (void)state;
    struct bench bench;
    char *path = set_web_identity("a token");
    start(&bench, (struct aws_provider_options){0});
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "web identity token: ");
    assert_null(strstr(bench.err.text, "a token"));
    home_write("token", "\n");
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "empty");
    env_set("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token");
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "/nonexistent/token: No such file");
    env_set("AWS_ROLE_ARN", NULL);
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "AWS_ROLE_ARN is not");
    stop(&bench);
    assert_int_equal(atomic_load(&server.requests), 0);
    server_free(&server);
    free(path);
}

/* ---- container ---- */

#define JSON_KEYS(KEY, EXPIRATION)                                                                 \
    "{\"Code\":\"Success\",\"AccessKeyId\":\"" KEY                                                 \
    "\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"" EXPIRATION "\"}"

static void a_container_asks_its_agent(void **state)
{
    (void)state;
    struct bench bench;
    env_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1?id=2");
    env_set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc");
    route_set(0, "GET /v2/credentials/1?id=2 ", 200, JSON_KEYS("ASIAC", "2026-11-21T10:08:07Z"));
    start(&bench, (struct aws_provider_options){0});
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "ASIAC");
    assert_kind(&bench, "container");
    stop(&bench);
    assert_heard("\r\nAuthorization: Basic abc\r\n");
    server_free(&server);

    /* EKS Pod Identity: the token is replaced while we run. */
    char *path = home_path("token");
    env_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", NULL);
    env_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path);
    home_write("token", "first");
    route_set(0, "GET /v1/credentials ", 200, JSON_KEYS("ASIAD", "2026-11-21T10:08:07Z"));
    start(&bench, (struct aws_provider_options){0});
    char *full = memory_printf("%s/v1/credentials", server.url);
    env_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", full);
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "ASIAD");
    home_write("token", "second");
    aws_provider_expire(bench.provider, "ASIAD");
    assert_int_equal(bench_get(&bench), OK);
    static const struct {
        int status;
        const char *body;
        int rc;
        const char *says;
    } cases[] = {
        {403, "hush", ERROR_DENIED, "container: status 403"},
        {500, "", ERROR_RETRY, "container: status 500"},
        {429, "", ERROR_RETRY, "container: status 429"},
        {200, "[]", ERROR_RETRY, "no JSON object"},
        {200, "{\"AccessKeyId\":\"hush\"", ERROR_RETRY, "no JSON object"},
        {200, "{\"AccessKeyId\":1,\"SecretAccessKey\":\"hush\"}", ERROR_DENIED, "no AccessKeyId"},
        {200, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hush\",\"Expiration\":7}", ERROR_DENIED,
         "Expiration is no time"},
        {200, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hu\\nsh\",\"Token\":\"t\"}",
         ERROR_DENIED, "the secret key has a blank"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        aws_provider_expire(bench.provider, "ASIAD");
        route_set(0, "GET /v1/credentials ", cases[i].status, cases[i].body);
        assert_int_equal(bench_get(&bench), cases[i].rc);
        assert_says(&bench, cases[i].says);
        assert_null(strstr(bench.err.text, "hush"));
    }
    env_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.org/keys");
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "the credentials' address is not allowed");
    stop(&bench);
    assert_heard("\r\nAuthorization: first\r\n");
    assert_heard("\r\nAuthorization: second\r\n");
    server_free(&server);
    free(full);
    free(path);
}

/* The harm: the token that stands for the container goes to a stranger. */
static void only_own_addresses_are_asked_in_plain(void **state)
{
    (void)state;
    static const char *const allowed[] = {
        "https://example.org/x",   "http://127.0.0.1/",        "http://127.8.9.1:80?a",
        "http://localhost:8080/x", "http://169.254.170.2/v2",  "http://169.254.170.23/v1",
        "http://[::1]:80/",        "http://[fd00:ec2::23]/v1",
    };
    static const char *const refused[] = {
        "",
        "x",
        "ftp://127.0.0.1/",
        "http://",
        "https:///x",
        "http://example.org/",
        "http://169.254.169.254/",
        "http://127.0.0.1@example.org/",
        "https://user@example.org/",
        "http://127.0.0.1\\@example.org/",
        "http://127.0.0.1.example.org/",
        "http://127.0.0.1:80:80/",
        "http://127.0.0.1:80a/",
        "http://localhost.example.org/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[fd00:ec2::24]/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://127.0.0.1/ x",
        "http://127.0.0.1/\r\nX-Evil: 1",
        "http://127.0.0.1#@example.org/",
    };
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        if (!container_url_is_allowed(allowed[i]))
            fail_msg("%s is refused", allowed[i]);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (container_url_is_allowed(refused[i]))
            fail_msg("%s is allowed", refused[i]);
}

/* ---- instance ---- */

#define ROLE_PATH "/latest/meta-data/iam/security-credentials/"

static void an_instance_has_a_role(void **state)
{
    (void)state;
    struct bench bench;
    char region[AWS_REGION_SIZE];
    env_set("AWS_REGION", NULL);
    route_set(0, "PUT /latest/api/token ", 200, "AQAE-token==");
    route_set(1, "GET " ROLE_PATH " ", 200, "bid+der\n");
    route_set(2, "GET " ROLE_PATH "bid%2Bder ", 200, JSON_KEYS("ASIAI", "2026-11-21T15:08:07Z"));
    route_set(3, "GET /latest/meta-data/placement/region ", 200, "ap-south-1");
    server = (struct server){.answer = answer_routes};
    server_start(&server);
    char *base = memory_printf("%s/", server.url);
    env_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", base);
    bench_open(&bench, (struct aws_provider_options){0});
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "ASIAI");
    assert_kind(&bench, "instance role bid+der");
    assert_int_equal(aws_provider_region(bench.provider, region, &bench.err), OK);
    assert_string_equal(region, "ap-south-1");
    int requests = atomic_load(&server.requests);
    assert_int_equal(requests, 5);
    assert_int_equal(aws_provider_region(bench.provider, region, &bench.err), OK);
    assert_int_equal(atomic_load(&server.requests), requests);

    /* The harm: the service that is late for once is thought to be none. */
    aws_provider_expire(bench.provider, "ASIAI");
    env_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", NOBODY);
    assert_int_equal(bench_get(&bench), ERROR_RETRY);
    assert_says(&bench, "no AWS credentials any more: instance metadata: no answer");
    env_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", base);
    route_set(2, "GET " ROLE_PATH "bid%2Bder ", 200,
              "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"hush\"}");
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_string_equal(bench.err.text,
                        "instance role bid+der: it says AssumeRoleUnauthorizedAccess");
    stop(&bench);
    assert_heard("X-aws-ec2-metadata-token-ttl-seconds: 300\r\n");
    const char *asked = strstr((const char *)server.log.data, "GET " ROLE_PATH "bid%2Bder ");
    assert_non_null(asked);
    assert_non_null(strstr(asked, "X-aws-ec2-metadata-token: AQAE-token==\r\n"));
    server_free(&server);
    free(base);
}

static void an_instance_may_have_none(void **state)
{
    (void)state;
    static const struct {
        int token_status;
        const char *token;
        int role_status;
        const char *role;
        int rc;
        const char *says;
    } cases[] = {
        {403, "", 0, "", ERROR_DENIED, "instance metadata: token: status 403"},
        {404, "", 0, "", ERROR_DENIED, "instance metadata: token: status 404"}, /* another cloud */
        {500, "", 0, "", ERROR_RETRY, "instance metadata: token: status 500"},
        {200, "", 0, "", ERROR_DENIED, "its token is none"},
        {200, "a token", 0, "", ERROR_DENIED, "its token is none"},
        {200, "token", 404, "", ERROR_DENIED, "the instance has no role"},
        {200, "token", 401, "", ERROR_DENIED, "role: status 401"},
        {200, "token", 503, "", ERROR_RETRY, "role: status 503"},
        {200, "token", 200, "<html> </html>", ERROR_DENIED, "its role is none"},
        {200, "token", 200, "", ERROR_DENIED, "its role is none"},
        {200, "token", 200, "gone", ERROR_DENIED, "instance role gone: status 404"},
    };
    struct bench bench;
    server = (struct server){.answer = answer_routes};
    server_start(&server);
    bench_open(&bench, (struct aws_provider_options){.imds_url = server.url});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        route_set(0, "PUT /latest/api/token ", cases[i].token_status, cases[i].token);
        route_set(1, "GET " ROLE_PATH " ", cases[i].role_status, cases[i].role);
        assert_int_equal(bench_get(&bench), cases[i].rc);
        assert_says(&bench, cases[i].says);
    }
    stop(&bench);
    server_free(&server);
}

/* The harm: where the service that gives an instance its credentials is in trouble, its metadata
 * goes on showing the last ones, and all uploads stop though S3 would take these. */
static void an_instance_s_last_credentials_do(void **state)
{
    (void)state;
    struct bench bench;
    route_set(0, "PUT /latest/api/token ", 200, "token");
    route_set(1, "GET " ROLE_PATH " ", 200, "r");
    route_set(2, "GET " ROLE_PATH "r ", 200, JSON_KEYS("ASIAOLD", "2026-11-21T08:08:07Z"));
    server = (struct server){.answer = answer_routes};
    server_start(&server);
    bench_open(&bench, (struct aws_provider_options){.imds_url = server.url});
    uint64_t before = warnings();
    for (int i = 0; i < 290; i++) {
        assert_int_equal(bench_get(&bench), OK);
        assert_key(&bench, "ASIAOLD");
        atomic_fetch_add(&now_ms, 1000);
    }
    assert_int_equal(atomic_load(&server.requests), 3);
    assert_int_equal(warnings() - before, 1);
    atomic_fetch_add(&now_ms, 311000); /* it is tried again within ten minutes */
    assert_int_equal(bench_get(&bench), OK);
    assert_int_equal(atomic_load(&server.requests), 6);
    assert_int_equal(warnings() - before, 2);
    aws_provider_expire(bench.provider, "ASIAOLD"); /* refused: at once, and without more lines */
    assert_int_equal(bench_get(&bench), OK);
    assert_int_equal(atomic_load(&server.requests), 9);
    assert_int_equal(warnings() - before, 2);
    route_set(2, "GET " ROLE_PATH "r ", 200, JSON_KEYS("ASIANEW", "2026-11-21T23:08:07Z"));
    atomic_fetch_add(&now_ms, 601000);
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "ASIANEW");
    assert_int_equal(warnings() - before, 2);
    stop(&bench);
    server_free(&server);

    /* Those of a container are not: who gives them has others. */
    route_set(0, "GET /c ", 200, JSON_KEYS("ASIAC", "2026-11-21T08:08:07Z"));
    env_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/c");
    start(&bench, (struct aws_provider_options){0});
    assert_int_equal(bench_get(&bench), ERROR_RETRY);
    assert_says(&bench, "had expired when they came");
    stop(&bench);
    server_free(&server);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_anywhere_says_what_was_tried, setup, teardown),
        cmocka_unit_test_setup_teardown(web_identity_reads_its_token_each_time, setup, teardown),
        cmocka_unit_test_setup_teardown(what_sts_says_is_judged, setup, teardown),
        cmocka_unit_test_setup_teardown(a_web_identity_that_is_not_whole_is_an_error, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_container_asks_its_agent, setup, teardown),
        cmocka_unit_test_setup_teardown(only_own_addresses_are_asked_in_plain, setup, teardown),
        cmocka_unit_test_setup_teardown(an_instance_has_a_role, setup, teardown),
        cmocka_unit_test_setup_teardown(an_instance_may_have_none, setup, teardown),
        cmocka_unit_test_setup_teardown(an_instance_s_last_credentials_do, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
