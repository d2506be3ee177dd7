/* SPDX-License-Identifier: Apache-2.0
 *
 * The S3 store against a script of answers. What a real server does is test_s3.py's to find.
 */
#include "tests/unit/lib_objstore_s3_support.h"

static int put(struct bench *bench, const char *text, enum put_condition condition)
{
    return objstore_put_bytes(bench->store, "a", slice_cstr(text), condition, &bench->err);
}

/* The harm: a store that checks nothing, an object overwritten, a body anybody may change. */
static void a_put_says_checksum_condition_and_key(void **state)
{
    (void)state;
    struct bench bench = {.steps = {{PUT_A, "200 OK", NULL, ""}, {PUT_A, "200 OK", NULL, ""}}};
    bench_open(&bench);
    assert_int_equal(put(&bench, "hello", PUT_IF_ABSENT), OK);
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), OK);
    assert_true(was_said(&bench, 0, CRC_HELLO));
    assert_true(was_said(&bench, 0, "If-None-Match: *\r\n"));
    assert_false(was_said(&bench, 1, "If-None-Match"));
    assert_true(was_said(&bench, 0, "x-amz-security-token: verytoken\r\n"));
    assert_true(was_said(&bench, 0, "x-amz-server-side-encryption: aws:kms\r\n"));
    assert_true(was_said(&bench, 0, "x-amz-server-side-encryption-aws-kms-key-id: key-1\r\n"));
    assert_true(was_said(&bench, 0,
                         "x-amz-content-sha256: "
                         "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b98"
                         "24\r\n"));
    assert_true(was_said(&bench, 0, "/us-east-1/s3/aws4_request"));
    bench_close(&bench);
}

/* The harm: a store answers 412 at once and hangs up on the body, the answer is lost at each try,
 * and megabytes are sent again for ever. */
static void an_unheard_answer_is_asked_for(void **state)
{
    (void)state;
    const struct step lost = {PUT_A, NULL, NULL, NULL};
    const struct step there = {HEAD_A, "200 OK", CRC_HELLO "Content-Length: 5\r\n", NULL};
    const struct step gone = {GET_A, "404 No", NULL, XML_ERROR("NoSuchKey")};
    const struct step busy = {HEAD_A, "503 No", NULL, NULL};
    struct bench bench = {
        .steps = {lost, there, lost, {HEAD_A, "404 No", NULL, NULL}, gone, lost, busy, lost}};
    bench_open(&bench);
    assert_int_equal(put(&bench, "hello", PUT_IF_ABSENT), ERROR_CONFLICT);
    for (int i = 0; i < 2; i++)
        assert_int_equal(put(&bench, "hello", PUT_IF_ABSENT), ERROR_RETRY);
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), ERROR_RETRY);
    bench_close(&bench);
}

/* The harm: a loop that hammers a store, or gives up what would pass. None of these is sent
 * again here. */
static void each_status_is_an_answer(void **state)
{
    (void)state;
    static const struct {
        struct step step;
        enum error_code code;
        int64_t after_ms;
    } rows[] = {
        {{PUT_A, "503 Slow Down", "Retry-After: 7\r\n", XML_ERROR("SlowDown")}, ERROR_RETRY, 7000},
        {{PUT_A, "503 Slow Down", NULL, "<html>no</html>"}, ERROR_RETRY, 0},
        {{PUT_A, "429 Too Many", "Retry-After: x\r\n", ""}, ERROR_RETRY, 0},
        {{PUT_A, "500 Oh", NULL, XML_ERROR("InternalError")}, ERROR_RETRY, 0},
        {{PUT_A, "412 No", NULL, XML_ERROR("PreconditionFailed")}, ERROR_CONFLICT, 0},
        {{PUT_A, "409 No", NULL, XML_ERROR("ConditionalRequestConflict")}, ERROR_RETRY, 0},
        {{PUT_A, "403 No", NULL, XML_ERROR("AccessDenied")}, ERROR_DENIED, 0},
        {{PUT_A, "403 No", NULL, XML_ERROR("SignatureDoesNotMatch")}, ERROR_DENIED, 0},
        {{PUT_A, "404 No", NULL, XML_ERROR("NoSuchBucket")}, ERROR_DENIED, 0},
        {{PUT_A, "400 No", NULL, XML_ERROR("BadDigest")}, ERROR_RETRY, 0},
        {{PUT_A, "301 Away", "Location: http://evil.test/\r\n", ""}, ERROR_DENIED, 0},
        {{PUT_A, "307 Away", "Location: http://evil.test/\r\n", ""}, ERROR_RETRY, 0},
        {{PUT_A, "507 Full", NULL, ""}, ERROR_LIMIT, 0},
        {{PUT_A, "403 No", NULL, "<!DOCTYPE a [<!ENTITY b 'c'>]><Error/>"}, ERROR_DENIED, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench bench = {.steps = {rows[i].step}};
        bench_open(&bench);
        int rc = put(&bench, "hello", PUT_IF_ABSENT);
        if (rc != (int)rows[i].code || bench.err.retry_after_ms != rows[i].after_ms)
            fail_msg("row %zu: %d %s", i, rc, bench.err.text);
        assert_int_equal(bench.err.cause, (int)strtol(rows[i].step.status, NULL, 10));
        bench_close(&bench);
    }
}

/* The harm: "403" and nothing to go by. */
static void a_refusal_says_what_who_and_where_to_look(void **state)
{
    (void)state;
    struct bench bench = {.steps = {{PUT_A, "403 Forbidden", "x-amz-request-id: R1\r\n",
                                     "<Error><Code>AccessDenied</Code><Message>no\x1b[2J "
                                     "way</Message></Error>"}}};
    bench_open(&bench);
    bench.steps[0].body =
        "<Error><Code>AccessDenied</Code><Message>no &#xe9; way</Message></Error>";
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), ERROR_DENIED);
    assert_string_equal(bench.err.text,
                        "put a: PutObject in bucket lake: 403 AccessDenied (no ?? way); the right "
                        "is missing; s3:PutObject of environment in us-east-1; request R1");
    bench_close(&bench);
}

