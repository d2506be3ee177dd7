/* SPDX-License-Identifier: Apache-2.0
 *
 * What is held, for how long, and who fetches. The source is a function of the test's. */
#include "tests/unit/lib_aws_support.h"

#include "lib/base/log.h"

/* A source: key N for N = 1, 2, ..., each valid for `valid_ms`. */
struct mint {
    int count;
    int rc; /* what it returns */
    int64_t valid_ms;
    bool holds; /* while it is set, the next call waits for `gate` */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int waiting;
};

static int mint_make(void *context, struct aws_credentials *out, struct error *err)
{
    struct mint *mint = context;
    pthread_mutex_lock(&mint->lock);
    mint->count++;
    mint->waiting++;
    pthread_cond_broadcast(&mint->changed);
    while (mint->holds)
        pthread_cond_wait(&mint->changed, &mint->lock);
    mint->waiting--;
    int rc = mint->rc;
    int count = mint->count;
    pthread_mutex_unlock(&mint->lock);
    if (rc != OK)
        return error_set(err, (enum error_code)rc, "the mint is closed");
    out->access_key = memory_printf("KEY%d", count);
    out->secret = memory_copy_cstr("secret");
    out->token = memory_copy_cstr("token");
    out->expires_ms = mint->valid_ms == 0 ? 0 : atomic_load(&now_ms) + mint->valid_ms;
    return OK;
}

#define MINT(...)                                                                                  \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, __VA_ARGS__        \
    }

static void bench_mint(struct bench *bench, struct mint *mint)
{
    bench_open(bench, (struct aws_provider_options){.source = mint_make, .source_context = mint});
}

static void pass_ms(int64_t ms)
{
    atomic_fetch_add(&now_ms, ms);
}

static void keys_are_kept_and_fetched_ahead(void **state)
{
    (void)state;
    struct mint mint = MINT(.valid_ms = 3600000);
    struct bench bench;
    bench_mint(&bench, &mint);
    assert_kind(&bench, "none yet");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bench_get(&bench), OK);
        assert_key(&bench, "KEY1");
    }
    assert_kind(&bench, "credentials that the catalog lends");
    assert_string_equal(bench.got.token, "token");
    pass_ms(3600000 - 361000); /* the jitter is a minute at most */
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "KEY1");
    pass_ms(62000);
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "KEY2");
    bench_close(&bench);

    struct mint eternal = MINT(.valid_ms = 0);
    bench_mint(&bench, &eternal);
    assert_int_equal(bench_get(&bench), OK);
    pass_ms(INT64_C(1000) * 86400 * 365);
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "KEY1");
    bench_close(&bench);
}

/* The harm: a minute without the identity service stops all uploads; or nobody hears of it; or
 * a log line for each request. */
static void old_keys_do_while_new_ones_are_not_to_be_had(void **state)
{
    (void)state;
    struct mint mint = MINT(.valid_ms = 3600000);
    struct bench bench;
    bench_mint(&bench, &mint);
    assert_int_equal(bench_get(&bench), OK);
    uint64_t before = warnings();
    mint.rc = ERROR_RETRY;
    pass_ms(3600000 - 299000);
    for (int i = 0; i < 290; i++) {
        assert_int_equal(bench_get(&bench), OK);
        assert_key(&bench, "KEY1");
        pass_ms(1000);
    }
    assert_int_equal(warnings() - before, 1);
    assert_in_range(mint.count, 1 + 4, 1 + 20); /* a try a minute, then one in five seconds */
    pass_ms(9000);
    assert_int_equal(bench_get(&bench), ERROR_RETRY); /* expired */
    assert_says(&bench, "the mint is closed");
    mint.rc = ERROR_INPUT;
    assert_int_equal(bench_get(&bench), ERROR_DENIED); /* no event is to be dropped for it */
    mint.rc = OK;
    assert_int_equal(bench_get(&bench), OK);
    assert_string_not_equal(bench.got.access_key, "KEY1");
    bench_close(&bench);
}

/* The harm: keys that the store refuses are sent until they would have expired; or each of a
 * hundred threads that were refused fetches new ones. */
static void refused_keys_are_replaced_once(void **state)
{
    (void)state;
    struct mint mint = MINT(.valid_ms = 3600000);
    struct bench bench;
    bench_mint(&bench, &mint);
    assert_int_equal(bench_get(&bench), OK);
    aws_provider_expire(bench.provider, "KEY0");
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "KEY1");
    aws_provider_expire(bench.provider, "KEY1");
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "KEY2");
    aws_provider_expire(bench.provider, "KEY1");
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "KEY2");
    mint.rc = ERROR_RETRY;
    aws_provider_expire(bench.provider, "KEY2");
    assert_int_equal(bench_get(&bench), ERROR_RETRY); /* refused ones are not given again */
    bench_close(&bench);
}

