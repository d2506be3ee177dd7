/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include <cmocka.h>
#include <mbedtls/md.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "lib/base/instant.h"
#include "lib/base/log.h"
#include "lib/base/random.h"

/* A wrong polynomial would make every store refuse every upload. RFC 3720 B.4. */
static void crc32c_has_the_published_values(void **state)
{
    (void)state;
    uint8_t zeros[32] = {0};
    assert_int_equal(crc32c(0, slice_of(zeros, 32)), 0x8a9136aa);
    assert_int_equal(crc32c(0, slice_cstr("123456789")), 0xe3069283);
    uint32_t parts = crc32c(crc32c(0, slice_cstr("1234")), slice_cstr("56789"));
    assert_int_equal(parts, 0xe3069283);
}

/* Long inputs take another way than short ones: another result is a file that no store
 * takes, or a block that doesn't read back. */
static void crc32c_of_the_whole_is_that_of_its_parts(void **state)
{
    (void)state;
    static uint8_t bytes[40000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t len = 0; len <= sizeof bytes; len += len < 6200 ? 61 : 4001) {
        uint32_t parts = 0;
        for (size_t at = 0; at < len; at += 100)
            parts = crc32c(parts, slice_of(bytes + at, len - at < 100 ? len - at : 100));
        assert_int_equal(crc32c(0, slice_of(bytes, len)), parts);
    }
}

/* Parts of a file are summed by different threads; what is told of the whole must be true. */
static void crc32c_of_two_joined_is_that_of_both(void **state)
{
    (void)state;
    static uint8_t bytes[70000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    uint32_t whole = crc32c(0, slice_of(bytes, sizeof bytes));
    for (size_t cut = 0; cut <= sizeof bytes; cut += cut < 20 ? 1 : 6998) {
        size_t rest = sizeof bytes - cut;
        assert_int_equal(crc32c_join(crc32c(0, slice_of(bytes, cut)),
                                     crc32c(0, slice_of(bytes + cut, rest)), rest),
                         whole);
    }
}

/* A wrong digest is a refused signature. Processors with instructions for it take another way. */
static void sha256_and_md5_are_what_mbedtls_says(void **state)
{
    (void)state;
    static uint8_t bytes[9000];
    uint8_t wanted[SHA256_SIZE];
    uint8_t whole[SHA256_SIZE];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t len = 0; len <= sizeof bytes; len += len < 300 ? 1 : 967) {
        struct slice text = slice_of(bytes, len);
        mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), bytes, len, wanted);
        sha256(text, whole);
        assert_memory_equal(whole, wanted, SHA256_SIZE);
        for (size_t piece = 1; piece < 140; piece += 23) {
            struct sha256_sum *sum = sha256_begin();
            for (size_t at = 0; at < len; at += piece)
                sha256_add(sum, slice_of(bytes + at, len - at < piece ? len - at : piece));
            sha256_end(sum, whole);
            assert_memory_equal(whole, wanted, SHA256_SIZE);
        }
    }
    mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_MD5), bytes, sizeof bytes, wanted);
    md5(slice_of(bytes, sizeof bytes), whole);
    assert_memory_equal(whole, wanted, MD5_SIZE);
}

/* An encoder that overruns its ceiling must say so at the end, not write past it. */
static void buf_failure_sticks(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    buf_put_cstr(&buf, "12345678");
    buf_put_cstr(&buf, "9012");
    buf_put_cstr(&buf, "9");
    assert_true(buf_failed(&buf));
    assert_int_equal(buf.len, 8);
    buf_free(&buf);
}