/* The harm: to who may not list, S3 refuses what isn't there; the right that is named alone is one
 * that the reader has. */
static void a_refused_read_names_the_right_to_list(void **state)
{
    (void)state;
    struct bench bench = {.steps = {{HEAD_A, "403 No", NULL, NULL},
                                    {GET_A, "403 No", NULL, XML_ERROR("AccessDenied")}}};
    struct objstore_info info;
    bench_open(&bench);
    assert_int_equal(objstore_head(bench.store, "a", &info, &bench.err), ERROR_DENIED);
    assert_non_null(strstr(bench.err.text, "s3:GetObject"));
    assert_non_null(strstr(bench.err.text, "s3:ListBucket"));
    bench_close(&bench);
}

/* The harm: a token in the log, because a store repeats what it was sent. */
static void a_refusal_repeats_no_secret(void **state)
{
    (void)state;
    static const char *const says[] = {
        "<Error><Code>AccessDenied</Code><Message>verytoken is bad</Message></Error>",
        "<Error><Code>AccessDenied</Code><Message>not with verysecret</Message></Error>"};
    struct bench bench = {
        .steps = {{PUT_A, "403 No", NULL, says[0]}, {PUT_A, "403 No", NULL, says[1]}}};
    bench_open(&bench);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(put(&bench, "hello", PUT_ALWAYS), ERROR_DENIED);
        assert_null(strstr(bench.err.text, "very"));
    }
    bench_close(&bench);
}

/* The harm: a bucket of another region is for ever out of reach, or a loop of redirects. */
static void a_region_is_learned_once(void **state)
{
    (void)state;
    struct bench bench = {
        .steps = {{PUT_A, "301 Moved", "x-amz-bucket-region: eu-west-1\r\n",
                   XML_ERROR("PermanentRedirect")},
                  {PUT_A, "200 OK", NULL, ""},
                  {PUT_A, "400 No", NULL,
                   "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-2</Region>"
                   "</Error>"},
                  {PUT_A, "301 Moved", "x-amz-bucket-region: eu-west-3\r\n", ""},
                  {PUT_A, "301 Moved", "x-amz-bucket-region: evil.test/?\r\n", ""}}};
    bench_open(&bench);
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), OK);
    assert_true(was_said(&bench, 0, "/us-east-1/s3/"));
    assert_true(was_said(&bench, 1, "/eu-west-1/s3/"));
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), ERROR_DENIED);
    assert_true(was_said(&bench, 2, "/eu-west-1/s3/")); /* kept */
    assert_true(was_said(&bench, 3, "/eu-west-2/s3/"));
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), ERROR_DENIED);
    bench_close(&bench);
}

/* The harm: an agent whose clock is off uploads nothing, for days. */
static void the_clock_of_the_store_is_learned(void **state)
{
    (void)state;
    char date[80];
    char stamp[80];
    time_t ahead = time(NULL) + 30 * 86400;
    struct tm broken;
    gmtime_r(&ahead, &broken);
    broken.tm_hour = 12;
    broken.tm_min = 0;
    strftime(date, sizeof date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &broken);
    strftime(stamp, sizeof stamp, "x-amz-date: %Y%m%dT%H", &broken);
    struct bench bench = {
        .steps = {{PUT_A, "403 No", date, XML_ERROR("RequestTimeTooSkewed")},
                  {PUT_A, "200 OK", NULL, ""},
                  {PUT_A, "403 No", "Date: never\r\n", XML_ERROR("RequestTimeTooSkewed")},
                  {PUT_A, "403 No", date, XML_ERROR("RequestTimeTooSkewed")}}};
    bench_open(&bench);
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), OK);
    assert_false(was_said(&bench, 0, stamp));
    assert_true(was_said(&bench, 1, stamp));
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), ERROR_DENIED);
    assert_true(was_said(&bench, 2, stamp));
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), ERROR_DENIED); /* it was the right time */
    bench_close(&bench);
}