struct getter {
    struct bench *bench;
    struct aws_credentials got;
    struct error err;
    int rc;
    pthread_t thread;
};

static void *get_once(void *context)
{
    struct getter *getter = context;
    getter->rc = aws_provider_get(getter->bench->provider, &getter->got, &getter->err);
    return NULL;
}

static void mint_await(struct mint *mint, int waiting)
{
    pthread_mutex_lock(&mint->lock);
    while (mint->waiting < waiting)
        pthread_cond_wait(&mint->changed, &mint->lock);
    pthread_mutex_unlock(&mint->lock);
}

static void mint_release(struct mint *mint, int rc)
{
    pthread_mutex_lock(&mint->lock);
    mint->holds = false;
    mint->rc = rc;
    pthread_cond_broadcast(&mint->changed);
    pthread_mutex_unlock(&mint->lock);
}

/* The harm: a slow identity service is asked by every thread, and holds up those that have keys
 * for minutes to come. */
static void one_fetches_and_the_others_go_on(void **state)
{
    (void)state;
    enum { THREADS = 8 };
    for (int round = 0; round < 2; round++) {
        struct mint mint = MINT(.valid_ms = 3600000, .holds = true);
        struct bench bench;
        bench_mint(&bench, &mint);
        struct getter getters[THREADS] = {0};
        for (int i = 0; i < THREADS; i++) {
            getters[i].bench = &bench;
            assert_int_equal(pthread_create(&getters[i].thread, NULL, get_once, &getters[i]), 0);
        }
        mint_await(&mint, 1);
        mint_release(&mint, round == 0 ? OK : ERROR_RETRY);
        for (int i = 0; i < THREADS; i++)
            pthread_join(getters[i].thread, NULL);
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(getters[i].rc, round == 0 ? OK : ERROR_RETRY);
            aws_credentials_free(&getters[i].got);
        }
        if (round == 0)
            assert_int_equal(mint.count, 1);
        bench_close(&bench);
    }

    struct mint mint = MINT(.valid_ms = 3600000);
    struct bench bench;
    bench_mint(&bench, &mint);
    assert_int_equal(bench_get(&bench), OK);
    pass_ms(3600000 - 200000);
    mint.holds = true;
    struct getter getter = {.bench = &bench};
    assert_int_equal(pthread_create(&getter.thread, NULL, get_once, &getter), 0);
    mint_await(&mint, 1);
    assert_int_equal(bench_get(&bench), OK); /* while the other one is at it */
    assert_key(&bench, "KEY1");
    mint_release(&mint, OK);
    pthread_join(getter.thread, NULL);
    assert_string_equal(getter.got.access_key, "KEY2");
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "KEY2");
    assert_int_equal(mint.count, 2);
    aws_credentials_free(&getter.got);
    bench_close(&bench);
}

/* The harm: a request is signed with keys that end before it arrives. */
static void within_the_last_minute_all_wait(void **state)
{
    (void)state;
    struct mint mint = MINT(.valid_ms = 3600000);
    struct bench bench;
    bench_mint(&bench, &mint);
    assert_int_equal(bench_get(&bench), OK);
    pass_ms(3600000 - 59000);
    mint.holds = true;
    struct getter getters[2] = {{.bench = &bench}, {.bench = &bench}};
    assert_int_equal(pthread_create(&getters[0].thread, NULL, get_once, &getters[0]), 0);
    mint_await(&mint, 1);
    /* The other one reads the clock with the lock held, which it leaves only to wait. */
    int reads = atomic_load(&wall_reads);
    assert_int_equal(pthread_create(&getters[1].thread, NULL, get_once, &getters[1]), 0);
    int64_t deadline_ms = clock_mono_ms(&clock_system) + 10000;
    while (atomic_load(&wall_reads) == reads) {
        assert_true(clock_mono_ms(&clock_system) < deadline_ms);
        clock_sleep_ms(&clock_system, 1);
    }
    assert_kind(&bench, "credentials that the catalog lends");
    mint_release(&mint, OK);
    for (int i = 0; i < 2; i++) {
        pthread_join(getters[i].thread, NULL);
        assert_string_equal(getters[i].got.access_key, "KEY2");
        aws_credentials_free(&getters[i].got);
    }
    assert_int_equal(mint.count, 2);
    bench_close(&bench);
}