/* Iceberg and Avro both read these bytes: one wrong bit shifts all that follows. */
static void varints_are_zigzag_leb128(void **state)
{
    (void)state;
    struct buf buf = {0};
    buf_put_varint(&buf, -1);
    buf_put_varint(&buf, 64);
    buf_put_varint(&buf, INT64_MIN);
    assert_int_equal(buf.len, 1 + 2 + 10);
    assert_memory_equal(buf.data, "\x01\x80\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13);
    buf_free(&buf);
}

static void base64_refuses_what_it_never_wrote(void **state)
{
    (void)state;
    struct buf buf = {0};
    base64_encode(slice_cstr("any"), &buf);
    assert_true(slice_is(buf_slice(&buf), "YW55"));
    buf_reset(&buf);
    assert_true(base64_decode(slice_cstr("YW4="), &buf));
    assert_true(slice_is(buf_slice(&buf), "an"));
    assert_false(base64_decode(slice_cstr("YW5"), &buf));
    assert_false(base64_decode(slice_cstr("YW5="), &buf)); /* bits behind the last byte */
    assert_false(base64_decode(slice_cstr("YR=="), &buf));
    assert_true(base64_decode(slice_cstr("YQ=="), &buf));
    assert_false(base64_decode(slice_cstr("YW\n="), &buf));
    assert_false(base64_decode(slice_cstr("Y==="), &buf));
    buf_free(&buf);
}

/* RFC 4231, test cases 2 and 6: what is signed by another key is refused everywhere. */
static void hmac_is_that_of_the_standard(void **state)
{
    (void)state;
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    hmac_sha256(slice_cstr("Jefe"), slice_cstr("what do ya want for nothing?"), digest);
    hex_encode(slice_of(digest, sizeof digest), hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    uint8_t key[131];
    memset(key, 0xaa, sizeof key);
    hmac_sha256(slice_of(key, sizeof key),
                slice_cstr("Test Using Larger Than Block-Size Key - Hash Key First"), digest);
    hex_encode(slice_of(digest, sizeof digest), hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/* Context goes in front, the cause stays last: the operator reads the end first. */
static void error_wrap_puts_context_in_front(void **state)
{
    (void)state;
    struct error err;
    error_set(&err, ERROR_IO, "fsync: %s", "gone");
    assert_int_equal(error_wrap(&err, "segment %d", 17), ERROR_IO);
    assert_string_equal(err.text, "segment 17: fsync: gone");
}

/* Long paths around it must not push out what went wrong. */
static void error_wrap_keeps_the_cause_of_a_long_text(void **state)
{
    (void)state;
    struct error err;
    char path[300];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = 0;
    error_set(&err, ERROR_LIMIT, "No space left on device");
    for (int i = 0; i < 3; i++)
        error_wrap(&err, "put %d %s", i, path);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_int_equal(strncmp(err.text, "put 2 ppp", 9), 0);
    assert_string_equal(err.text + strlen(err.text) - 25, ": No space left on device");

    error_set(&err, ERROR_IO,
              "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4 end");
    for (int i = 0; i < 2; i++)
        error_wrap(&err, "%s%.*s", path, 40 + i, path);
    for (size_t i = 1; err.text[i] != 0; i++)
        assert_true(((unsigned char)err.text[i] & 0xc0) != 0x80 ||
                    (unsigned char)err.text[i - 1] == 0xc3);
}

static void uuid_v7_sorts_by_time(void **state)
{
    (void)state;
    char early[UUID_TEXT_SIZE];
    char late[UUID_TEXT_SIZE];
    uuid_v7(early, 1700000000000);
    uuid_v7(late, 1700000000001);
    assert_true(strcmp(early, late) < 0);
    assert_int_equal(early[14], '7');
}

static void arena_keeps_what_it_gave(void **state)
{
    (void)state;
    struct arena arena = {0};
    char *first = arena_printf(&arena, "%s-%d", "abc", 7);
    for (int i = 0; i < 1000; i++)
        memset(arena_alloc(&arena, 1, 100), 0xff, 100);
    assert_string_equal(first, "abc-7");
    arena_reset(&arena);
    arena_free(&arena);
}

/* An operator must see the trouble of now, however much there was before, and a message that
 * storms must not push the others out. */
static void log_troubles_are_bounded_and_tell_storms(void **state)
{
    (void)state;
    static char messages[LOG_TROUBLES_MAX + 3][8];
    struct log_trouble troubles[LOG_TROUBLES_MAX];
    log_event(LOG_LEVEL_INFO, "test", "all is well", "n=%d", 1);
    assert_int_equal(log_troubles(troubles), 0);
    for (size_t i = 0; i < LOG_TROUBLES_MAX + 3; i++) {
        messages[i][0] = (char)('a' + i);
        log_event(LOG_LEVEL_WARN, "test", messages[i], "n=%zu", i);
    }
    assert_int_equal(log_troubles(troubles), LOG_TROUBLES_MAX);
    for (size_t i = 0; i < LOG_TROUBLES_MAX; i++)
        assert_ptr_equal(troubles[i].msg, messages[LOG_TROUBLES_MAX + 2 - i]);
    for (int i = 0; i < 50; i++)
        log_event(LOG_LEVEL_ERROR, "test", "storm", "name=\"\x7f\n%s\"", "x");
    assert_int_equal(log_troubles(troubles), LOG_TROUBLES_MAX);
    assert_string_equal(troubles[0].msg, "storm");
    assert_int_equal(troubles[0].count, 50);
    assert_int_equal(troubles[0].level, LOG_LEVEL_ERROR);
    assert_string_equal(troubles[0].fields, "name=\"\\u007f\\nx\"");
    assert_ptr_equal(troubles[1].msg, messages[LOG_TROUBLES_MAX + 2]);
    char longer[2000];
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    log_event(LOG_LEVEL_ERROR, "test", "long", "%s", longer);
    assert_int_equal(log_troubles(troubles), LOG_TROUBLES_MAX);
    assert_int_equal(strlen(troubles[0].fields), sizeof troubles[0].fields - 1);
}

/* The harm: files of one day in the folder of another. A day that is written reads back, also from
 * before 1970, and a foreign file's number is none that could not be a day. */
static void days_are_written_as_they_are_read(void **state)
{
    (void)state;
    static const struct {
        int64_t day;
        const char *text;
    } cases[] = {{-719528, "0000-01-01"},
                 {-1, "1969-12-31"},
                 {0, "1970-01-01"},
                 {11016, "2000-02-29"},
                 {47540, "2100-02-28"},
                 {47541, "2100-03-01"},
                 {2932896, "9999-12-31"},
                 {INT64_MAX, "25252734927768524-07-27"},
                 {INT64_MIN, "-25252734927764585-06-07"}};
    struct buf text = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buf_reset(&text);
        instant_put_day(cases[i].day, &text);
        assert_string_equal(buf_cstr(&text), cases[i].text);
    }
    for (int64_t day = -719528; day <= 2932896; day += 13) {
        int64_t us = 0;
        buf_reset(&text);
        instant_put_day(day, &text);
        buf_put_cstr(&text, "T00:00:00Z");
        assert_true(instant_parse_rfc3339(buf_slice(&text), &us));
        assert_int_equal(us / INT64_C(86400000000), day);
    }
    buf_free(&text);
}

/* The harm: a NUL at an end taken for a blank, or a text of blanks alone read past its end. */
static void a_slice_is_trimmed_at_both_ends(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        const char *left;
        size_t left_len;
    } cases[] = {{"", 0, "", 0},       {" \t ", 3, "", 0},   {"a b", 3, "a b", 3},
                 {"\t a ", 4, "a", 1}, {" \0 ", 3, "\0", 1}, {"\na ", 3, "\na", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_true(slice_equal(slice_trim(slice_of(cases[i].text, cases[i].len), " \t"),
                                slice_of(cases[i].left, cases[i].left_len)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slice_is_trimmed_at_both_ends),
        cmocka_unit_test(crc32c_has_the_published_values),
        cmocka_unit_test(crc32c_of_the_whole_is_that_of_its_parts),
        cmocka_unit_test(crc32c_of_two_joined_is_that_of_both),
        cmocka_unit_test(sha256_and_md5_are_what_mbedtls_says),
        cmocka_unit_test(buf_failure_sticks),
        cmocka_unit_test(varints_are_zigzag_leb128),
        cmocka_unit_test(base64_refuses_what_it_never_wrote),
        cmocka_unit_test(hmac_is_that_of_the_standard),
        cmocka_unit_test(error_wrap_puts_context_in_front),
        cmocka_unit_test(error_wrap_keeps_the_cause_of_a_long_text),
        cmocka_unit_test(uuid_v7_sorts_by_time),
        cmocka_unit_test(arena_keeps_what_it_gave),
        cmocka_unit_test(log_troubles_are_bounded_and_tell_storms),
        cmocka_unit_test(days_are_written_as_they_are_read),
    };
    return cmocka_run_group_tests_name("lib/base", tests, NULL, NULL);
}
