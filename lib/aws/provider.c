/* SPDX-License-Identifier: Apache-2.0
 *
 * What is held, and the one flight that fetches others. A flight has no lock: whoever comes
 * meanwhile takes the old credentials if they last for another minute, or waits. Its end is a
 * new `flight` number, so that those who waited take its error and do not all try again.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/aws/internal.h"
#include "lib/base/assert.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"

enum {
    AHEAD_MS = 300000,
    AHEAD_JITTER_MS = 60000, /* so that a fleet does not ask at the same moment */
    MUST_MS = 60000,
    AGAIN_MS = 60000, /* between tries while the old ones last */
    AGAIN_MUST_MS = 5000,
    LOG_MS = 300000,
    PROCESS_MS = 60000,
    SILENCE_MS = 60000, /* a machine that starts may be sooner up than its metadata */
    EXTEND_MS = 300000, /* beyond ahead_ms: credentials that an instance got at their end */
};

/* In this order; with a profile by name, shared_fetch alone. */
static aws_member *const chain[] = {environment_fetch, web_identity_fetch, shared_fetch,
                                    container_fetch, instance_fetch};
enum { CHAIN_COUNT = sizeof chain / sizeof chain[0] };

struct aws_provider {
    struct aws_sources sources;
    struct aws_credentials fixed;
    int (*source)(void *context, struct aws_credentials *out, struct error *err);
    void *source_context;
    int64_t ahead_ms;

    pthread_mutex_t lock;
    pthread_cond_t landed;
    /* guarded by lock */
    struct aws_credentials held; /* access_key NULL: none yet */
    char kind[AWS_KIND_SIZE];
    aws_member *member; /* the one that had credentials; NULL: none yet */
    bool refused;       /* a service does not take what is held */
    bool doubted;       /* others may lie where these came from */
    bool flying;
    uint64_t flight; /* the number of flights that have landed */
    struct error flight_err;
    int64_t again_ms;    /* monotonic: no try before it while the old ones last */
    int64_t logged_ms;   /* monotonic; 0: never */
    int64_t doubt_ms;    /* monotonic: no doubt before it */
    int64_t extended_ms; /* monotonic: when that was logged; 0: never */
    int64_t silent_ms;   /* monotonic: since when nobody has answered for the instance; 0: never */
    char region[AWS_REGION_SIZE];
};

static const char *libc_getenv(const char *name)
{
    return getenv(name);
}

int aws_provider_open(struct aws_provider **out, const struct aws_provider_options *options,
                      struct error *err)
{
    *out = NULL;
    if (options->region != NULL && !aws_region_is_valid(options->region))
        return error_set(err, ERROR_INPUT, "\"%.80s\" is no region's name", options->region);
    struct aws_provider *provider = memory_alloc(1, sizeof *provider);
    provider->sources = (struct aws_sources){
        .http = options->http,
        .clock = options->clock != NULL ? options->clock : &clock_system,
        .getenv = options->getenv != NULL ? options->getenv : libc_getenv,
        .region = memory_copy_or_null(options->region),
        .profile = memory_copy_or_null(options->profile),
        .sts_url = memory_copy_or_null(options->sts_url),
        .imds_url = memory_copy_or_null(options->imds_url),
        .container_url = memory_copy_or_null(options->container_url),
        .process_ms = options->process_ms > 0 ? options->process_ms : PROCESS_MS,
    };
    provider->source = options->source;
    provider->source_context = options->source_context;
    struct random random;
    uint64_t seed;
    random_system(&seed, sizeof seed);
    random_seed(&random, seed);
    provider->ahead_ms = AHEAD_MS + (int64_t)random_below(&random, AHEAD_JITTER_MS);
    snprintf(provider->kind, sizeof provider->kind, "none yet");
    pthread_mutex_init(&provider->lock, NULL);
    clock_condition_init(&provider->landed);
    int rc = OK;
    if (options->access_key != NULL) {
        provider->fixed.access_key = memory_copy_cstr(options->access_key);
        provider->fixed.secret = memory_copy_or_null(options->secret);
        provider->fixed.token = memory_copy_or_null(options->token);
        rc = credentials_check(&provider->fixed, "static", err);
    }
    if (rc != OK) {
        aws_provider_close(provider);
        return err->code = ERROR_INPUT;
    }
    *out = provider;
    return OK;
}