/* The harm: a source that gives keys that end in a minute is asked for each request. */
static void short_lived_keys_are_not_fetched_each_time(void **state)
{
    (void)state;
    struct mint mint = MINT(.valid_ms = 120000);
    struct bench bench;
    bench_mint(&bench, &mint);
    for (int i = 0; i < 100; i++)
        assert_int_equal(bench_get(&bench), OK);
    assert_int_equal(mint.count, 1);
    mint.valid_ms = -1;
    aws_provider_expire(bench.provider, "KEY1");
    assert_int_equal(bench_get(&bench), ERROR_RETRY);
    assert_says(&bench, "had expired");
    bench_close(&bench);
}

static void the_environment_comes_first(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, (struct aws_provider_options){0});
    env_set("AWS_ACCESS_KEY_ID", "AKIDENV");
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not");
    env_set("AWS_SECRET_ACCESS_KEY", "hush hush");
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_says(&bench, "the secret key has a blank");
    assert_null(strstr(bench.err.text, "hush"));
    env_set("AWS_SECRET_ACCESS_KEY", "hush");
    env_set("AWS_SESSION_TOKEN", "t\r\nX-Evil: 1");
    assert_int_equal(bench_get(&bench), ERROR_DENIED);
    assert_null(strstr(bench.err.text, "Evil"));
    env_set("AWS_SESSION_TOKEN", "");
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "AKIDENV");
    assert_null(bench.got.token);
    assert_kind(&bench, "environment");
    bench_close(&bench);
}

static void static_keys_are_checked_at_once(void **state)
{
    (void)state;
    struct bench bench;
    env_set("AWS_ACCESS_KEY_ID", "AKIDENV");
    bench_open(&bench, (struct aws_provider_options){.access_key = "AKIDSTATIC", .secret = "hush"});
    assert_int_equal(bench_get(&bench), OK);
    assert_key(&bench, "AKIDSTATIC");
    assert_kind(&bench, "static");
    bench_close(&bench);
    struct aws_provider *provider = NULL;
    struct error err;
    struct aws_provider_options options = {.access_key = "AKID"};
    assert_int_equal(aws_provider_open(&provider, &options, &err), ERROR_INPUT);
    assert_null(provider);
    aws_provider_close(NULL);
}

static void a_region_is_one_word(void **state)
{
    (void)state;
    struct bench bench;
    char region[AWS_REGION_SIZE];
    env_set("AWS_DEFAULT_REGION", "eu-west-1");
    bench_open(&bench, (struct aws_provider_options){.region = "eu-central-1"});
    assert_int_equal(aws_provider_region(bench.provider, region, &bench.err), OK);
    assert_string_equal(region, "eu-central-1");
    bench_close(&bench);
    bench_open(&bench, (struct aws_provider_options){0});
    env_set("AWS_REGION", "evil.example.org/");
    assert_int_equal(aws_provider_region(bench.provider, region, &bench.err), ERROR_DENIED);
    env_set("AWS_REGION", NULL);
    assert_int_equal(aws_provider_region(bench.provider, region, &bench.err), OK);
    assert_string_equal(region, "eu-west-1");
    bench_close(&bench);
    struct aws_provider *provider = NULL;
    static const char *const none[] = {"", "eu_west", "evil.example.org/",
                                       "0123456789012345678901234567890123456789"
                                       "012345678901234567890123"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        struct aws_provider_options options = {.region = none[i]};
        assert_int_equal(aws_provider_open(&provider, &options, &bench.err), ERROR_INPUT);
        assert_says(&bench, "is no region's name");
    }
    /* Other stores than Amazon's have capitals. */
    bench_open(&bench, (struct aws_provider_options){.region = "RegionOne"});
    assert_int_equal(aws_provider_region(bench.provider, region, &bench.err), OK);
    assert_string_equal(region, "RegionOne");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(keys_are_kept_and_fetched_ahead, test_setup),
        cmocka_unit_test_setup(old_keys_do_while_new_ones_are_not_to_be_had, test_setup),
        cmocka_unit_test_setup(refused_keys_are_replaced_once, test_setup),
        cmocka_unit_test_setup(one_fetches_and_the_others_go_on, test_setup),
        cmocka_unit_test_setup(within_the_last_minute_all_wait, test_setup),
        cmocka_unit_test_setup(short_lived_keys_are_not_fetched_each_time, test_setup),
        cmocka_unit_test_setup(the_environment_comes_first, test_setup),
        cmocka_unit_test_setup(static_keys_are_checked_at_once, test_setup),
        cmocka_unit_test_setup(a_region_is_one_word, test_setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