/* The harm: the same with a store that finds only the signature wrong. */
static void a_clock_that_is_off_spoils_signatures(void **state)
{
    (void)state;
    int64_t mono_ms = 0; /* stub_wall_us: Mon, 21 Sep 2026 14:13:20 GMT */
    const struct clock clock = {stub_wall_us, stub_mono_ms, stub_sleep_ms, &mono_ms};
    static const char same[] = "Date: Mon, 21 Sep 2026 14:13:00 GMT\r\n";
    static const char ahead[] = "Date: Mon, 21 Sep 2026 14:20:00 GMT\r\n";
    struct bench bench = {.clock = &clock,
                          .steps = {{PUT_A, "403 No", same, XML_ERROR("SignatureDoesNotMatch")},
                                    {PUT_A, "403 No", ahead, XML_ERROR("SignatureDoesNotMatch")},
                                    {PUT_A, "200 OK", NULL, ""},
                                    {PUT_A, "403 No", ahead, XML_ERROR("SignatureDoesNotMatch")}}};
    bench_open(&bench);
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), ERROR_DENIED);
    assert_non_null(strstr(bench.err.text, "the secret key is not that of this access key"));
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), OK);
    assert_true(was_said(&bench, 2, "x-amz-date: 20260921T142000Z"));
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), ERROR_DENIED); /* it is the secret now */
    bench_close(&bench);
}

struct strides {
    size_t most;
    size_t bytes;
};

static int pace_strides(void *context, size_t bytes, struct error *err)
{
    struct strides *strides = context;
    (void)err;
    strides->most = bytes > strides->most ? bytes : strides->most;
    strides->bytes += bytes;
    return OK;
}

/* The harm: 256 KiB at 10 KiB a second, of which 25 seconds are silence, after which S3 hangs up.
 */
static void a_body_goes_in_the_pieces_that_it_is_paid_by(void **state)
{
    enum { BYTES = 100001, PIECE = 1000 };
    (void)state;
    struct bench bench = {.steps = {{PUT_A, "200 OK", NULL, ""}}};
    struct strides strides = {0};
    uint8_t *bytes = memory_alloc(BYTES, 1);
    memset(bytes, 'x', BYTES);
    struct objstore_body body = {.bytes = slice_of(bytes, BYTES),
                                 .pace = pace_strides,
                                 .pace_context = &strides,
                                 .pace_waits = true,
                                 .pace_bytes_max = PIECE};
    bench_open(&bench);
    assert_int_equal(
        objstore_put(bench.store, "a", &body, crc32c(0, body.bytes), PUT_ALWAYS, &bench.err), OK);
    assert_int_equal(strides.most, PIECE);
    assert_int_equal(strides.bytes, BYTES);
    const char *end = strstr(buf_cstr(&bench.heard[0]), "\r\n\r\n") + 4;
    assert_memory_equal(end, bytes, BYTES);
    bench_close(&bench);
    free(bytes);
}

/* The harm: a token that ran out between two renewals stops uploads. */
static void credentials_that_ran_out_are_asked_for_anew_once(void **state)
{
    (void)state;
    struct bench bench = {.steps = {{PUT_A, "400 No", NULL, XML_ERROR("ExpiredToken")},
                                    {PUT_A, "200 OK", NULL, ""},
                                    {PUT_A, "400 No", NULL, XML_ERROR("ExpiredToken")},
                                    {PUT_A, "400 No", NULL, XML_ERROR("ExpiredToken")}}};
    bench_open(&bench);
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), OK);
    assert_int_equal(put(&bench, "hello", PUT_ALWAYS), ERROR_DENIED);
    bench_close(&bench);
}

/* The harm: a bucket that is gone, or a proxy's page, is taken for an object that isn't there;
 * then data files are built again, or committed tables look empty. */
