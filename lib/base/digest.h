/* SPDX-License-Identifier: Apache-2.0
 *
 * digest.h: checksums, digests and the texts they are written as.
 */
#ifndef LIB_BASE_DIGEST_H
#define LIB_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/slice.h"

/* CRC-32C (Castagnoli), as S3, GCS and RFC 3720 have it. Begin with 0; feeding
 * the parts one after the other gives the checksum of the whole. Uses the
 * processor's instruction where it has one. */
uint32_t crc32c(uint32_t crc, struct slice bytes);

/* Of two texts behind each other, from the checksums of each. */
uint32_t crc32c_join(uint32_t first, uint32_t second, uint64_t second_len);

enum { SHA256_SIZE = 32 };
void sha256(struct slice bytes, uint8_t out[SHA256_SIZE]);
/* The same piece by piece: begin, any number of adds, end (which frees). */
struct sha256_sum;
struct sha256_sum *sha256_begin(void);
void sha256_add(struct sha256_sum *sum, struct slice bytes);
void sha256_end(struct sha256_sum *sum, uint8_t out[SHA256_SIZE]);
/* For protocols that want it as a checksum; it protects from nobody. */
enum { MD5_SIZE = 16 };
void md5(struct slice bytes, uint8_t out[MD5_SIZE]);
/* RFC 2104 over SHA-256. */
void hmac_sha256(struct slice key, struct slice bytes, uint8_t out[SHA256_SIZE]);

/* Lower case, two characters a byte, and a NUL: out has 2 * bytes.len + 1. */
void hex_encode(struct slice bytes, char *out);

/* RFC 4648 section 4, with padding. */
void base64_encode(struct slice bytes, struct buf *out);
/* False for anything that base64_encode would not have written. */
bool base64_decode(struct slice text, struct buf *out) __attribute__((warn_unused_result));

#endif
