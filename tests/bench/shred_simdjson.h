/* SPDX-License-Identifier: Apache-2.0
 *
 * shred_simdjson.h: the C++ side of `make bench-shred`, as C sees it.
 */
#ifndef TESTS_BENCH_SHRED_SIMDJSON_H
#define TESTS_BENCH_SHRED_SIMDJSON_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes behind each text that the parser may read. */
size_t simdjson_padding(void);
/* Its own choice of kernel, "haswell", with its version. */
const char *simdjson_about(void);
/* Parses each line into a DOM; how many were refused. */
size_t simdjson_each_line(const char *text, size_t len);
/* The same with its own reader of documents one after the other. */
size_t simdjson_many(const char *text, size_t len, size_t *documents);

#ifdef __cplusplus
}
#endif

#endif