void aws_provider_close(struct aws_provider *provider)
{
    if (provider == NULL)
        return;
    ASSERT(!provider->flying);
    aws_credentials_free(&provider->fixed);
    aws_credentials_free(&provider->held);
    free(provider->sources.region);
    free(provider->sources.profile);
    free(provider->sources.sts_url);
    free(provider->sources.imds_url);
    free(provider->sources.container_url);
    pthread_cond_destroy(&provider->landed);
    pthread_mutex_destroy(&provider->lock);
    free(provider);
}

/* ---- fetching ---- */

static int fetch_source(struct aws_provider *provider, struct fetched *out, struct error *err)
{
    snprintf(out->kind, sizeof out->kind, "credentials that the catalog lends");
    return provider->source(provider->source_context, &out->credentials, err);
}

static int fetch_fixed(struct aws_provider *provider, struct fetched *out)
{
    snprintf(out->kind, sizeof out->kind, "static");
    aws_credentials_copy(&out->credentials, &provider->fixed);
    return OK;
}

/* That metadata does not answer is final only after a while. */
static enum error_code silence_code(struct aws_provider *provider, bool unanswered)
{
    int64_t now_ms = clock_mono_ms(provider->sources.clock);
    pthread_mutex_lock(&provider->lock);
    if (unanswered && provider->silent_ms == 0)
        provider->silent_ms = now_ms > 0 ? now_ms : 1;
    bool waits = unanswered && now_ms < provider->silent_ms + SILENCE_MS;
    pthread_mutex_unlock(&provider->lock);
    return waits ? ERROR_RETRY : ERROR_DENIED;
}

/* The first member that has any; it is kept to. */
static int fetch_chain(struct aws_provider *provider, aws_member **member, struct fetched *out,
                       struct error *err)
{
    struct buf tried = {.max = sizeof err->text};
    for (size_t i = 0; i < CHAIN_COUNT; i++) {
        if (provider->sources.profile != NULL && chain[i] != shared_fetch)
            continue;
        int rc = chain[i](&provider->sources, out, err);
        if (rc != OK || out->credentials.access_key != NULL) {
            *member = rc == OK ? chain[i] : NULL;
            buf_free(&tried);
            return rc;
        }
        buf_printf(&tried, "%s%s", tried.len > 0 ? ", " : "", out->absent);
    }
    int rc = error_set(err, silence_code(provider, out->unanswered), "no AWS credentials: %s",
                       buf_cstr(&tried));
    buf_free(&tried);
    return rc;
}

/* An instance's metadata that cannot renew them goes on giving the old ones, and S3 is told to go
 * on taking them. Others are asked for in five to ten minutes; who takes these no more says so. */
static void extend(const struct aws_provider *provider, struct fetched *out, int64_t now_ms)
{
    int64_t spread_ms = 5 * (provider->ahead_ms - AHEAD_MS);
    out->over_ms = now_ms - out->credentials.expires_ms;
    out->is_extended = true;
    out->credentials.expires_ms = now_ms + provider->ahead_ms + EXTEND_MS + spread_ms;
}

static int fetch(struct aws_provider *provider, aws_member **member, struct fetched *out,
                 struct error *err)
{
    int rc = OK;
    if (provider->fixed.access_key != NULL)
        rc = fetch_fixed(provider, out);
    else if (provider->source != NULL)
        rc = fetch_source(provider, out, err);
    else if (*member != NULL)
        rc = (*member)(&provider->sources, out, err);
    else
        rc = fetch_chain(provider, member, out, err);
    if (rc == OK && out->credentials.access_key == NULL)
        rc = error_set(err, out->unanswered ? ERROR_RETRY : ERROR_DENIED,
                       "no AWS credentials any more: %s", out->absent);
    if (rc == OK)
        rc = credentials_check(&out->credentials, out->kind, err);
    int64_t now_ms = clock_wall_ms(provider->sources.clock);
    bool is_over = out->credentials.expires_ms != 0 && out->credentials.expires_ms <= now_ms;
    if (rc == OK && is_over && *member == instance_fetch)
        extend(provider, out, now_ms);
    else if (rc == OK && is_over)
        rc = error_set(err, ERROR_RETRY, "%s: the credentials had expired when they came",
                       out->kind);
    /* For whoever stores an event these are the only two: nothing of the event's is wrong. */
    if (rc != OK && rc != ERROR_RETRY) {
        err->code = ERROR_DENIED;
        rc = ERROR_DENIED;
    }
    return rc;
}

