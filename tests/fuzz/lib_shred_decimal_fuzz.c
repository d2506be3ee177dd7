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

/* What the quick ways take, they must find as the exact ones do. */
static void check_quick(struct slice text)
{
    uint8_t *padded = memory_alloc(text.len + 32, 1);
    int64_t quick = 0;
    int64_t exact = 0;
    double quick_real = 0;
    double exact_real = 0;
    memcpy(padded, text.data, text.len);
    if (decimal_quick_i64(padded, text.len, &quick))
        ASSERT(decimal_to_i64(text, &exact) && quick == exact);
    if (decimal_quick_double(padded, text.len, &quick_real))
        ASSERT(decimal_to_double(text, &exact_real) &&
               memcmp(&quick_real, &exact_real, sizeof quick_real) == 0);
    free(padded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    int64_t integer = 0;
    double real = 0;
    if (!decimal_is_number_text(text)) {
        ASSERT(!decimal_is_integer_text(text));
        return 0;
    }
    check_quick(text);
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
