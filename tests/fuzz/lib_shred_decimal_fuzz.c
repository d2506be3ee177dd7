/* SPDX-License-Identifier: Apache-2.0
 *
 * Number texts against libc: strtod for doubles, strtoll for integers without point
 * and exponent. A double that is an exact integer must agree with the exact path.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/shred/decimal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    int64_t integer = 0;
    double real = 0;
    if (!decimal_is_number_text(text)) {
        ASSERT(!decimal_is_integer_text(text));
        return 0;
    }
    char *copy = memory_copy_slice(text);
    double want = strtod(copy, NULL);
    bool finite = decimal_to_double(text, &real);
    ASSERT(finite == isfinite(want));
    ASSERT(!finite || memcmp(&real, &want, sizeof real) == 0);
    bool whole = decimal_to_i64(text, &integer);
    if (whole)
        ASSERT((double)integer == want);
    else
        ASSERT(!(fabs(want) < 0x1p53 && want == floor(want) && want != 0 && size < 16));
    if (decimal_is_zero(text))
        ASSERT(want == 0 && whole && integer == 0);
    if (decimal_is_integer_text(text)) {
        errno = 0;
        long long direct = strtoll(copy, NULL, 10);
        ASSERT(whole == (errno == 0));
        ASSERT(!whole || direct == integer);
    }
    free(copy);
    return 0;
}