/* ---- what is held ---- */

/* How long what is held may still be used: INT64_MAX without an end, <= 0 not at all. */
static int64_t held_ms(const struct aws_provider *provider, int64_t now_ms)
{
    if (provider->held.access_key == NULL || provider->refused)
        return 0;
    return provider->held.expires_ms == 0 ? INT64_MAX : provider->held.expires_ms - now_ms;
}

/* No other try for a while, as long as what is held lasts. */
static int64_t set_pause(struct aws_provider *provider, int64_t left_ms)
{
    int64_t mono_ms = clock_mono_ms(provider->sources.clock);
    provider->again_ms = mono_ms + (left_ms > MUST_MS ? AGAIN_MS : AGAIN_MUST_MS);
    return mono_ms;
}

static void keep_old(struct aws_provider *provider, int64_t left_ms, const struct error *err)
{
    int64_t mono_ms = set_pause(provider, left_ms);
    if (provider->logged_ms != 0 && mono_ms < provider->logged_ms + LOG_MS)
        return;
    provider->logged_ms = mono_ms;
    log_event(LOG_LEVEL_WARN, "aws", "credentials could not be renewed, the old ones are used",
              "kind=\"%s\" seconds_left=%lld error=\"%s\"", provider->kind,
              (long long)(left_ms == INT64_MAX ? -1 : left_ms / 1000), err->text);
}

static void keep_new(struct aws_provider *provider, const struct fetched *fetched,
                     aws_member *member)
{
    aws_credentials_copy(&provider->held, &fetched->credentials);
    memcpy(provider->kind, fetched->kind, sizeof provider->kind);
    provider->member = member;
    provider->refused = false;
    provider->logged_ms = 0;
    /* Instance metadata hands out the same until shortly before their end. */
    int64_t left_ms = held_ms(provider, clock_wall_ms(provider->sources.clock));
    int64_t mono_ms = set_pause(provider, left_ms);
    bool say = provider->extended_ms == 0 || mono_ms >= provider->extended_ms + LOG_MS;
    if (!fetched->is_extended) {
        provider->extended_ms = 0;
    } else if (say) {
        provider->extended_ms = mono_ms;
        log_event(LOG_LEVEL_WARN, "aws",
                  "credentials had expired when they came, they are used all the same",
                  "kind=\"%s\" expired_seconds_ago=%lld next_try_in_seconds=%lld", provider->kind,
                  (long long)(fetched->over_ms / 1000),
                  (long long)((left_ms - provider->ahead_ms) / 1000));
    }
}

/* Called and left with the lock held. */
static void fly(struct aws_provider *provider)
{
    provider->flying = true;
    provider->doubted = false;
    aws_member *member = provider->member;
    pthread_mutex_unlock(&provider->lock);
    struct fetched fetched = {0};
    struct error err = {0};
    int rc = fetch(provider, &member, &fetched, &err);
    pthread_mutex_lock(&provider->lock);
    provider->flying = false;
    provider->flight++;
    provider->flight_err = err;
    if (rc == OK) {
        provider->flight_err.code = OK;
        keep_new(provider, &fetched, member);
    } else {
        int64_t left_ms = held_ms(provider, clock_wall_ms(provider->sources.clock));
        if (left_ms > 0)
            keep_old(provider, left_ms, &err);
    }
    aws_credentials_free(&fetched.credentials);
    pthread_cond_broadcast(&provider->landed);
}

/* With the lock held: until what is held is good, or a flight that ended after we came failed. */
static int get_locked(struct aws_provider *provider, struct error *err)
{
    uint64_t came = provider->flight;
    for (;;) {
        int64_t left_ms = held_ms(provider, clock_wall_ms(provider->sources.clock));
        bool landed = provider->flight != came;
        bool wants = provider->doubted && !landed;
        if ((left_ms > provider->ahead_ms && !wants) || (landed && left_ms > 0))
            return OK;
        if (landed && provider->flight_err.code != OK) {
            *err = provider->flight_err;
            return err->code;
        }
        if (left_ms > 0 && !wants && clock_mono_ms(provider->sources.clock) < provider->again_ms)
            return OK;
        if (provider->flying && left_ms > MUST_MS)
            return OK;
        if (provider->flying)
            clock_condition_wait(&provider->landed, &provider->lock, 1000);
        else
            fly(provider);
    }
}

