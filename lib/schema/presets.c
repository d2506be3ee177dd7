/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in mappings: presets/ as strings, by presets.awk.
 */
#include "lib/schema/mapping.h"

#include "lib/schema/presets.inc"

const struct preset presets[] = {
    {"openrtb/bid_requests", preset_bid_requests}, {"openrtb/bid_responses", preset_bid_responses},
    {"openrtb/impressions", preset_impressions},   {"openrtb/clicks", preset_clicks},
    {"openrtb/dead_letters", preset_dead_letters}, {NULL, NULL},
};
