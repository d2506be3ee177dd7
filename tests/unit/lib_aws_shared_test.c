/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared files: profiles, roles that are taken, processes. */
#include "tests/unit/lib_aws_world.h"

#include <sys/fsuid.h>
#include <sys/stat.h>

#include "lib/base/digest.h"

static void a_profile_has_its_name_in_many_forms(void **state)
{
    (void)state;
    static const char *const found[] = {"[profile p q]", "[profile \"p q\"]", "[profile 'p q']",
                                        "[profile\t  p q ] # c"};
    static const char *const others[] = {"[p q]", "[profilep q]", "[profile \"p q']",
                                         "[profile p q r]", "[sso-session p q]"};
    struct bench bench;
    start(&bench, (struct aws_provider_options){.profile = "p q"});
    for (size_t i = 0; i < 4 + 5; i++) {
        char *config = memory_printf("%s\naws_access_key_id = A%zu\naws_secret_access_key = b\n",
                                     i < 4 ? found[i] : others[i - 4], i);
        home_write(".aws/config", config);
        free(config);
        if (bench.got.access_key != NULL)
            aws_provider_expire(bench.provider, bench.got.access_key);
        assert_int_equal(bench_get(&bench), i < 4 ? OK : ERROR_DENIED);
        if (i < 4)
            assert_int_equal(bench.got.access_key[1], '0' + (int)i);
        else
            assert_says(&bench, "no profile p q in ");
    }
    stop(&bench);
    server_free(&server);
}

static void profiles_are_found_in_both_files(void **state)
{
    (void)state;
    struct bench bench;
    home_write(".aws/credentials", "# keys\n[default]\naws_access_key_id = AKIDOLD\n"
                                   "AWS_ACCESS_KEY_ID = AKIDDEFAULT\naws_session_token =\n"
                                   "aws_secret_access_key=hush ; comment\n\n"
                                   "[other]\naws_access_key_id=AKIDOTHER\r\n"
                                   "aws_secret_access_key=hush\r\naws_session_token=tok\r\n");
    home_write(
        ".aws/config",
        "[default]\naws_access_key_id = AKIDCONFIG\nregion = us-west-2\ns3 =\n  region = no\n"
        "[profile \"third one\"]\n  aws_access_key_id = AKIDTHIRD\n"
        "  aws_secret_access_key = hush\n  region = eu-north-1\n"
        "[other]\naws_access_key_id = AKIDWRONG\n");
    start(&bench, (struct aws_provider_options){0});
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "AKIDDEFAULT");
    assert_string_equal(bench.got.secret, "hush");
    assert_null(bench.got.token);
    assert_kind(&bench, "profile default");
    char region[AWS_REGION_SIZE];
    env_set("AWS_REGION", NULL);
    assert_int_equal(aws_provider_region(bench.provider, region, &bench.err), OK);
    assert_string_equal(region, "us-west-2");
    stop(&bench);
    server_free(&server);

    env_set("AWS_PROFILE", "other");
    start(&bench, (struct aws_provider_options){0});
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "AKIDOTHER");
    assert_string_equal(bench.got.token, "tok");
    /* The harm: keys that a person replaced in the file are not seen before a restart. */
    home_write(".aws/credentials", "[other]\naws_access_key_id=AKIDNEW\n"
                                   "aws_secret_access_key=hush\n");
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "AKIDOTHER");
    aws_provider_expire(bench.provider, "AKIDOTHER");
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "AKIDNEW");
    stop(&bench);
    server_free(&server);

    /* By name: whatever the environment holds. */
    env_set("AWS_ACCESS_KEY_ID", "AKIDENV");
    env_set("AWS_SECRET_ACCESS_KEY", "hush");
    env_set("AWS_PROFILE", "third one");
    env_set("AWS_REGION", NULL);
    start(&bench, (struct aws_provider_options){.profile = "third one"});
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "AKIDTHIRD");
    assert_int_equal(aws_provider_region(bench.provider, region, &bench.err), OK);
    assert_string_equal(region, "eu-north-1");
    stop(&bench);
    server_free(&server);
}

