/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/lib_aws_world.h"

/* "URL" or "HOST" of S3 in that region; "!TEXT": refused with it. */
static void assert_endpoint(const char *region, const char *wanted)
{
    struct bench bench;
    struct aws_endpoint endpoint = {0};
    struct buf host = {0};
    bench_open(&bench, (struct aws_provider_options){.imds_url = NOBODY});
    int rc = aws_provider_endpoint(bench.provider, "s3", &endpoint, &bench.err);
    if (rc == OK && endpoint.url != NULL)
        buf_put_cstr(&host, endpoint.url);
    else if (rc == OK)
        rc = aws_host("s3", region, &endpoint, &host, &bench.err);
    if (wanted[0] == '!') {
        assert_int_equal(rc, ERROR_INPUT);
        assert_says(&bench, wanted + 1);
    } else {
        if (rc != OK)
            fail_msg("%s", bench.err.text);
        assert_string_equal(buf_cstr(&host), wanted);
    }
    buf_free(&host);
    aws_endpoint_free(&endpoint);
    bench_close(&bench);
}

#define SERVICES                                                                                   \
    "[services mine]\ns3 =\n  endpoint_url = http://s3.file\nsts =\n  endpoint_url = "             \
    "http://sts.file\n"

/* The harm: whoever configured a store of their own for all programs sees the data go to
 * Amazon's. */
static void the_nearest_word_counts(void **state)
{
    (void)state;
    assert_endpoint("eu-west-1", "s3.eu-west-1.amazonaws.com");
    home_write(".aws/config", "[default]\nendpoint_url = http://all.file\n");
    assert_endpoint("eu-west-1", "http://all.file");
    home_write(".aws/config",
               "[default]\nendpoint_url = http://all.file\nservices = mine\n" SERVICES);
    assert_endpoint("eu-west-1", "http://s3.file");
    env_set("AWS_ENDPOINT_URL", "http://all.env");
    assert_endpoint("eu-west-1", "http://all.env");
    env_set("AWS_ENDPOINT_URL_S3", "http://s3.env");
    assert_endpoint("eu-west-1", "http://s3.env");
    env_set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "True");
    assert_endpoint("eu-west-1", "s3.eu-west-1.amazonaws.com");
}

static void a_profile_has_its_own(void **state)
{
    (void)state;
    home_write(".aws/config",
               "[profile p]\nservices = mine\n" SERVICES "[services other]\ns3 =\n  region = x\n");
    assert_endpoint("eu-west-1", "s3.eu-west-1.amazonaws.com");
    env_set("AWS_PROFILE", "p");
    assert_endpoint("eu-west-1", "http://s3.file");
    home_write(".aws/config", "[profile p]\nservices = gone\n" SERVICES);
    assert_endpoint("eu-west-1", "!profile p: no section [services gone]");
    home_write(".aws/config", "[profile p\n");
    assert_endpoint("eu-west-1", "!config: line 1: a section without ]");
    home_write(".aws/config", "[profile p]\nignore_configured_endpoint_urls = true\n"
                              "endpoint_url = http://all.file\n");
    assert_endpoint("eu-west-1", "s3.eu-west-1.amazonaws.com");
}

/* The harm: what the law wants to go by FIPS endpoints goes by others. */
static void fips_and_dual_stack(void **state)
{
    (void)state;
    env_set("AWS_USE_FIPS_ENDPOINT", "true");
    assert_endpoint("us-east-1", "s3-fips.us-east-1.amazonaws.com");
    assert_endpoint("cn-north-1", "!use_fips_endpoint: S3 has none in cn-north-1");
    home_write(".aws/config", "[default]\nuse_dualstack_endpoint = true\n");
    assert_endpoint("us-east-1", "s3-fips.dualstack.us-east-1.amazonaws.com");
    env_set("AWS_USE_FIPS_ENDPOINT", NULL);
    assert_endpoint("cn-north-1", "s3.dualstack.cn-north-1.amazonaws.com.cn");
    assert_endpoint("eusc-de-east-1", "!use_dualstack_endpoint: there is none in eusc-de-east-1");
    env_set("AWS_ENDPOINT_URL", "http://all.env");
    assert_endpoint("eu-west-1", "http://all.env");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_nearest_word_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_profile_has_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(fips_and_dual_stack, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
