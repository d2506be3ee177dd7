/* SPDX-License-Identifier: Apache-2.0
 *
 * data.h: what the world is made of: countries, devices, words. Weights are shares of the
 * traffic, in any unit.
 */
#ifndef AGENT_GEN_DATA_H
#define AGENT_GEN_DATA_H

#include <stdint.h>

enum { REGIONS_MAX = 6 };

struct data_country {
    const char *alpha3;
    const char *alpha2;
    uint32_t weight;
    int32_t utc_offset; /* minutes */
    const char *language;
    const char *latitude; /* of its middle, as text */
    const char *longitude;
    const char *regions[REGIONS_MAX + 1]; /* ISO 3166-2, the part behind the country */
};

enum device_use { DEVICE_WEB = 1, DEVICE_APP = 2, DEVICE_TV = 4 };

struct data_device {
    uint32_t weight;
    unsigned uses;  /* of enum device_use */
    uint8_t type;   /* OpenRTB devicetype */
    const char *os; /* as sent; makers don't agree on case */
    const char *os_version;
    const char *make;
    const char *model;
    uint16_t width;
    uint16_t height;
    const char *user_agent;
};

struct data_size {
    uint32_t weight;
    uint16_t width;
    uint16_t height;
};

extern const struct data_country data_countries[];
extern const uint32_t data_country_count;
extern const struct data_device data_devices[];
extern const uint32_t data_device_count;
extern const struct data_size data_sizes[];
extern const uint32_t data_size_count;

/* Each list ends with NULL. Names are JSON text: some with escapes, some in UTF-8. */
extern const char *const data_words[];
extern const char *const data_endings[];
extern const char *const data_names[];
extern const char *const data_categories[];
extern const char *const data_seats[];
extern const char *const data_sections[];

#endif