/* The harm: what a person mistyped is answered by another identity, or by a riddle. */
static void what_is_wrong_with_a_profile_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        const char *says;
    } cases[] = {
        {"[profile q]\n", "profile p: no profile p in "},
        {"[profile p]\nregion = x\n", "no AWS credentials: profile p: no credentials"},
        {"[profile p]\naws_access_key_id = AKID\n", "without a secret key"},
        {"[profile p]\nrole_arn = r\n", "neither source_profile, credential_source"},
        {"[profile p]\nrole_arn = r\nsource_profile = q\n", "no profile q in "},
        {"[profile p]\nrole_arn = r\nsource_profile = q\n[profile q]\nregion=x\n",
         "profile q has no credentials"},
        {"[profile p]\nrole_arn = r\nsource_profile = q\n[profile q]\nrole_arn = r\n"
         "source_profile = p\n",
         "source_profile leads back to p"},
        {"[profile p]\nrole_arn=r\nsource_profile=a\n[profile a]\nrole_arn=r\nsource_profile=b\n"
         "[profile b]\nrole_arn=r\nsource_profile=c\n[profile c]\nrole_arn=r\nsource_profile=d\n"
         "[profile d]\nrole_arn=r\nsource_profile=e\n[profile e]\nregion=x\n",
         "more than 5 profiles"},
        {"[profile p]\nrole_arn = r\nsource_profile = p\n", "profile p has no credentials"},
        {"[profile p]\nrole_arn = r\ncredential_source = Moon\n", "credential_source is not"},
        {"[profile p]\nrole_arn = r\ncredential_source = EcsContainer\n", "container: not set"},
        {"[profile p]\nrole_arn = r\nmfa_serial = m\nsource_profile = p\n"
         "aws_access_key_id = A\naws_secret_access_key = b\n",
         "asks for an MFA code"},
        {"[profile p]\nrole_arn = r\nduration_seconds = 99999\nsource_profile = p\n"
         "aws_access_key_id = A\naws_secret_access_key = b\n",
         "duration_seconds is not between 900 and 43200"},
        {"[profile p]\nsso_session = s\n", "signs in by SSO"},
        {"[profile p]\nhush-hush\n", "/.aws/config: line 2: no section, key or comment"},
        {"[profile p\n", "line 1: a section without ]"},
        {"key = value\n", "line 1: a key before any section"},
    };
    struct bench bench;
    env_set("AWS_PROFILE", "p");
    start(&bench, (struct aws_provider_options){.profile = "p"});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        home_write(".aws/config", cases[i].config);
        assert_int_equal(bench_get(&bench), ERROR_DENIED);
        assert_says(&bench, cases[i].says);
        assert_null(strstr(bench.err.text, "hush"));
    }
    stop(&bench);
    assert_int_equal(atomic_load(&server.requests), 0);
    server_free(&server);
}

/* The harm: a service that runs as another user than the one whose HOME it was given has no
 * credentials at all, though its container or instance has. But what was asked for by name and
 * may not be read is not passed over: that would be to act as somebody else. */