static void absence_is_only_what_says_so(void **state)
{
    (void)state;
    struct bench bench = {.steps = {{HEAD_A, "404 No", DATE, NULL},
                                    {GET_A, "404 No", DATE, XML_ERROR("NoSuchKey")},
                                    {HEAD_A, "404 No", NULL, NULL},
                                    {GET_A, "404 No", NULL, XML_ERROR("NoSuchBucket")},
                                    {HEAD_A, "404 No", NULL, NULL},
                                    {GET_A, "404 No", NULL, "<html>no such page</html>"},
                                    {HEAD_A, "403 No", NULL, NULL},
                                    {GET_A, "403 No", NULL, XML_ERROR("AccessDenied")},
                                    {HEAD_A, "404 No", NULL, NULL}, /* it is put meanwhile */
                                    {GET_A, "206 OK", "Content-Range: bytes 0-0/5\r\n", "h"},
                                    {HEAD_A, "200 OK", CRC_HELLO "Content-Length: 5\r\n", NULL},
                                    {HEAD_A, "503 No", NULL, NULL},
                                    {GET_A, "404 No", DATE, XML_ERROR("NoSuchKey")},
                                    {GET_A, "404 No", NULL, XML_ERROR("NoSuchBucket")}}};
    struct objstore_info info;
    struct buf bytes = {0};
    bench_open(&bench);
    assert_int_equal(objstore_head(bench.store, "a", &info, &bench.err), OK);
    assert_false(info.found);
    assert_int_equal(info.store_time_ms, 1795255200000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(objstore_head(bench.store, "a", &info, &bench.err), ERROR_DENIED);
    assert_int_equal(objstore_head(bench.store, "a", &info, &bench.err), OK);
    assert_true(info.found && info.size == 5 && info.has_crc32c);
    assert_int_equal(objstore_head(bench.store, "a", &info, &bench.err), ERROR_RETRY);
    assert_int_equal(objstore_get(bench.store, "a", 9, &bytes, &info, &bench.err), OK);
    assert_false(info.found);
    assert_int_equal(objstore_get(bench.store, "a", 9, &bytes, &info, &bench.err), ERROR_DENIED);
    bench_close(&bench);
    buf_free(&bytes);
}

/* The harm: a checksum of parts, or none, taken for the object's: files are refused, or put
 * under name after name. */
static void without_a_checksum_the_object_is_summed(void **state)
{
    (void)state;
    struct bench bench = {
        .steps = {
            {HEAD_A, "200 OK", "Content-Length: 5\r\nx-amz-checksum-crc32c: AAAAAA==-2\r\n", NULL},
            {GET_A, "206 OK", "Content-Range: bytes 0-4/5\r\n", "hello"},
            {HEAD_A, "200 OK", "Content-Length: 5\r\nx-amz-checksum-type: COMPOSITE\r\n" CRC_HELLO,
             NULL},
            {GET_A, "206 OK", "Content-Range: bytes 0-5/6\r\n", "hello!"}}};
    struct objstore_info info;
    bench_open(&bench);
    assert_int_equal(objstore_head(bench.store, "a", &info, &bench.err), OK);
    assert_true(info.has_crc32c);
    assert_int_equal(info.crc32c, crc32c(0, slice_cstr("hello")));
    assert_int_equal(objstore_head(bench.store, "a", &info, &bench.err), ERROR_RETRY);
    bench_close(&bench);
}

static void odd_answers_to_get_are_found_out(void **state)
{
    (void)state;
    static const char *const crc_wrong = "x-amz-checksum-crc32c: AAAAAA==\r\n";
    struct bench bench = {
        .steps = {{GET_A, "200 OK", NULL, "0123456789"},                       /* knows no ranges */
                  {GET_A, "206 OK", "Content-Range: bytes 0-2/10\r\n", "012"}, /* another one */
                  {GET_A, "206 OK", "Content-Range: bytes 2-4/3\r\n", "234"},
                  {GET_A, "206 OK", NULL, "234"},
                  {GET_A, "200 OK", crc_wrong, "hello"},
                  {GET_A, "200 OK", "Content-Length: 10\r\n", NULL}, /* cut */
                  {GET_A, "200 OK", NULL, "0123456789"}}};
    struct objstore_info info;
    struct buf bytes = {0};
    bench_open(&bench);
    assert_int_equal(objstore_get_range(bench.store, "a", 2, 3, &bytes, &info, &bench.err), OK);
    assert_true(slice_is(buf_slice(&bytes), "234"));
    assert_int_equal(info.size, 10);
    for (int i = 0; i < 3; i++)
        assert_int_equal(objstore_get_range(bench.store, "a", 2, 3, &bytes, &info, &bench.err),
                         ERROR_RETRY);
    assert_int_equal(objstore_get(bench.store, "a", 99, &bytes, &info, &bench.err), ERROR_RETRY);
    assert_int_equal(objstore_get(bench.store, "a", 99, &bytes, &info, &bench.err), ERROR_RETRY);
    assert_int_equal(objstore_get(bench.store, "a", 9, &bytes, &info, &bench.err), ERROR_LIMIT);
    assert_true(slice_is(buf_slice(&bytes), "234"));
    bench_close(&bench);
    buf_free(&bytes);
}

/* The harm: on MinIO an empty object, of which an end is asked for, is tried again for ever. */
static void the_end_of_an_empty_object_is_empty(void **state)
{
    (void)state;
    struct bench bench = {.steps = {{GET_A, "206 OK", "Content-Range: bytes 0--1/0\r\n", ""},
                                    {GET_A, "206 OK", "Content-Range: bytes 0--1/0\r\n", "h"}}};
    struct objstore_info info;
    struct buf bytes = {0};
    bench_open(&bench);
    assert_int_equal(objstore_get_range(bench.store, "a", -5, 0, &bytes, &info, &bench.err), OK);
    assert_true(info.found && info.size == 0 && bytes.len == 0);
    assert_int_equal(objstore_get_range(bench.store, "a", -5, 0, &bytes, &info, &bench.err),
                     ERROR_RETRY);
    bench_close(&bench);
    buf_free(&bytes);
}

/* The harm: a connection that ends early is an announcement that doesn't decode, and is refused. */
static void an_answer_says_where_it_ends(void **state)
{
    (void)state;
    static const char *const cut[] = {"\r\n01234", "Content-Range: bytes 0-9/10\r\n\r\n01234"};
    struct bench bench = {
        .steps = {
            {GET_A, "200 OK", cut[0], NULL},
            {GET_A, "206 OK", cut[1], NULL},
            {GET_A, "206 OK", "Content-Range: bytes 0-9/10\r\n", "01234"},
            {GET_A, "206 OK", "Content-Range: bytes 0-/10\r\n", "0123456789"},
            {GET_A, "200 OK", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", NULL}}};
    struct objstore_info info;
    struct buf bytes = {0};
    bench_open(&bench);
    assert_int_equal(objstore_get(bench.store, "a", 99, &bytes, &info, &bench.err), ERROR_RETRY);
    for (int i = 0; i < 3; i++)
        assert_int_equal(objstore_get_range(bench.store, "a", 0, 10, &bytes, &info, &bench.err),
                         ERROR_RETRY);
    assert_int_equal(objstore_get(bench.store, "a", 99, &bytes, &info, &bench.err), OK);
    assert_true(slice_is(buf_slice(&bytes), "hello"));
    bench_close(&bench);
    buf_free(&bytes);
}

/* The harm: a store in trouble is taken for an object that is too large, and the announcement
 * that it is gets refused. */
static void trouble_is_no_size(void **state)
{
    (void)state;
    char page[100001];
    memset(page, 'x', sizeof page - 1);
    page[sizeof page - 1] = 0;
    struct bench bench = {.steps = {{GET_A, "503 Busy", NULL, page},
                                    {GET_A, "404 No", NULL, page},
                                    {GET_A, "507 Full", NULL, ""},
                                    {GET_A, "400 No", NULL, XML_ERROR("QuotaExceeded")},
                                    {GET_A, "200 OK", NULL, page}}};
    static const int codes[] = {ERROR_RETRY, ERROR_DENIED, ERROR_RETRY, ERROR_RETRY, ERROR_LIMIT};
    struct objstore_info info;
    struct buf bytes = {0};
    bench_open(&bench);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        int rc = objstore_get(bench.store, "a", 9, &bytes, &info, &bench.err);
        if (rc != codes[i] || bench.err.code != (enum error_code)rc)
            fail_msg("answer %zu: %d %s", i, rc, bench.err.text);
    }
    bench_close(&bench);
    buf_free(&bytes);
}

/* ---- lists, copies, probes ---- */

#define CONTENTS(key) "<Contents><Key>" key "</Key><Size>3</Size></Contents>"
#define PAGE(more, contents)                                                                       \
    "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>" more                         \
    "</IsTruncated>" contents "</ListBucketResult>"
#define LIST "GET /lake?list-type=2&encoding-type=url&max-keys="

static void lists_go_on_behind_the_last_key(void **state)
{
    (void)state;
    struct bench bench = {.steps = {{LIST "11&prefix=wh%2Fd%2F HTTP", "200 OK", NULL,
                                     PAGE("true", CONTENTS("wh/d/a%20b+%2B%C3%A9")
                                                      CONTENTS("wh/d/b//c") CONTENTS("wh/d/c/"))},
                                    {LIST "10&prefix=wh%2Fd%2F&start-after=wh%2Fd%2Fc%2F HTTP",
                                     "200 OK", NULL, PAGE("false", CONTENTS("wh/d/z"))}}};
    struct objstore_list list;
    bench_open(&bench);
    assert_int_equal(objstore_list(bench.store, "d/", NULL, 10, &list, &bench.err), OK);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.entries[0].key, "d/a b +\xc3\xa9");
    assert_string_equal(list.entries[1].key, "d/z");
    assert_false(list.more);
    objstore_list_free(&list);
    bench_close(&bench);
}

/* The harm: an inbox that looks empty, objects of others, a loop that never ends. */
static void odd_lists_are_errors(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "<html/>",
        "<ListBucketResult>",
        PAGE("true", ""),
        PAGE("false", CONTENTS("wh/d/b") CONTENTS("wh/d/a")),
        PAGE("false", CONTENTS("wh/d/b") CONTENTS("wh/d/b")),
        PAGE("false", CONTENTS("elsewhere/d/b")),
        PAGE("false", CONTENTS("wh/d/%zz")),
        PAGE("false", CONTENTS("wh/d/a%00b")),
        PAGE("false", "<Contents><Key>wh/d/a</Key><Size>-1</Size></Contents>"),
        PAGE("false", "<Contents><Size>1</Size></Contents>"),
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct bench bench = {.steps = {{LIST, "200 OK", NULL, bodies[i]}}};
        struct objstore_list list;
        bench_open(&bench);
        if (objstore_list(bench.store, "d/", NULL, 10, &list, &bench.err) != ERROR_RETRY)
            fail_msg("taken: %s", bodies[i]);
        bench_close(&bench);
    }
    struct bench bench = {
        .steps = {{LIST, "200 OK", NULL, PAGE("false", CONTENTS("wh/d/a"))}}}; /* goes back */
    struct objstore_list list;
    bench_open(&bench);
    assert_int_equal(objstore_list(bench.store, "d/", "d/b", 10, &list, &bench.err), ERROR_RETRY);
    bench_close(&bench);
}

#define HEAD_B "HEAD /lake/wh/b HTTP/1.1"
#define GET_B "GET /lake/wh/b HTTP/1.1"
#define PUT_B "PUT /lake/wh/b HTTP/1.1"

static void copies_ask_before_and_know_stores_without_the_condition(void **state)
{
    (void)state;
    static const struct step absent[] = {{HEAD_B, "404 No", NULL, NULL},
                                         {GET_B, "404 No", NULL, XML_ERROR("NoSuchKey")}};
    static const struct step source = {HEAD_A, "200 OK", "Content-Length: 5\r\n" CRC_HELLO, NULL};
    struct bench bench = {.steps = {{HEAD_B, "200 OK", "Content-Length: 5\r\n" CRC_HELLO, NULL},
                                    absent[0],
                                    absent[1],
                                    source,
                                    {PUT_B, "501 No", NULL, XML_ERROR("NotImplemented")},
                                    {PUT_B, "200 OK", NULL, "<CopyObjectResult/>"},
                                    absent[0],
                                    absent[1],
                                    source,
                                    {PUT_B, "200 OK", NULL, XML_ERROR("InternalError")},
                                    absent[0],
                                    absent[1],
                                    source,
                                    {PUT_B, "200 OK", NULL, ""}}};
    bench_open(&bench);
    assert_int_equal(objstore_copy(bench.store, "a", "b", PUT_IF_ABSENT, &bench.err),
                     ERROR_CONFLICT);
    assert_int_equal(objstore_copy(bench.store, "a", "b", PUT_IF_ABSENT, &bench.err), OK);
    assert_true(was_said(&bench, 4, "x-amz-copy-source: /lake/wh/a\r\n"));
    assert_true(was_said(&bench, 4, "If-None-Match: *\r\n"));
    assert_false(was_said(&bench, 5, "If-None-Match"));
    for (int i = 0; i < 2; i++)
        assert_int_equal(objstore_copy(bench.store, "a", "b", PUT_IF_ABSENT, &bench.err),
                         ERROR_RETRY);
    bench_close(&bench);
}

#define COPIED                                                                                     \
    {                                                                                              \
        "PUT /lake/wh/b?partNumber=", "200 OK", NULL,                                              \
            "<CopyPartResult><ETag>\"e\"</ETag></CopyPartResult>"                                  \
    }

/* The harm: an old file that is too large for one request is never copied, so never taken. */
static void what_is_too_large_for_one_copy_goes_in_parts(void **state)
{
    (void)state;
    static const char *const six_gib = "Content-Length: 6442450945\r\n" CRC_HELLO;
    struct bench bench = {.steps = {{HEAD_A, "200 OK", six_gib, NULL},
                                    {"POST /lake/wh/b?uploads=", "200 OK", NULL,
                                     "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
                                     "</InitiateMultipartUploadResult>"},
                                    COPIED,
                                    COPIED,
                                    COPIED,
                                    COPIED,
                                    COPIED,
                                    COPIED,
                                    COPIED,
                                    COPIED,
                                    COPIED,
                                    COPIED,
                                    COPIED,
                                    COPIED,
                                    COPIED,
                                    {"POST /lake/wh/b?uploadId=u ", "200 OK", NULL,
                                     "<CompleteMultipartUploadResult/>"}}};
    bench_open(&bench);
    assert_int_equal(objstore_copy(bench.store, "a", "b", PUT_ALWAYS, &bench.err), OK);
    assert_true(was_said(&bench, 2, "x-amz-copy-source: /lake/wh/a\r\n"));
    assert_true(was_said(&bench, 2, "x-amz-copy-source-range: bytes=0-536870911\r\n"));
    assert_true(was_said(&bench, 14, "x-amz-copy-source-range: bytes=6442450944-6442450944\r\n"));
    assert_true(was_said(&bench, 15, CRC_HELLO)); /* the source's: judged by the store */
    bench_close(&bench);
}

/* The harm: two agents' files share a name. */
static void a_store_that_ignores_the_condition_is_refused(void **state)
{
    (void)state;
    struct bench bench = {
        .steps = {{PUT_A, "200 OK", NULL, ""},
                  {PUT_A, "200 OK", NULL, ""},
                  {"DELETE /lake/wh/a ", "204 Gone", NULL, NULL},
                  {PUT_A, "200 OK", NULL, ""},
                  {PUT_A, "412 No", NULL, XML_ERROR("PreconditionFailed")},
                  {"DELETE /lake/wh/a ", "403 No", NULL, XML_ERROR("AccessDenied")}}};
    bench_open(&bench);
    assert_int_equal(objstore_probe(bench.store, "a", &bench.err), ERROR_INPUT);
    assert_int_equal(objstore_probe(bench.store, "a", &bench.err), OK);
    bench_close(&bench);
}

static int remove_one(void *context, size_t index, struct error *err)
{
    struct bench *bench = context;
    return objstore_remove(bench->store, index == 0 ? "a" : "b", err);
}

/* The harm: of 10,000 requests one is told to slow down, and all of them begin anew, for ever. */
static void each_of_many_is_tried_again(void **state)
{
    (void)state;
    static const struct step a_slow = SLOW("DELETE /lake/wh/a ", NULL);
    static const struct step b_ill = {"DELETE /lake/wh/b ", "500 No", NULL,
                                      XML_ERROR("InternalError")};
    static const struct step a_gone = {"DELETE /lake/wh/a ", "204 Gone", NULL, NULL};
    static const struct step b_gone = {"DELETE /lake/wh/b ", "204 Gone", NULL, NULL};
    int64_t mono_ms = 0;
    const struct clock clock = {stub_wall_us, stub_mono_ms, stub_sleep_ms, &mono_ms};
    struct bench bench = {
        .clock = &clock,
        .steps = {a_slow,
                  a_gone,
                  b_ill,
                  b_ill,
                  b_ill,
                  b_ill,
                  {"DELETE /lake/wh/a ", "403 No", NULL, XML_ERROR("AccessDenied")},
                  SLOW("DELETE /lake/wh/a ", "Retry-After: 7\r\n"),
                  SLOW("DELETE /lake/wh/a ", "Retry-After: 120\r\n"),
                  a_gone,
                  b_gone}};
    bench_open(&bench);
    assert_int_equal(objstore_each(bench.store, 2, remove_one, &bench, &bench.err), ERROR_RETRY);
    assert_in_range(mono_ms, 1, 4000);
    assert_int_equal(objstore_each(bench.store, 1, remove_one, &bench, &bench.err), ERROR_DENIED);
    mono_ms = 0;
    assert_int_equal(objstore_each(bench.store, 2, remove_one, &bench, &bench.err), OK);
    assert_in_range(mono_ms, 37000, 39000); /* what it names, but half a minute at most */
    bench_close(&bench);
}

static bool is_late(void *context)
{
    return *(int64_t *)context >= 10000;
}

/* The harm: a store that never lets anybody on holds a turn for ever; one that holds it is killed
 * with it. */
static void a_store_that_goes_on_refusing_ends_it(void **state)
{
    (void)state;
    static const struct step slow = SLOW("DELETE /lake/wh/a ", "Retry-After: 120\r\n");
    int64_t mono_ms = 0;
    const struct clock clock = {stub_wall_us, stub_mono_ms, stub_sleep_ms, &mono_ms};
    struct bench bench = {.clock = &clock,
                          .steps = {slow, slow, slow, slow, slow, slow, slow, slow}};
    bench_open(&bench);
    assert_int_equal(objstore_each(bench.store, 2, remove_one, &bench, &bench.err), ERROR_RETRY);
    assert_int_equal(bench.err.retry_after_ms, 120000);
    assert_in_range(mono_ms, 7 * 30000, 600000);
    bench_close(&bench);

    mono_ms = 0;
    struct bench stopped = {
        .clock = &clock, .stop = is_late, .stop_context = &mono_ms, .steps = {slow}};
    bench_open(&stopped);
    assert_int_equal(objstore_each(stopped.store, 2, remove_one, &stopped, &stopped.err),
                     ERROR_RETRY);
    assert_in_range(mono_ms, 10000, 10200);
    bench_close(&stopped);
}

static bool is_to_stop(void *context)
{
    (void)context;
    return true;
}

/* The harm: a store that says nothing holds who is to end for a minute, and is killed with it. And
 * what may have been put passes for not put. */
static void a_store_that_hangs_is_left_by_a_stop(void **state)
{
    (void)state;
    struct bench bench = {.stop = is_to_stop,
                          .steps = {{PUT_A, "", NULL, NULL},
                                    {HEAD_A, "", NULL, NULL},
                                    {"DELETE /lake/wh/a ", "", NULL, NULL}}};
    bench_open(&bench);
    assert_int_equal(
        objstore_put_bytes(bench.store, "a", slice_cstr("x"), PUT_IF_ABSENT, &bench.err),
        ERROR_RETRY);
    assert_non_null(strstr(bench.err.text, "given up at a stop"));
    assert_int_equal(objstore_each(bench.store, 2, remove_one, &bench, &bench.err), ERROR_RETRY);
    assert_non_null(strstr(bench.err.text, "given up at a stop"));
    bench_close(&bench);
}

/* The harm: a lost answer makes such a store look like one that keeps the condition. */
static void a_probe_without_an_answer_proves_nothing(void **state)
{
    (void)state;
    static const struct step exists = {HEAD_A, "200 OK", "Content-Length: 14\r\n", NULL};
    struct bench bench = {.steps = {{PUT_A, NULL, NULL, NULL},
                                    exists,
                                    {PUT_A, "200 OK", NULL, ""},
                                    {"DELETE /lake/wh/a ", "204 Gone", NULL, NULL},
                                    {PUT_A, "200 OK", NULL, ""},
                                    {PUT_A, NULL, NULL, NULL},
                                    exists}};
    bench_open(&bench);
    assert_int_equal(objstore_probe(bench.store, "a", &bench.err), ERROR_INPUT);
    assert_int_equal(objstore_probe(bench.store, "a", &bench.err), ERROR_RETRY);
    bench_close(&bench);
}

static void settings_that_can_not_be_are_refused(void **state)
{
    (void)state;
    static const struct objstore_s3 bad[] = {
        {.endpoint = "store.test"},
        {.path_style = "maybe"},
        {.region = "a b"},
        {.part_bytes = 1 << 20},
        {.kms_key_id = "key"},
        {.sse = "a\r\nEvil: b"},
        {.endpoint = "http://a/b/c"},
        {.endpoint = "http://a:99999"},
        {.endpoint = "http://a:0"},
        {.endpoint = "http://a:"},
        {.endpoint = "http://a:1:2"},
        {.endpoint = "http://:80"},
        {.endpoint = "http://a:s3"},
        {.endpoint = "http://[::1"},
        {.endpoint = "http://a]"},
        {.sse = "AES256", .kms_key_id = "key"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct objstore_s3 s3 = bad[i];
        struct objstore_options options = {.s3 = &s3};
        struct objstore *store = NULL;
        struct error err;
        s3.getenv = test_getenv;
        if (objstore_open(&store, "s3://lake", &options, &err) != ERROR_INPUT)
            fail_msg("settings %zu are taken", i);
        assert_null(store);
    }
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_put_says_checksum_condition_and_key),
        cmocka_unit_test(an_unheard_answer_is_asked_for),
        cmocka_unit_test(each_status_is_an_answer),
        cmocka_unit_test(a_refusal_says_what_who_and_where_to_look),
        cmocka_unit_test(a_refused_read_names_the_right_to_list),
        cmocka_unit_test(a_refusal_repeats_no_secret),
        cmocka_unit_test(a_region_is_learned_once),
        cmocka_unit_test(the_clock_of_the_store_is_learned),
        cmocka_unit_test(a_clock_that_is_off_spoils_signatures),
        cmocka_unit_test(a_body_goes_in_the_pieces_that_it_is_paid_by),
        cmocka_unit_test(credentials_that_ran_out_are_asked_for_anew_once),
        cmocka_unit_test(absence_is_only_what_says_so),
        cmocka_unit_test(without_a_checksum_the_object_is_summed),
        cmocka_unit_test(odd_answers_to_get_are_found_out),
        cmocka_unit_test(the_end_of_an_empty_object_is_empty),
        cmocka_unit_test(an_answer_says_where_it_ends),
        cmocka_unit_test(trouble_is_no_size),
        cmocka_unit_test(lists_go_on_behind_the_last_key),
        cmocka_unit_test(odd_lists_are_errors),
        cmocka_unit_test(copies_ask_before_and_know_stores_without_the_condition),
        cmocka_unit_test(what_is_too_large_for_one_copy_goes_in_parts),
        cmocka_unit_test(a_store_that_ignores_the_condition_is_refused),
        cmocka_unit_test(each_of_many_is_tried_again),
        cmocka_unit_test(a_store_that_goes_on_refusing_ends_it),
        cmocka_unit_test(a_store_that_hangs_is_left_by_a_stop),
        cmocka_unit_test(a_probe_without_an_answer_proves_nothing),
        cmocka_unit_test(settings_that_can_not_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