int aws_provider_get(struct aws_provider *provider, struct aws_credentials *out, struct error *err)
{
    pthread_mutex_lock(&provider->lock);
    int rc = get_locked(provider, err);
    if (rc == OK)
        aws_credentials_copy(out, &provider->held);
    pthread_mutex_unlock(&provider->lock);
    return rc;
}

void aws_provider_expire(struct aws_provider *provider, const char *access_key)
{
    pthread_mutex_lock(&provider->lock);
    if (provider->held.access_key != NULL && strcmp(provider->held.access_key, access_key) == 0)
        provider->refused = true;
    pthread_mutex_unlock(&provider->lock);
}

void aws_provider_doubt(struct aws_provider *provider, const char *access_key)
{
    int64_t mono_ms = clock_mono_ms(provider->sources.clock);
    pthread_mutex_lock(&provider->lock);
    if (provider->member == shared_fetch && provider->held.expires_ms == 0 &&
        mono_ms >= provider->doubt_ms && strcmp(provider->held.access_key, access_key) == 0) {
        provider->doubted = true;
        provider->doubt_ms = mono_ms + AGAIN_MUST_MS;
    }
    pthread_mutex_unlock(&provider->lock);
}

void aws_provider_kind(struct aws_provider *provider, char out[AWS_KIND_SIZE])
{
    pthread_mutex_lock(&provider->lock);
    memcpy(out, provider->kind, AWS_KIND_SIZE);
    pthread_mutex_unlock(&provider->lock);
}

/* ---- region and endpoint ---- */

int aws_provider_endpoint(const struct aws_provider *provider, const char *service,
                          struct aws_endpoint *out, struct error *err)
{
    return sources_endpoint(&provider->sources, service, out, err);
}

int sources_region(const struct aws_sources *sources, char out[AWS_REGION_SIZE], struct error *err)
{
    static const char *const names[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
    snprintf(out, AWS_REGION_SIZE, "%s", sources->region != NULL ? sources->region : "");
    for (size_t i = 0; i < 2 && out[0] == 0; i++) {
        const char *region = sources_env(sources, names[i]);
        if (region != NULL && !aws_region_is_valid(region))
            return error_set(err, ERROR_DENIED, "%s is no region: \"%.64s\"", names[i], region);
        snprintf(out, AWS_REGION_SIZE, "%s", region != NULL ? region : "");
    }
    return OK;
}

static int find_region(struct aws_provider *provider, char out[AWS_REGION_SIZE], struct error *err)
{
    const struct aws_sources *sources = &provider->sources;
    bool unanswered = false;
    int rc = sources_region(sources, out, err);
    if (rc == OK && out[0] == 0)
        rc = shared_region(sources, out, err);
    if (rc == OK && out[0] == 0) {
        rc = instance_region(sources, out, &unanswered, err);
        if (unanswered)
            rc = err->code = silence_code(provider, true);
        if (rc != OK)
            (void)error_wrap(err, "no AWS region: AWS_REGION is not set, the profile has none");
    }
    if (rc != OK && rc != ERROR_RETRY) {
        err->code = ERROR_DENIED;
        rc = ERROR_DENIED;
    }
    return rc;
}

int aws_provider_region(struct aws_provider *provider, char out[AWS_REGION_SIZE], struct error *err)
{
    pthread_mutex_lock(&provider->lock);
    memcpy(out, provider->region, AWS_REGION_SIZE);
    pthread_mutex_unlock(&provider->lock);
    if (out[0] != 0)
        return OK;
    int rc = find_region(provider, out, err);
    if (rc != OK)
        return rc;
    pthread_mutex_lock(&provider->lock);
    memcpy(provider->region, out, AWS_REGION_SIZE);
    pthread_mutex_unlock(&provider->lock);
    return OK;
}