static void files_of_others_are_none(void **state)
{
    (void)state;
    struct bench bench;
    char *folder = home_path(".aws");
    char *config = home_path(".aws/config");
    route_set(0, "GET /c ", 200,
              "{\"AccessKeyId\":\"ASIAC\",\"SecretAccessKey\":\"s\",\"Token\":\"t\"}");
    env_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/c");
    home_write(".aws/config", "[default]\naws_access_key_id = A\naws_secret_access_key = b\n");
    for (int i = 0; i < 2; i++) {
        if (i == 0) { /* not even root, as far as files go */
            assert_int_equal(chmod(folder, 0), 0);
            setfsuid(65534);
        } else {
            assert_int_equal(unlink(config), 0);
            assert_int_equal(symlink("config", config), 0);
        }
        env_set("AWS_PROFILE", NULL);
        start(&bench, (struct aws_provider_options){0});
        assert_int_equal(bench_get(&bench), OK);
        assert_key(&bench, "ASIAC");
        stop(&bench);
        server_free(&server);

        for (int how = 0; how < 3; how++) {
            env_set("AWS_PROFILE", how == 0 ? "default" : NULL);
            env_set("AWS_CONFIG_FILE", how == 1 ? config : NULL);
            start(&bench, (struct aws_provider_options){.profile = how == 2 ? "default" : NULL});
            assert_int_equal(bench_get(&bench), ERROR_DENIED);
            assert_says(&bench, i == 0 ? "Permission denied" : "Too many levels");
            stop(&bench);
            assert_int_equal(atomic_load(&server.requests), 0);
            server_free(&server);
        }
        env_set("AWS_CONFIG_FILE", NULL);
        setfsuid(getuid());
        assert_int_equal(chmod(folder, 0700), 0);
    }
    free(config);
    free(folder);
}

/* The harm: keys that a person mended in the file are not looked at before a restart. Or each
 * request that is refused for good reads the files, or asks a service, once more. */
static void doubted_keys_are_read_again(void **state)
{
    (void)state;
    struct bench bench;
    const char *config = "[profile p]\naws_access_key_id = A%d\naws_secret_access_key = b\n";
    start(&bench, (struct aws_provider_options){.profile = "p"});
    for (int i = 0; i < 4; i++) {
        char *text = memory_printf(config, i);
        home_write(".aws/config", text);
        free(text);
        assert_int_equal(bench_get(&bench), OK);
        char *before = memory_copy_cstr(bench.got.access_key);
        if (i > 0)
            assert_int_not_equal(before[1], '0' + i);
        aws_provider_doubt(bench.provider, "somebody's");
        assert_int_equal(bench_get(&bench), OK);
        assert_key(&bench, before);
        aws_provider_doubt(bench.provider, before);
        assert_int_equal(bench_get(&bench), OK);
        assert_int_equal(bench.got.access_key[1], '0' + i);
        aws_provider_doubt(bench.provider, bench.got.access_key);
        home_write(".aws/config", "[profile p]\naws_access_key_id = X\n");
        assert_int_equal(bench_get(&bench), OK); /* not so soon again */
        atomic_fetch_add(&now_ms, 5000);
        aws_provider_doubt(bench.provider, bench.got.access_key);
        assert_int_equal(bench_get(&bench), OK); /* what doesn't read puts nothing away */
        assert_int_equal(bench.got.access_key[1], '0' + i);
        atomic_fetch_add(&now_ms, 5000);
        free(before);
    }
    stop(&bench);
    server_free(&server);

    /* A role's session is as good as the next one. */
    home_write(".aws/config", "[profile p]\nrole_arn = r\nsource_profile = p\n"
                              "aws_access_key_id = A\naws_secret_access_key = b\n");
    route_set(0, "POST / ", 200, STS("AssumeRole", "ASIA1", "2026-11-21T10:08:07Z"));
    start(&bench, (struct aws_provider_options){.profile = "p"});
    assert_int_equal(bench_get(&bench), OK);
    aws_provider_doubt(bench.provider, "ASIA1");
    assert_int_equal(bench_get(&bench), OK);
    stop(&bench);
    assert_int_equal(atomic_load(&server.requests), 1);
    server_free(&server);
}

