/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/effort.h"

#include "lib/base/assert.h"

enum { FORGET = 8 }; /* the share of what was dearer that a cheap text takes away */

void effort_learn(struct effort *effort, size_t bytes, int64_t took_ns)
{
    ASSERT(bytes >= EFFORT_LEARNT_MIN);
    uint64_t byte_ps = (uint64_t)(took_ns > 0 ? took_ns : 0) * 1000 / bytes;
    uint64_t known_ps = atomic_load_explicit(&effort->byte_ps, memory_order_relaxed);
    if (byte_ps < known_ps)
        byte_ps = known_ps - (known_ps - byte_ps + FORGET - 1) / FORGET;
    atomic_store_explicit(&effort->byte_ps, byte_ps, memory_order_relaxed);
}

size_t effort_bytes_max(const struct effort *effort)
{
    uint64_t byte_ps = atomic_load_explicit(&effort->byte_ps, memory_order_relaxed);
    uint64_t bytes = (uint64_t)EFFORT_NS * 1000 / (byte_ps + 1);
    return bytes < EFFORT_BYTES_MIN   ? EFFORT_BYTES_MIN
           : bytes > EFFORT_BYTES_MAX ? EFFORT_BYTES_MAX
                                      : (size_t)bytes;
}
