/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/digest.h"

#include <mbedtls/base64.h>
#include <mbedtls/md.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/memory.h"

#define CASTAGNOLI 0x82f63b78u /* reflected */

static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_fill(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? CASTAGNOLI : 0);
        table[0][i] = crc;
    }
    for (size_t k = 1; k < 8; k++) {
        for (size_t i = 0; i < 256; i++)
            table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xff];
    }
}

/* Eight tables, eight bytes a step. */
static uint32_t crc32c_tables(uint32_t crc, const uint8_t *data, size_t len)
{
    pthread_once(&table_once, table_fill);
    for (; len >= 8; len -= 8, data += 8) {
        uint32_t low = crc ^ get_u32le(data);
        uint32_t high = get_u32le(data + 4);
        crc = table[7][low & 0xff] ^ table[6][(low >> 8) & 0xff] ^ table[5][(low >> 16) & 0xff] ^
              table[4][low >> 24] ^ table[3][high & 0xff] ^ table[2][(high >> 8) & 0xff] ^
              table[1][(high >> 16) & 0xff] ^ table[0][high >> 24];
    }
    for (; len > 0; len--, data++)
        crc = (crc >> 8) ^ table[0][(crc ^ *data) & 0xff];
    return crc;
}

#if defined(__x86_64__)
/* The instruction takes three cycles but begins one each cycle: so three lanes run beside
 * each other, and what a lane's bytes do to the checksums before it comes from a table. */
enum { LANE = 1024 };

static uint32_t lane_shift[4][256];
static pthread_once_t lane_once = PTHREAD_ONCE_INIT;

/* lane_shift[k][v]: a checksum of v << 8k after LANE bytes of zero. */
static void lane_fill(void)
{
    uint32_t bit_shift[32];
    pthread_once(&table_once, table_fill);
    for (size_t bit = 0; bit < 32; bit++) {
        uint32_t crc = (uint32_t)1 << bit;
        for (size_t i = 0; i < LANE; i++)
            crc = (crc >> 8) ^ table[0][crc & 0xff];
        bit_shift[bit] = crc;
    }
    for (size_t k = 0; k < 4; k++) {
        for (size_t value = 0; value < 256; value++) {
            for (size_t bit = 0; bit < 8; bit++)
                lane_shift[k][value] ^= (value >> bit & 1) != 0 ? bit_shift[8 * k + bit] : 0;
        }
    }
}

static uint32_t over_lane(uint32_t crc)
{
    return lane_shift[0][crc & 0xff] ^ lane_shift[1][(crc >> 8) & 0xff] ^
           lane_shift[2][(crc >> 16) & 0xff] ^ lane_shift[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *data,
                                                               size_t len)
{
    uint64_t wide = crc;
    if (len >= 3 * (size_t)LANE)
        pthread_once(&lane_once, lane_fill);
    for (; len >= 3 * (size_t)LANE; len -= 3 * (size_t)LANE, data += 3 * (size_t)LANE) {
        uint64_t second = 0;
        uint64_t third = 0;
        for (size_t i = 0; i < LANE; i += 8) {
            wide = __builtin_ia32_crc32di(wide, get_u64le(data + i));
            second = __builtin_ia32_crc32di(second, get_u64le(data + LANE + i));
            third = __builtin_ia32_crc32di(third, get_u64le(data + 2 * (size_t)LANE + i));
        }
        wide = over_lane(over_lane((uint32_t)wide) ^ (uint32_t)second) ^ (uint32_t)third;
    }
    for (; len >= 8; len -= 8, data += 8)
        wide = __builtin_ia32_crc32di(wide, get_u64le(data));
    crc = (uint32_t)wide;
    for (; len > 0; len--, data++)
        crc = __builtin_ia32_crc32qi(crc, *data);
    return crc;
}
#endif

uint32_t crc32c(uint32_t crc, struct slice bytes)
{
    crc = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_sse42(crc, bytes.data, bytes.len);
#endif
    return ~crc32c_tables(crc, bytes.data, bytes.len);
}

/* a * b modulo the polynomial, bits reflected. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (int bit = 31; bit >= 0; bit--) {
        product ^= (a >> bit & 1) != 0 ? b : 0;
        b = (b >> 1) ^ ((b & 1) != 0 ? CASTAGNOLI : 0);
    }
    return product;
}

uint32_t crc32c_join(uint32_t first, uint32_t second, uint64_t second_len)
{
    uint32_t power = (uint32_t)1 << 23; /* x^8: a byte of zeros */
    for (; second_len > 0; second_len >>= 1) {
        if ((second_len & 1) != 0)
            first = multiply(power, first);
        power = multiply(power, power);
    }
    return first ^ second;
}

void md5(struct slice bytes, uint8_t out[MD5_SIZE])
{
    int rc = mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_MD5), bytes.data, bytes.len, out);
    ASSERT(rc == 0);
}

void hmac_sha256(struct slice key, struct slice bytes, uint8_t out[SHA256_SIZE])
{
    int rc = mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), key.data, key.len,
                             bytes.data, bytes.len, out);
    ASSERT(rc == 0);
}

void hex_encode(struct slice bytes, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.len; i++) {
        *out++ = digits[bytes.data[i] >> 4];
        *out++ = digits[bytes.data[i] & 15];
    }
    *out = 0;
}

void base64_encode(struct slice bytes, struct buf *out)
{
    if (bytes.len == 0)
        return;
    size_t need = (bytes.len + 2) / 3 * 4 + 1; /* mbedTLS writes a NUL too */
    if (!buf_reserve(out, need))
        return;
    size_t written = 0;
    int rc = mbedtls_base64_encode(out->data + out->len, need, &written, bytes.data, bytes.len);
    ASSERT(rc == 0);
    out->len += written;
}

static bool base64_is_plain(struct slice text)
{
    size_t padding = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '=')
            padding++;
        else if (padding > 0 || strchr("\r\n ", c) != NULL)
            return false; /* mbedTLS skips blanks; we never wrote any */
    }
    return text.len % 4 == 0 && padding <= 2;
}

/* The last four characters are those of the last bytes: mbedTLS takes bits behind them, too. */
static bool base64_ends_plain(struct slice text, struct slice bytes)
{
    struct buf end = {0};
    size_t tail = bytes.len % 3 > 0 ? bytes.len % 3 : 3;
    base64_encode(slice_of(bytes.data + bytes.len - tail, tail), &end);
    bool same = end.len == 4 && memcmp(end.data, text.data + text.len - 4, 4) == 0;
    buf_free(&end);
    return same;
}

bool base64_decode(struct slice text, struct buf *out)
{
    if (text.len == 0)
        return true;
    if (!base64_is_plain(text) || !buf_reserve(out, text.len / 4 * 3))
        return false;
    size_t written = 0;
    int rc = mbedtls_base64_decode(out->data + out->len, out->cap - out->len, &written, text.data,
                                   text.len);
    if (rc != 0 || !base64_ends_plain(text, slice_of(out->data + out->len, written)))
        return false;
    out->len += written;
    return true;
}