/* Signs the request once more, from what came over the wire, and compares. */
static void assert_signed(const char *request, const char *access_key, const char *secret,
                          const char *token)
{
    char host[64];
    char hex[2 * SHA256_SIZE + 1];
    uint8_t digest[SHA256_SIZE];
    assert_int_equal(sscanf(strstr(request, "Host: "), "Host: %63[^\r]", host), 1);
    const char *body = strstr(request, "\r\n\r\n") + 4;
    sha256(slice_of(body, strcspn(body, "\n")), digest);
    hex_encode(slice_of(digest, sizeof digest), hex);
    struct aws_credentials by = {.access_key = memory_copy_cstr(access_key),
                                 .secret = memory_copy_cstr(secret),
                                 .token = memory_copy_or_null(token)};
    const char *fields[] = {"Content-Type: application/x-www-form-urlencoded; charset=utf-8"};
    struct aws_request again = {.method = "POST",
                                .host = host,
                                .path = "/",
                                .fields = fields,
                                .field_count = 1,
                                .payload_hash = hex,
                                .service = "sts",
                                .region = "eu-west-1",
                                .now_ms = START_MS,
                                .credentials = &by};
    struct aws_signed made = {0};
    aws_sign(&made, &again);
    const char *wanted = made.fields[made.field_count - 1];
    if (strstr(request, wanted) == NULL)
        fail_msg("%s is not in %s", wanted, request);
    aws_signed_free(&made);
    aws_credentials_free(&by);
}

static const char *request_of(const char *part)
{
    const char *found = strstr((const char *)server.log.data, part);
    if (found == NULL)
        fail_msg("\"%s\" was not heard: %s", part, (const char *)server.log.data);
    while (found > (const char *)server.log.data && strncmp(found, "POST ", 5) != 0)
        found--;
    return found;
}

static void answer_roles(struct server *at, const char *request, struct buf *out)
{
    (void)at;
    put_answer(out, 200,
               strstr(request, "RoleArn=inner") != NULL
                   ? STS("AssumeRole", "ASIAINNER", "2026-11-21T10:08:07Z")
                   : STS("AssumeRole", "ASIAOUTER", "2026-11-21T10:08:07Z"));
}

/* The harm: a role is taken by the wrong credentials, or by a signature for another host. */
static void roles_are_taken_one_by_the_other(void **state)
{
    (void)state;
    struct bench bench;
    env_set("AWS_PROFILE", "outer");
    home_write(".aws/config", "[profile outer]\nrole_arn = outer\nsource_profile = inner\n"
                              "external_id = a/b\nduration_seconds = 900\n"
                              "[profile inner]\nrole_arn = inner\nsource_profile = base\n"
                              "role_session_name = me\n");
    home_write(".aws/credentials", "[base]\naws_access_key_id = AKIDBASE\n"
                                   "aws_secret_access_key = hush\n");
    start(&bench, (struct aws_provider_options){0});
    server.answer = answer_roles;
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "ASIAOUTER");
    assert_kind(&bench, "profile outer");
    stop(&bench);
    assert_int_equal(atomic_load(&server.requests), 2);
    assert_heard("Action=AssumeRole&Version=2011-06-15&DurationSeconds=3600&RoleArn=inner&"
                 "RoleSessionName=me\n");
    assert_heard("Action=AssumeRole&Version=2011-06-15&DurationSeconds=900&RoleArn=outer&"
                 "RoleSessionName=bidlake&ExternalId=a%2Fb\n");
    assert_signed(request_of("RoleArn=inner"), "AKIDBASE", "hush", NULL);
    assert_signed(request_of("RoleArn=outer"), "ASIAINNER", "s3cret", "tok/en+1=");
    assert_not_heard("hush");
    server_free(&server);

    /* Its own keys, the container's, a token. */
    static const char *const configs[] = {
        "[profile outer]\nrole_arn = outer\nsource_profile = outer\naws_access_key_id = A\n"
        "aws_secret_access_key = b\n",
        "[profile outer]\nrole_arn = outer\ncredential_source = Environment\n",
    };
    for (size_t i = 0; i < 2; i++) {
        home_write(".aws/config", configs[i]);
        env_set("AWS_ACCESS_KEY_ID", "AKIDENV");
        env_set("AWS_SECRET_ACCESS_KEY", "hush");
        start(&bench, (struct aws_provider_options){.profile = "outer"});
        server.answer = answer_roles;
        assert_int_equal(bench_get(&bench), OK);
        assert_key(&bench, "ASIAOUTER");
        stop(&bench);
        assert_signed(request_of("RoleArn=outer"), i == 0 ? "A" : "AKIDENV", i == 0 ? "b" : "hush",
                      NULL);
        server_free(&server);
    }
}

