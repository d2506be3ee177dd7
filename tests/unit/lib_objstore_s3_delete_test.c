/* SPDX-License-Identifier: Apache-2.0
 *
 * Removing many from the S3 store, against a script of answers.
 */
#include "tests/unit/lib_objstore_s3_support.h"

#define DELETE_MANY "POST /lake?delete= HTTP/1.1"
#define DELETE_ONE(key) "DELETE /lake/wh/" key " HTTP/1.1"
#define RESULT(errors) "<DeleteResult>" errors "</DeleteResult>"
#define STAYS(key, code)                                                                           \
    "<Error><Key>wh/" key "</Key><Code>" code "</Code><Message>so it is</Message></Error>"

static int remove_three(struct bench *bench)
{
    static const char *const keys[] = {"a", "b&<c", "d"};
    return objstore_remove_many(bench->store, keys, 3, &bench->err);
}

static const char *body_of(struct bench *bench, size_t request)
{
    return strstr(buf_cstr(&bench->heard[request]), "\r\n\r\n") + 4;
}

/* The harm: a request an object; a store that refuses a body without its checksum. */
static void many_go_in_one_request(void **state)
{
    (void)state;
    struct bench bench = {.steps = {{DELETE_MANY, "200 OK", NULL, RESULT("")}}};
    bench_open(&bench);
    assert_int_equal(remove_three(&bench), OK);
    const char *body = body_of(&bench, 0);
    assert_string_equal(body, "<Delete><Quiet>true</Quiet><Object><Key>wh/a</Key></Object>"
                              "<Object><Key>wh/b&amp;&lt;c</Key></Object>"
                              "<Object><Key>wh/d</Key></Object></Delete>");
    char crc[S3_CRC_FIELD_SIZE];
    s3_crc_field(crc32c(0, slice_cstr(body)), crc);
    assert_true(was_said(&bench, 0, crc));
    assert_true(was_said(&bench, 0, "Content-MD5: xCNO5tCiB61t2D4EFdjZqA==\r\n"));
    bench_close(&bench);
}

/* The harm: what stays is taken for removed, what was gone before for an error, or trouble for a
 * right that is missing. */
static void what_stays_is_an_error(void **state)
{
    (void)state;
    static const struct {
        const char *status;
        const char *body;
        enum error_code code;
    } rows[] = {
        {"200 OK", RESULT(STAYS("a", "NoSuchKey")), OK},
        {"200 OK", RESULT(STAYS("a", "NoSuchKey") STAYS("d", "InternalError")), ERROR_RETRY},
        {"200 OK", RESULT("<Error/>"), ERROR_RETRY},
        {"200 OK", XML_ERROR("InternalError"), ERROR_RETRY},
        {"200 OK", "", ERROR_RETRY},
        {"503 Slow Down", XML_ERROR("SlowDown"), ERROR_RETRY},
        {NULL, NULL, ERROR_RETRY},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench bench = {.steps = {{DELETE_MANY, rows[i].status, NULL, rows[i].body}}};
        bench_open(&bench);
        int rc = remove_three(&bench);
        if (rc != (int)rows[i].code)
            fail_msg("row %zu: %d %s", i, rc, bench.err.text);
        if (i == 1)
            assert_string_equal(bench.err.text,
                                "remove 3 objects from a on: DeleteObjects in bucket lake: wh/d "
                                "stays: InternalError (so it is)");
        bench_close(&bench);
    }
}

/* The harm: a right is missing, and nobody is told which, and whose. */
static void a_refusal_is_told_as_that_of_one(void **state)
{
    (void)state;
    struct bench bench = {
        .steps = {{DELETE_MANY, "200 OK", NULL, RESULT(STAYS("d", "AccessDenied"))},
                  {DELETE_ONE("a"), "204 Gone", NULL, NULL},
                  {DELETE_ONE("b%26%3Cc"), "204 Gone", NULL, NULL},
                  {DELETE_ONE("d"), "403 No", NULL, XML_ERROR("AccessDenied")}}};
    bench_open(&bench);
    assert_int_equal(remove_three(&bench), ERROR_DENIED);
    assert_string_equal(bench.err.text,
                        "remove d: DeleteObject in bucket lake: 403 AccessDenied (so it is); the "
                        "right is missing; s3:DeleteObject of environment in us-east-1");
    bench_close(&bench);
}

/* The harm: an inbox that is never cleared, on a store that doesn't know the operation. */
static void a_store_without_it_is_asked_one_by_one(void **state)
{
    (void)state;
    static const char *const refusals[][2] = {{"501 No", XML_ERROR("NotImplemented")},
                                              {"405 No", XML_ERROR("MethodNotAllowed")},
                                              {"400 No", XML_ERROR("MalformedXML")},
                                              {"403 No", XML_ERROR("AccessDenied")}};
    static const char *const keys[] = {"a"};
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct bench bench = {.steps = {{DELETE_MANY, refusals[i][0], NULL, refusals[i][1]},
                                        {DELETE_ONE("a"), "204 Gone", NULL, NULL},
                                        {DELETE_ONE("b%26%3Cc"), "204 Gone", NULL, NULL},
                                        {DELETE_ONE("d"), "204 Gone", NULL, NULL},
                                        {DELETE_ONE("a"), "204 Gone", NULL, NULL}}};
        bench_open(&bench);
        assert_int_equal(remove_three(&bench), OK);
        assert_int_equal(objstore_remove_many(bench.store, keys, 1, &bench.err), OK);
        bench_close(&bench);
    }
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_go_in_one_request),
        cmocka_unit_test(what_stays_is_an_error),
        cmocka_unit_test(a_refusal_is_told_as_that_of_one),
        cmocka_unit_test(a_store_without_it_is_asked_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
