/* SPDX-License-Identifier: Apache-2.0
 *
 * Bodies that go in parts, and what is left of them, against a script of answers.
 */
#include "tests/unit/lib_objstore_s3_support.h"

enum { LARGE = 11 << 20 };

#define CREATE "POST /lake/wh/a?uploads="
#define SWEEP "GET /lake?uploads="
#define PART1 "PUT /lake/wh/a?partNumber=1&uploadId=u%2F1 "
#define PART2 "PUT /lake/wh/a?partNumber=2&uploadId=u%2F1 "
#define PART3 "PUT /lake/wh/a?partNumber=3&uploadId=u%2F1 "
#define COMPLETE "POST /lake/wh/a?uploadId=u%2F1 "
#define ABORT "DELETE /lake/wh/a?uploadId=u%2F1 "
#define NO_UPLOADS                                                                                 \
    {                                                                                              \
        SWEEP, "403 No", NULL, XML_ERROR("AccessDenied")                                           \
    }
#define CREATED                                                                                    \
    {                                                                                              \
        CREATE, "200 OK", NULL,                                                                    \
            "<InitiateMultipartUploadResult><UploadId>u/1</UploadId>"                              \
            "</InitiateMultipartUploadResult>"                                                     \
    }
#define PARTS                                                                                      \
    {PART1, "200 OK", "ETag: \"e1\"\r\n", ""}, {PART2, "200 OK", "ETag: \"e2\"\r\n", ""},          \
    {                                                                                              \
        PART3, "200 OK", "ETag: \"e3\"\r\n", ""                                                    \
    }
#define COMPLETED                                                                                  \
    {                                                                                              \
        COMPLETE, "200 OK", NULL, "  <CompleteMultipartUploadResult/>"                             \
    }

static int put_large(struct bench *bench, enum put_condition condition)
{
    uint8_t *bytes = memory_alloc(LARGE, 1);
    int rc = objstore_put_bytes(bench->store, "a", slice_of(bytes, LARGE), condition, &bench->err);
    free(bytes);
    return rc;
}