/* The harm: a port that no client sends is signed, and every request is refused. The server plays
 * a proxy here, so that the port need not be its own; and link-local services never see it. */
static void a_usual_port_is_not_signed(void **state)
{
    (void)state;
    struct bench bench;
    home_write(".aws/config", "[profile p]\nrole_arn = r\nsource_profile = p\n"
                              "aws_access_key_id = A\naws_secret_access_key = b\n");
    route_set(0, "POST http://sts.invalid", 200,
              STS("AssumeRole", "ASIA1", "2026-11-21T10:08:07Z"));
    server = (struct server){.answer = answer_routes};
    server_start(&server);
    bench_open_by(&bench,
                  (struct aws_provider_options){
                      .profile = "p", .sts_url = "http://sts.invalid:80", .imds_url = NOBODY},
                  server.url);
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "ASIA1");
    char region[AWS_REGION_SIZE];
    env_set("AWS_REGION", NULL);
    assert_int_equal(aws_provider_region(bench.provider, region, &bench.err), ERROR_RETRY);
    atomic_fetch_add(&now_ms, 60000);
    assert_int_equal(aws_provider_region(bench.provider, region, &bench.err), ERROR_DENIED);
    stop(&bench);
    atomic_fetch_add(&now_ms, -60000);
    assert_signed(request_of("RoleArn=r"), "A", "b", NULL);
    assert_int_equal(atomic_load(&server.requests), 1);
    server_free(&server);
}

static void a_profile_may_name_a_token(void **state)
{
    (void)state;
    struct bench bench;
    char *config =
        memory_printf("[profile p]\nrole_arn = r\nweb_identity_token_file = %s/token\n", home);
    home_write(".aws/config", config);
    home_write("token", "a.token");
    route_set(0, "POST / ", 200, STS(WEB, "ASIA1", "2026-11-21T10:08:07Z"));
    start(&bench, (struct aws_provider_options){.profile = "p"});
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "ASIA1");
    stop(&bench);
    assert_heard("WebIdentityToken=a.token\n");
    assert_int_equal(atomic_load(&server.requests), 1);
    server_free(&server);
    free(config);
}

/* The harm: on a machine whose clock is an hour off no role can be taken, or its credentials
 * are thought to be at an end when they begin. */
static void a_clock_that_is_off_does_no_harm(void **state)
{
    (void)state;
    struct bench bench;
    home_write(".aws/config", "[profile p]\nrole_arn = r\nsource_profile = p\n"
                              "aws_access_key_id = A\naws_secret_access_key = b\n");
    static const char late[] = "HTTP/1.1 403 Forbidden\r\nDate: Sat, 21 Nov 2026 07:08:07 "
                               "GMT\r\nContent-Length: 0\r\n\r\n";
    route_set(0, "POST / ", 0, late);
    start(&bench, (struct aws_provider_options){.profile = "p"});
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "STS says 403");
    static const char body[] = STS("AssumeRole", "ASIA1", "2026-11-21T08:08:07Z");
    char *good = memory_printf("HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 07:08:07 GMT\r\n"
                               "Content-Length: %zu\r\n\r\n%s",
                               strlen(body), body);
    route_set(0, "POST / ", 0, good);
    assert_int_equal(bench_get(&bench), OK);
    assert_int_equal(bench.got.expires_ms, START_MS + 3600000);
    stop(&bench);
    assert_int_equal(atomic_load(&server.requests), 3);
    assert_heard("x-amz-date: 20261121T090807Z");
    assert_heard("x-amz-date: 20261121T070807Z");
    server_free(&server);
    free(good);
}

