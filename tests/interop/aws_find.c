/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints what the environment and the shared files mean to us, for a comparison with botocore:
 * a line each for region, access key, secret, token, and the URLs of S3 and STS. Instead of what
 * is not to be had stands "error". Arguments: [PROFILE]
 */
#include <stdio.h>
#include <string.h>

#include "lib/aws/aws.h"
#include "lib/http_client/http_client.h"

static void url_print(struct aws_provider *provider, const char *service, const char *region)
{
    struct aws_endpoint endpoint = {0};
    struct buf url = {0};
    struct error err;
    int rc = aws_provider_endpoint(provider, service, &endpoint, &err);
    if (rc == OK && endpoint.url != NULL) {
        buf_put_cstr(&url, endpoint.url);
    } else if (rc == OK) {
        buf_put_cstr(&url, "https://");
        rc = aws_host(service, region, &endpoint, &url, &err);
    }
    /* With or without a slash at its end: the same place. */
    while (url.len > 0 && url.data[url.len - 1] == '/')
        url.len--;
    printf("%s=%s\n", service, rc == OK ? buf_cstr(&url) : "error");
    if (rc != OK)
        fprintf(stderr, "%s: %s\n", service, err.text);
    aws_endpoint_free(&endpoint);
    buf_free(&url);
}

int main(int argc, char **argv)
{
    struct http_client *http = NULL;
    struct aws_provider *provider = NULL;
    struct aws_credentials got = {0};
    struct error err;
    char region[AWS_REGION_SIZE] = "";
    struct http_client_options options = {0};
    if (http_client_open(&http, &options, &err) != OK)
        return 2;
    struct aws_provider_options wanted = {.http = http, .profile = argc > 1 ? argv[1] : NULL};
    if (aws_provider_open(&provider, &wanted, &err) != OK)
        return 2;
    bool has_region = aws_provider_region(provider, region, &err) == OK;
    printf("region=%s\n", has_region ? region : "error");
    if (aws_provider_get(provider, &got, &err) == OK) {
        printf("key=%s\nsecret=%s\ntoken=%s\n", got.access_key, got.secret,
               got.token != NULL ? got.token : "");
    } else {
        printf("key=error\n");
        fprintf(stderr, "credentials: %s\n", err.text);
    }
    url_print(provider, "s3", has_region ? region : "us-east-1");
    url_print(provider, "sts", has_region ? region : "us-east-1");
    aws_credentials_free(&got);
    aws_provider_close(provider);
    http_client_close(http);
    return 0;
}