static void large_bodies_go_in_parts(void **state)
{
    (void)state;
    struct bench bench = {.steps = {NO_UPLOADS,
                                    {HEAD_A, "404 No", NULL, NULL},
                                    {GET_A, "404 No", NULL, XML_ERROR("NoSuchKey")},
                                    CREATED,
                                    PARTS,
                                    COMPLETED}};
    bench_open(&bench);
    assert_int_equal(put_large(&bench, PUT_IF_ABSENT), OK);
    assert_true(was_said(&bench, 3, "x-amz-checksum-algorithm: CRC32C\r\n"));
    assert_true(was_said(&bench, 3, "x-amz-checksum-type: FULL_OBJECT\r\n"));
    assert_true(was_said(&bench, 3, "x-amz-server-side-encryption: aws:kms\r\n"));
    assert_true(was_said(&bench, 4, "Content-Length: 5242880\r\n"));
    assert_true(was_said(&bench, 6, "Content-Length: 1048576\r\n"));
    assert_true(was_said(&bench, 4, "x-amz-checksum-crc32c: "));
    assert_true(was_said(&bench, 7, "If-None-Match: *\r\n"));
    assert_true(was_said(&bench, 7, "x-amz-checksum-type: FULL_OBJECT\r\n"));
    const char *body = strstr(buf_cstr(&bench.heard[7]), "\r\n\r\n") + 4;
    assert_non_null(
        strstr(body, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"));
    assert_non_null(strstr(body, "<PartNumber>3</PartNumber>"));
    assert_non_null(strstr(body, "e3"));
    assert_null(strstr(body, "<PartNumber>4"));
    bench_close(&bench);
}

/* The harm: 10 GB sent again for one part; parts of a failed upload paid for, for ever. */
static void parts_are_tried_again_and_what_fails_is_aborted(void **state)
{
    (void)state;
    static const struct step busy = {PART1, "500 Oh", NULL, XML_ERROR("InternalError")};
    struct bench bench = {.steps = {NO_UPLOADS,
                                    CREATED,
                                    busy,
                                    {PART1, NULL, NULL, NULL},
                                    PARTS,
                                    COMPLETED,
                                    CREATED,
                                    busy,
                                    busy,
                                    busy,
                                    busy,
                                    {ABORT, "204 No Content", NULL, NULL}}};
    bench_open(&bench);
    assert_int_equal(put_large(&bench, PUT_ALWAYS), OK);
    assert_int_equal(put_large(&bench, PUT_ALWAYS), ERROR_RETRY);
    assert_non_null(strstr(bench.err.text, "part 1 of 3"));
    bench_close(&bench);
}

/* The harm: one part of 64 is told to wait, and a gigabyte is sent anew, which another part ends.
 */
static void a_store_that_says_when_is_waited_for(void **state)
{
    (void)state;
    int64_t mono_ms = 0;
    const struct clock clock = {stub_wall_us, stub_mono_ms, stub_sleep_ms, &mono_ms};
    struct bench bench = {.clock = &clock,
                          .steps = {NO_UPLOADS,
                                    CREATED,
                                    SLOW(PART1, "Retry-After: 5\r\n"),
                                    SLOW(PART1, "Retry-After: 120\r\n"),
                                    PARTS,
                                    SLOW(COMPLETE, "Retry-After: 120\r\n"),
                                    {COMPLETE, "200 OK", NULL, XML_ERROR("SlowDown")},
                                    COMPLETED}};
    bench_open(&bench);
    assert_int_equal(put_large(&bench, PUT_ALWAYS), OK);
    assert_in_range(mono_ms, 65000, 69000);
    bench_close(&bench);
}

struct impatient {
    const int64_t *mono_ms;
    unsigned asked; /* with nothing to send */
};

static int pace_for_a_while(void *context, size_t bytes, struct error *err)
{
    struct impatient *impatient = context;
    impatient->asked += bytes == 0;
    if (*impatient->mono_ms < 10000)
        return OK;
    return error_set(err, ERROR_RETRY, "the end is near");
}

/* The harm: an agent that is told to end is killed, or its watchdog takes a wait for a hang. */
static void who_puts_can_end_the_wait(void **state)
{
    (void)state;
    int64_t mono_ms = 0;
    const struct clock clock = {stub_wall_us, stub_mono_ms, stub_sleep_ms, &mono_ms};
    struct impatient impatient = {.mono_ms = &mono_ms};
    struct bench bench = {.clock = &clock,
                          .steps = {NO_UPLOADS,
                                    CREATED,
                                    SLOW(PART1, "Retry-After: 120\r\n"),
                                    {ABORT, "204 No Content", NULL, NULL}}};
    uint8_t *bytes = memory_alloc(LARGE, 1);
    struct slice all = slice_of(bytes, LARGE);
    struct objstore_body body = {
        .bytes = all, .pace = pace_for_a_while, .pace_context = &impatient};
    bench_open(&bench);
    assert_int_equal(objstore_put(bench.store, "a", &body, crc32c(0, all), PUT_ALWAYS, &bench.err),
                     ERROR_RETRY);
    assert_non_null(strstr(bench.err.text, "SlowDown"));
    assert_in_range(mono_ms, 10000, 10200);
    assert_in_range(impatient.asked, 50, 60);
    bench_close(&bench);
    free(bytes);
}

/* The harm: a file that is not what its agent wrote gets a name. */
static void bytes_that_were_not_announced_get_no_name(void **state)
{
    (void)state;
    struct bench bench = {
        .steps = {NO_UPLOADS, CREATED, PARTS, {ABORT, "204 No Content", NULL, NULL}}};
    uint8_t *bytes = memory_alloc(LARGE, 1);
    struct objstore_body body = {.bytes = slice_of(bytes, LARGE)};
    bench_open(&bench);
    assert_int_equal(objstore_put(bench.store, "a", &body, 1, PUT_ALWAYS, &bench.err),
                     ERROR_CORRUPT);
    bench_close(&bench);
    free(bytes);
}

/* The harm: a file that is there is put again, or one that isn't is announced. */
static void the_end_of_an_upload_is_heard_or_found_out(void **state)
{
    (void)state;
    /* CRC32C of 11 MiB of zeros */
    uint8_t *zeros = memory_alloc(LARGE, 1);
    char field[S3_CRC_FIELD_SIZE];
    char there[200];
    s3_crc_field(crc32c(0, slice_of(zeros, LARGE)), field);
    snprintf(there, sizeof there, "Content-Length: %d\r\n%s\r\n", LARGE, field);
    free(zeros);
    const struct step gone = {COMPLETE, "404 No", NULL, XML_ERROR("NoSuchUpload")};
    const struct step aborted = {ABORT, "404 No", NULL, XML_ERROR("NoSuchUpload")};
    struct {
        struct step steps[8];
        int rc;
    } ends[] = {
        {{{COMPLETE, NULL, NULL, NULL}, gone, {HEAD_A, "200 OK", there, NULL}}, OK},
        {{{COMPLETE, "200 OK", NULL, XML_ERROR("InternalError")}, COMPLETED}, OK},
        {{{COMPLETE, "200 OK", NULL, ""}, COMPLETED}, OK}, /* no word of a result */
        {{{COMPLETE, "200 OK", NULL, "<html>one moment</html>"}, COMPLETED}, OK},
        {{{COMPLETE, "200 OK", NULL, XML_ERROR("NewKindOfTrouble")}, COMPLETED}, OK},
        {{gone, {HEAD_A, "200 OK", "Content-Length: 1\r\n" CRC_HELLO, NULL}, aborted}, ERROR_RETRY},
        {{{COMPLETE, "412 No", NULL, XML_ERROR("PreconditionFailed")}, aborted}, ERROR_CONFLICT},
        {{{COMPLETE, "409 No", NULL, XML_ERROR("ConditionalRequestConflict")}, aborted},
         ERROR_RETRY},
        {{{COMPLETE, "200 OK", NULL, XML_ERROR("AccessDenied")}, aborted}, ERROR_DENIED},
    };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct bench bench = {.steps = {NO_UPLOADS, CREATED, PARTS}};
        memcpy(bench.steps + 5, ends[i].steps, sizeof ends[i].steps);
        bench_open(&bench);
        int rc = put_large(&bench, PUT_ALWAYS);
        if (rc != ends[i].rc)
            fail_msg("end %zu: %d %s", i, rc, bench.err.text);
        bench_close(&bench);
    }
}

#define OURS "0123456789abcdef0123456789abcdef-0-9-1.parquet"
#define UPLOAD(key, id, at)                                                                        \
    "<Upload><Key>" key "</Key><UploadId>" id "</UploadId><Initiated>" at "</Initiated></Upload>"

/* The harm: somebody else's upload is taken from under them. */
static void only_old_uploads_of_our_files_are_swept(void **state)
{
    (void)state;
    struct bench bench = {
        .steps = {{SWEEP "&encoding-type=url&prefix=wh%2F HTTP", "200 OK", DATE,
                   "<ListMultipartUploadsResult><EncodingType>url</EncodingType>" UPLOAD(
                       "wh/t/data/d%3D1/" OURS, "old", "2026-11-20T09:00:00.000Z")
                       UPLOAD("wh/t/data/" OURS, "young", "2026-11-20T11:00:00.000Z") UPLOAD(
                           "wh/t/data/theirs.parquet", "foreign", "2020-01-01T00:00:00.000Z")
                           UPLOAD("other/" OURS, "elsewhere", "2020-01-01T00:00:00.000Z")
                               UPLOAD("wh/" OURS, "no time", "") "</ListMultipartUploadsResult>"},
                  {"DELETE /lake/wh/t/data/d%3D1/" OURS "?uploadId=old ", "204 Gone", NULL, NULL},
                  CREATED,
                  PARTS,
                  COMPLETED}};
    bench_open(&bench);
    assert_int_equal(put_large(&bench, PUT_ALWAYS), OK);
    bench_close(&bench);
}

/* The harm: an agent whose files have become small pays for what a crash left of the large ones. */
static void a_small_data_file_sweeps_too(void **state)
{
    (void)state;
    struct bench bench = {.steps = {{"PUT /lake/wh/a.json ", "200 OK", NULL, ""},
                                    NO_UPLOADS,
                                    {"PUT /lake/wh/t/data/" OURS " ", "200 OK", NULL, ""},
                                    {"PUT /lake/wh/t/data/" OURS " ", "200 OK", NULL, ""}}};
    const struct slice bytes = slice_cstr("small");
    bench_open(&bench);
    assert_int_equal(objstore_put_bytes(bench.store, "a.json", bytes, PUT_ALWAYS, &bench.err), OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            objstore_put_bytes(bench.store, "t/data/" OURS, bytes, PUT_ALWAYS, &bench.err), OK);
    bench_close(&bench);
}

/* A list of `count` that a crash left long ago. */
static void put_leftovers(struct buf *out, size_t count)
{
    buf_put_cstr(out, "<ListMultipartUploadsResult>");
    for (size_t i = 0; i < count; i++)
        buf_printf(out, UPLOAD("wh/t/data/" OURS, "left%zu", "2020-01-01T00:00:00.000Z"), i);
    buf_put_cstr(out, "</ListMultipartUploadsResult>");
}

static bool has_heard_two(void *context)
{
    struct bench *bench = context;
    return bench->heard_count >= 2;
}

static int pace_twice(void *context, size_t bytes, struct error *err)
{
    if (bytes > 0 || ++*(unsigned *)context < 3)
        return OK;
    return error_set(err, ERROR_RETRY, "the end is near");
}

/* The harm: thousands that were left hold an agent's first put up for minutes, past the time in
 * which it is to end, and its watchdog takes that for a hang. */
static void a_sweep_is_bounded_and_can_be_stopped(void **state)
{
    enum { BY_NUMBER, BY_STOP, BY_PACE, WAYS };
    (void)state;
    const struct slice bytes = slice_cstr("small");
    for (int way = 0; way < WAYS; way++) {
        struct buf list = {0};
        unsigned asked = 0;
        size_t aborts = way == BY_NUMBER ? S3_SWEEP_ABORTS_MAX : 1;
        put_leftovers(&list, S3_SWEEP_ABORTS_MAX + 1);
        struct bench bench = {.steps = {{SWEEP, "200 OK", DATE, buf_cstr(&list)}},
                              .stop = way == BY_STOP ? has_heard_two : NULL,
                              .stop_context = &bench};
        struct objstore_body body = {
            .bytes = bytes, .pace = way == BY_PACE ? pace_twice : NULL, .pace_context = &asked};
        for (size_t i = 0; i < aborts; i++)
            bench.steps[1 + i] = (struct step){"DELETE /lake/wh/t/data/" OURS "?uploadId=left",
                                               "204 Gone", NULL, NULL};
        bench.steps[1 + aborts] =
            (struct step){"PUT /lake/wh/t/data/" OURS " ", "200 OK", NULL, ""};
        bench_open(&bench);
        assert_int_equal(objstore_put(bench.store, "t/data/" OURS, &body, crc32c(0, bytes),
                                      PUT_ALWAYS, &bench.err),
                         OK);
        bench_close(&bench);
        buf_free(&list);
    }
}

/* The harm: an agent that runs for a year pays for what a lost network kept it from aborting. */
static void uploads_are_swept_once_a_day(void **state)
{
    (void)state;
    int64_t mono_ms = 0;
    const struct clock clock = {stub_wall_us, stub_mono_ms, stub_sleep_ms, &mono_ms};
    struct bench bench = {.clock = &clock,
                          .steps = {NO_UPLOADS, CREATED, PARTS, COMPLETED, CREATED, PARTS,
                                    COMPLETED, NO_UPLOADS, CREATED, PARTS, COMPLETED}};
    bench_open(&bench);
    assert_int_equal(put_large(&bench, PUT_ALWAYS), OK);
    mono_ms += 24 * 3600 * 1000 - 1;
    assert_int_equal(put_large(&bench, PUT_ALWAYS), OK);
    mono_ms += 1;
    assert_int_equal(put_large(&bench, PUT_ALWAYS), OK);
    bench_close(&bench);
}

static void plans_keep_the_limits(void **state)
{
    (void)state;
    static const uint64_t mib = 1 << 20;
    static const uint64_t sizes[] = {0,         1,          32 << 20,        (32 << 20) + 1,
                                     100000001, 5000000000, 200000000000000, 5497558138880};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct s3_plan plan = s3_plan_parts(sizes[i], 16 * mib);
        assert_in_range(plan.count, 1, S3_PARTS_MAX);
        assert_true(plan.count == 1 || plan.part_bytes >= 16 * mib);
        assert_true(plan.count == 1 || (plan.part_bytes * (plan.count - 1) < sizes[i] &&
                                        plan.part_bytes * plan.count >= sizes[i]));
        assert_int_equal(plan.count == 1, sizes[i] <= 32 * mib);
    }
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_bodies_go_in_parts),
        cmocka_unit_test(parts_are_tried_again_and_what_fails_is_aborted),
        cmocka_unit_test(a_store_that_says_when_is_waited_for),
        cmocka_unit_test(who_puts_can_end_the_wait),
        cmocka_unit_test(bytes_that_were_not_announced_get_no_name),
        cmocka_unit_test(the_end_of_an_upload_is_heard_or_found_out),
        cmocka_unit_test(only_old_uploads_of_our_files_are_swept),
        cmocka_unit_test(a_small_data_file_sweeps_too),
        cmocka_unit_test(a_sweep_is_bounded_and_can_be_stopped),
        cmocka_unit_test(uploads_are_swept_once_a_day),
        cmocka_unit_test(plans_keep_the_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
