/* SPDX-License-Identifier: Apache-2.0
 *
 * output.h: the sink with the offset and the checksum of what went through it.
 * Private to lib/parquet.
 */
#ifndef LIB_PARQUET_OUTPUT_H
#define LIB_PARQUET_OUTPUT_H

#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/parquet/parquet.h"

struct output {
    struct parquet_sink sink;
    uint64_t offset;
    uint32_t crc32c;
};

static inline int output_write(struct output *output, struct slice bytes, struct error *err)
{
    if (bytes.len == 0)
        return OK;
    int rc = output->sink.write(output->sink.context, bytes, err);
    if (rc != OK)
        return rc;
    output->offset += bytes.len;
    output->crc32c = crc32c(output->crc32c, bytes);
    return OK;
}

#endif
