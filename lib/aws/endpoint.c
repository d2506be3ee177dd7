/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a service is: at a URL that the environment or the shared files give, the service's own
 * before that of all; else at Amazon's, whose names follow the partition that the region is in.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/aws/internal.h"
#include "lib/base/memory.h"

void aws_endpoint_free(struct aws_endpoint *endpoint)
{
    free(endpoint->url);
    *endpoint = (struct aws_endpoint){0};
}

static bool is_true(const char *text)
{
    return text != NULL && strcasecmp(text, "true") == 0;
}

/* By the environment, else by the profile. */
static int flag_find(const struct aws_sources *sources, const char *name, const char *key,
                     bool *out, struct error *err)
{
    const char *set = sources_env(sources, name);
    char *found = NULL;
    int rc = OK;
    if (set == NULL)
        rc = shared_setting(sources, NULL, key, &found, err);
    *out = is_true(set != NULL ? set : found);
    free(found);
    return rc;
}

static int url_find(const struct aws_sources *sources, const char *service, char **out,
                    struct error *err)
{
    char name[64];
    snprintf(name, sizeof name, "AWS_ENDPOINT_URL_%s", service);
    for (char *at = name; *at != 0; at++)
        *at = (char)toupper((unsigned char)*at);
    const char *set = sources_env(sources, name);
    if (set == NULL)
        set = sources_env(sources, "AWS_ENDPOINT_URL");
    *out = memory_copy_or_null(set);
    int rc = OK;
    if (*out == NULL)
        rc = shared_setting(sources, service, "endpoint_url", out, err);
    if (rc == OK && *out == NULL)
        rc = shared_setting(sources, NULL, "endpoint_url", out, err);
    return rc;
}

int sources_endpoint(const struct aws_sources *sources, const char *service,
                     struct aws_endpoint *out, struct error *err)
{
    bool ignored = false;
    aws_endpoint_free(out);
    int rc = flag_find(sources, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
                       "ignore_configured_endpoint_urls", &ignored, err);
    if (rc == OK)
        rc = flag_find(sources, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint", &out->fips, err);
    if (rc == OK)
        rc = flag_find(sources, "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint",
                       &out->dual_stack, err);
    if (rc == OK && !ignored)
        rc = url_find(sources, service, &out->url, err);
    return rc == OK ? OK : error_wrap(err, "endpoint of %s", service);
}

/* From the most special to the most general; NULL: without dual stack. */
static const struct {
    const char *region;
    const char *suffix;
    const char *dual_stack;
} partitions[] = {
    {"cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
    {"eusc-", "amazonaws.eu", NULL},
    {"us-iso-", "c2s.ic.gov", "api.aws.ic.gov"},
    {"us-isob-", "sc2s.sgov.gov", "api.aws.scloud"},
    {"eu-isoe-", "cloud.adc-e.uk", NULL},
    {"us-isof-", "csp.hci.ic.gov", NULL},
    {"", "amazonaws.com", "api.aws"},
};

int aws_host(const char *service, const char *region, const struct aws_endpoint *endpoint,
             struct buf *out, struct error *err)
{
    bool is_s3 = strcmp(service, "s3") == 0;
    bool fips = endpoint->fips;
    size_t i = 0;
    while (strncmp(region, partitions[i].region, strlen(partitions[i].region)) != 0)
        i++;
    if (fips && is_s3 && strncmp(region, "cn-", 3) == 0)
        return error_set(err, ERROR_INPUT, "use_fips_endpoint: S3 has none in %s", region);
    if (endpoint->dual_stack && partitions[i].dual_stack == NULL)
        return error_set(err, ERROR_INPUT, "use_dualstack_endpoint: there is none in %s", region);
    /* There all of them are. */
    if (fips && !is_s3 && !endpoint->dual_stack && strncmp(region, "us-gov-", 7) == 0)
        fips = false;
    buf_printf(out, "%s%s.", service, fips ? "-fips" : "");
    if (endpoint->dual_stack && is_s3)
        buf_put_cstr(out, "dualstack.");
    buf_printf(out, "%s.%s", region,
               endpoint->dual_stack && !is_s3 ? partitions[i].dual_stack : partitions[i].suffix);
    return OK;
}
