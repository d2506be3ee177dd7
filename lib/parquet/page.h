/* SPDX-License-Identifier: Apache-2.0
 *
 * page.h: one page as it stands in the file: header, then one zstd frame.
 * Private to lib/parquet.
 */
#ifndef LIB_PARQUET_PAGE_H
#define LIB_PARQUET_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

/* parquet.thrift: Encoding, PageType. */
enum {
    ENCODING_PLAIN = 0,
    ENCODING_RLE = 3,
    ENCODING_RLE_DICTIONARY = 8,
    PAGE_DATA = 0,
    PAGE_DICTIONARY = 2,
};

/* Compresses pages; its memory is reused. */
struct page_packer {
    void *zstd; /* ZSTD_CCtx */
    int level;
    int64_t zstd_ns;
    struct buf out;
    struct buf header;
};

struct page {
    int type;          /* PAGE_ */
    int encoding;      /* of the values: ENCODING_ */
    size_t entries;    /* values and nulls */
    struct slice body; /* levels and values, not compressed */
};

struct packed_page {
    struct slice bytes;      /* header and frame; good until the next page_pack */
    size_t uncompressed_len; /* header and body */
};

void page_packer_init(struct page_packer *packer, int level);
void page_packer_free(struct page_packer *packer);
int page_pack(struct page_packer *packer, const struct page *page, struct packed_page *out,
              struct error *err) MUST_USE;

#endif
