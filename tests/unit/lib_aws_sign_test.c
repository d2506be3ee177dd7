/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures that others made: the examples of the S3 documentation, and what botocore 1.44.5
 * says of the same requests. */
#include "lib/aws/aws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DAY_2013_S = 1369353600 };

static struct aws_credentials credentials(const char *access_key, const char *secret,
                                          const char *token)
{
    struct aws_credentials made = {0};
    struct aws_credentials from = {.access_key = (char *)(uintptr_t)access_key,
                                   .secret = (char *)(uintptr_t)secret,
                                   .token = (char *)(uintptr_t)token};
    aws_credentials_copy(&made, &from);
    return made;
}

static const char *field_of(const struct aws_signed *made, const char *name)
{
    for (size_t i = 0; i < made->field_count; i++) {
        size_t len = strlen(name);
        if (strncmp(made->fields[i], name, len) == 0 && made->fields[i][len] == ':')
            return made->fields[i] + len + 2;
    }
    return NULL;
}

static void check(const struct aws_request *request, const char *scope, const char *names,
                  const char *signature)
{
    struct aws_signed made = {0};
    char wanted[512];
    snprintf(wanted, sizeof wanted,
             "AWS4-HMAC-SHA256 Credential=%s/%s/aws4_request, SignedHeaders=%s, Signature=%s",
             request->credentials->access_key, scope, names, signature);
    aws_sign(&made, request);
    assert_string_equal(field_of(&made, "Authorization"), wanted);
    for (size_t i = 0; i < request->field_count; i++)
        assert_string_equal(made.fields[i], request->fields[i]);
    aws_signed_free(&made);
}

/* The harm: every request to S3 is refused. */
static void the_examples_of_s3(void **state)
{
    (void)state;
    struct aws_credentials keys =
        credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL);
    const char scope[] = "20130524/us-east-1/s3";
    const struct aws_request base = {.method = "GET",
                                     .host = "examplebucket.s3.amazonaws.com",
                                     .path = "/test.txt",
                                     .payload_hash = AWS_EMPTY_PAYLOAD,
                                     .service = "s3",
                                     .region = "us-east-1",
                                     .now_ms = (int64_t)DAY_2013_S * 1000,
                                     .credentials = &keys};
    const char *range[] = {"Range: bytes=0-9"};
    struct aws_request request = base;
    request.fields = range;
    request.field_count = 1;
    check(&request, scope, "host;range;x-amz-content-sha256;x-amz-date",
          "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");

    const char *put[] = {"Date: Fri, 24 May 2013 00:00:00 GMT",
                         "x-amz-storage-class: REDUCED_REDUNDANCY"};
    request = base;
    request.method = "PUT";
    request.path = "/test%24file.text";
    request.fields = put;
    request.field_count = 2;
    request.payload_hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    check(&request, scope, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
          "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");

    request = base;
    request.path = "";
    request.query = "lifecycle";
    check(&request, scope, "host;x-amz-content-sha256;x-amz-date",
          "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");

    const char *seed[] = {"content-encoding: aws-chunked", "content-length: 66824",
                          "x-amz-decoded-content-length: 66560",
                          "x-amz-storage-class: REDUCED_REDUNDANCY"};
    request = base;
    request.method = "PUT";
    request.host = "s3.amazonaws.com";
    request.path = "/examplebucket/chunkObject.txt";
    request.fields = seed;
    request.field_count = 4;
    request.payload_hash = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    check(&request, scope,
          "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
          "x-amz-decoded-content-length;x-amz-storage-class",
          "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
    aws_credentials_free(&keys);
}

#define TOKEN "IQoJb3JpZ2luX2VjEXAMPLETOKEN//////////wEaCXVzLWVhc3QtMSJ="

struct vector {
    const char *service;
    const char *region;
    const char *method;
    const char *host;
    const char *path;
    const char *query;
    const char *fields[3];
    const char *payload_hash;
    const char *token;
    const char *names;
    const char *signature;
};