static void a_process_prints_credentials(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        int rc;
        const char *says;
    } cases[] = {
        {"echo '{\"Version\":1,\"AccessKeyId\":\"AKIDP\",\"SecretAccessKey\":\"s\","
         "\"SessionToken\":\"t\",\"Expiration\":\"2026-11-21T10:08:07+00:00\"}'",
         OK, ""},
        {"echo hush >&2; exit 3", ERROR_DENIED, "credential_process: it ended with status 3"},
        {"kill -TERM $$", ERROR_DENIED, "it ended with signal 15"},
        {"echo hush", ERROR_DENIED, "no JSON with \"Version\": 1"},
        {"echo '{\"Version\":2}'", ERROR_DENIED, "no JSON with \"Version\": 1"},
        {"echo '{\"Version\":1,\"AccessKeyId\":\"hush\"}'", ERROR_DENIED, "no SecretAccessKey"},
        {"exec yes hush", ERROR_DENIED, "longer than"},
        {"/nonexistent/program", ERROR_DENIED, "status 127"},
    };
    struct bench bench;
    start(&bench, (struct aws_provider_options){.profile = "p", .process_ms = 30000});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *config = memory_printf("[profile p]\ncredential_process = %s\n", cases[i].command);
        home_write(".aws/config", config);
        free(config);
        assert_int_equal(bench_get(&bench), cases[i].rc);
        assert_says(&bench, cases[i].says);
        assert_null(strstr(bench.err.text, "hush"));
        if (cases[i].rc == OK) {
            assert_key(&bench, "AKIDP");
            assert_string_equal(bench.got.token, "t");
            assert_int_equal(bench.got.expires_ms, START_MS + 3600000);
            aws_provider_expire(bench.provider, "AKIDP");
        }
    }
    stop(&bench);
    server_free(&server);
}

/* The harm: a command that hangs holds the uploads for ever, or stays behind. */
static void a_process_that_hangs_is_ended(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "echo $$ >%s/pid; exec sleep 1000",           /* its output stays open */
        "echo $$ >%s/pid; exec >&-; exec sleep 1000", /* closed, and goes on */
        "sleep 1000 & echo $! >%s/pid; exit 0",       /* what it started holds it open */
    };
    for (size_t i = 0; i < 3; i++) {
        struct bench bench;
        char *command = memory_printf("[profile p]\ncredential_process = ");
        struct buf config = {0};
        const char *hole = strstr(commands[i], "%s");
        buf_printf(&config, "%s%.*s%s%s\n", command, (int)(hole - commands[i]), commands[i], home,
                   hole + 2);
        home_write(".aws/config", buf_cstr(&config));
        start(&bench, (struct aws_provider_options){.profile = "p", .process_ms = 700});
        assert_int_equal(bench_get(&bench), ERROR_RETRY);
        assert_says(&bench, "not done in time");
        stop(&bench);
        server_free(&server);

        struct buf pid = {0};
        char *path = home_path("pid");
        assert_int_equal(file_read(path, 64, &pid, &bench.err), OK);
        pid_t number = (pid_t)strtol(buf_cstr(&pid), NULL, 10);
        assert_true(number > 1);
        /* A grandchild is reaped by init; until then it is a dead one, which no signal ends. */
        char state_path[64];
        snprintf(state_path, sizeof state_path, "/proc/%d/stat", (int)number);
        int64_t deadline_ms = clock_mono_ms(&clock_system) + 10000;
        for (;;) {
            struct buf stat = {0};
            bool gone = file_read(state_path, 4096, &stat, &bench.err) != OK ||
                        strstr(buf_cstr(&stat), ") Z") != NULL;
            buf_free(&stat);
            if (gone)
                break;
            assert_true(clock_mono_ms(&clock_system) < deadline_ms);
            clock_sleep_ms(&clock_system, 5);
        }
        buf_free(&pid);
        buf_free(&config);
        free(path);
        free(command);
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_profile_has_its_name_in_many_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(profiles_are_found_in_both_files, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_with_a_profile_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(files_of_others_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(doubted_keys_are_read_again, setup, teardown),
        cmocka_unit_test_setup_teardown(roles_are_taken_one_by_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_usual_port_is_not_signed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_profile_may_name_a_token, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_is_off_does_no_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(a_process_prints_credentials, setup, teardown),
        cmocka_unit_test_setup_teardown(a_process_that_hangs_is_ended, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
