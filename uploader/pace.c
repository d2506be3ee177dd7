/* SPDX-License-Identifier: Apache-2.0 */
#include "uploader/pace.h"

bool pace_change(struct pace *pace, uint64_t bytes_per_second, bool within_file)
{
    uint64_t rate = bytes_per_second;
    if (!within_file)
        pace->file_rate = rate;
    else if (rate != 0 && rate < pace->file_rate)
        rate = pace->file_rate;
    if (rate == pace->bytes_per_second)
        return false;
    *pace = (struct pace){.bytes_per_second = rate, .file_rate = pace->file_rate};
    return true;
}

bool pace_is_free(const struct pace *pace, int64_t now_ms)
{
    return pace->bytes_per_second == 0 || pace->paid_until_us <= now_ms * 1000;
}

size_t pace_piece(const struct pace *pace)
{
    return pace->bytes_per_second < SIZE_MAX ? (size_t)pace->bytes_per_second : SIZE_MAX;
}

int64_t pace_take(struct pace *pace, uint64_t bytes, int64_t now_ms)
{
    if (pace->bytes_per_second == 0)
        return 0;
    int64_t now_us = now_ms * 1000;
    if (pace->paid_until_us < now_us - PACE_SAVED_MS * 1000)
        pace->paid_until_us = now_us - PACE_SAVED_MS * 1000;
    int64_t wait_us = pace->paid_until_us - now_us;
    pace->paid_until_us += (int64_t)((double)bytes * 1e6 / (double)pace->bytes_per_second);
    return wait_us > 0 ? (wait_us + 999) / 1000 : 0;
}