static const struct vector vectors[] = {
    {.service = "glue",
     .region = "eu-central-1",
     .method = "POST",
     .host = "glue.eu-central-1.amazonaws.com",
     .path = "/",
     .fields = {"Content-Type: application/x-amz-json-1.1", "X-Amz-Target: AWSGlue.GetTable"},
     .payload_hash = "0bd63795fa83abd70f10c7b44ec30ec8876a8939c2211f9c63d6015884da0225",
     .token = TOKEN,
     .names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target",
     .signature = "fe1968b7467683982637c7aebb4a9a228bedb4697d398c7142080717b5ac2933"},
    /* A path that is encoded a second time, with a payload hash by the service's name. */
    {.service = "s3tables",
     .region = "us-east-2",
     .method = "GET",
     .host = "s3tables.us-east-2.amazonaws.com",
     .path = "/iceberg/v1/arn%3Aaws%3As3tables%3Aus-east-2%3A1%3Abucket%2Fb/namespaces/a%1Fb/"
             "tables",
     .payload_hash = AWS_EMPTY_PAYLOAD,
     .names = "host;x-amz-content-sha256;x-amz-date",
     .signature = "6d2b9fd5bc424b488441599bc8164ddb3d0c64c2b678d15288d18bce46e96b80"},
    /* Dots and double slashes go; the query is sorted by name, then by value. */
    {.service = "execute-api",
     .region = "us-east-1",
     .method = "GET",
     .host = "x.example.org",
     .path = "/a/../b//c/./d/",
     .query = "z=1&a-b=2&a=3&a=1&empty=&flag=",
     .payload_hash = AWS_EMPTY_PAYLOAD,
     .names = "host;x-amz-date",
     .signature = "d29ae3406b7ec91c131c723122a59bd012254dc12e6215bcff07939e401d7fe9"},
    /* Blanks in values, one name twice, a port in the host. */
    {.service = "execute-api",
     .region = "us-east-1",
     .method = "GET",
     .host = "x.example.org:8443",
     .path = "",
     .fields = {"My-Header:   a   b  c ", "my-list: one", "My-List: two"},
     .payload_hash = AWS_EMPTY_PAYLOAD,
     .token = TOKEN,
     .names = "host;my-header;my-list;x-amz-date;x-amz-security-token",
     .signature = "396aad52de6a1bd4359930a34ef95a3453e3355573682d2a3592136f9f5cbd0c"},
    /* A key of S3 keeps its dots and is encoded once. */
    {.service = "s3",
     .region = "eu-west-3",
     .method = "PUT",
     .host = "127.0.0.1:9000",
     .path = "/bucket/a%3D1/../x%20%2B%C3%A9~",
     .fields = {"Content-Type: application/octet-stream", "x-amz-checksum-crc32c: yZRlqg=="},
     .payload_hash = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
     .token = TOKEN,
     .names = "content-type;host;x-amz-checksum-crc32c;x-amz-content-sha256;x-amz-date;"
              "x-amz-security-token",
     .signature = "13ed26e044572fce6f12c0e5acdae80d3843e8e30ef0b87b1d8eb2071fe591ea"},
    {.service = "s3",
     .region = "eu-west-3",
     .method = "GET",
     .host = "b.s3.eu-west-3.amazonaws.com",
     .path = "/",
     .query = "list-type=2&prefix=a%2Fb%3D&continuation-token=1%2B%2F%3D",
     .payload_hash = AWS_EMPTY_PAYLOAD,
     .names = "host;x-amz-content-sha256;x-amz-date",
     .signature = "9fe02317264ef675297f4b2558427eb658acdfed5fb1a38f4b2e5388aee95291"},
    {.service = "sts",
     .region = "us-gov-west-1",
     .method = "POST",
     .host = "sts.us-gov-west-1.amazonaws.com",
     .path = "/",
     .fields = {"Content-Type: application/x-www-form-urlencoded; charset=utf-8"},
     .payload_hash = "ab821ae955788b0e33ebd34c208442ccfc2d406e2edc5e7a39bd6458fbb4f843",
     .names = "content-type;host;x-amz-date",
     .signature = "69bd4766b160862d064c6de74d08070dacd6fff846ab9216e8392c5874b06fa8"},
};

/* The harm: Glue, S3 Tables or a key with an odd name is refused, and only that. */
static void what_botocore_signs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const struct vector *vector = &vectors[i];
        struct aws_credentials keys =
            credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", vector->token);
        struct aws_request request = {.method = vector->method,
                                      .host = vector->host,
                                      .path = vector->path,
                                      .query = vector->query,
                                      .fields = vector->fields,
                                      .payload_hash = vector->payload_hash,
                                      .service = vector->service,
                                      .region = vector->region,
                                      .now_ms = INT64_C(1795252087999),
                                      .credentials = &keys};
        while (request.field_count < 3 && vector->fields[request.field_count] != NULL)
            request.field_count++;
        char scope[128];
        snprintf(scope, sizeof scope, "20261121/%s/%s", vector->region, vector->service);
        check(&request, scope, vector->names, vector->signature);
        aws_credentials_free(&keys);
    }
}

/* The harm: a server checks the signature over a field that was not sent. */
static void what_is_signed_is_in_the_list(void **state)
{
    (void)state;
    struct aws_credentials keys = credentials("AKIDEXAMPLE", "secret", "a token");
    const char *fields[] = {"X-Empty;"};
    struct aws_request request = {.method = "GET",
                                  .host = "h",
                                  .path = "/",
                                  .fields = fields,
                                  .field_count = 1,
                                  .payload_hash = AWS_UNSIGNED_PAYLOAD,
                                  .service = "glue",
                                  .region = "r",
                                  .credentials = &keys};
    struct aws_signed made = {0};
    aws_sign(&made, &request);
    assert_int_equal(made.field_count, 4);
    assert_string_equal(made.fields[0], "X-Empty;");
    assert_string_equal(field_of(&made, "x-amz-date"), "19700101T000000Z");
    assert_string_equal(field_of(&made, "x-amz-security-token"), "a token");
    assert_null(field_of(&made, "x-amz-content-sha256"));
    assert_non_null(strstr(field_of(&made, "Authorization"),
                           "SignedHeaders=host;x-amz-date;x-amz-security-token;x-empty,"));
    assert_null(strstr(field_of(&made, "Authorization"), "secret"));
    request.send_payload_hash = true;
    aws_sign(&made, &request);
    assert_int_equal(made.field_count, 5);
    assert_string_equal(field_of(&made, "x-amz-content-sha256"), AWS_UNSIGNED_PAYLOAD);
    aws_signed_free(&made);
    aws_credentials_free(&keys);
    assert_null(keys.secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_s3),
        cmocka_unit_test(what_botocore_signs),
        cmocka_unit_test(what_is_signed_is_in_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
