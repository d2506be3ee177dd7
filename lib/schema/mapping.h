/* SPDX-License-Identifier: Apache-2.0
 *
 * mapping.h: one YAML file a table, that names each column's type and where in
 * an event it comes from. The presets are such files, compiled in.
 *
 *   table: bid_requests
 *   extends: openrtb/bid_requests     # a preset; columns below are added or replace
 *   explode: imp                      # or seatbid[].bid for two levels
 *   partition: [day(event_timestamp), device_geo_country]
 *   sort: [site_domain, device_geo_country, event_timestamp]
 *   unmapped: count                   # ignore | count
 *   priority: low                     # low | normal | high: low goes first when room is short
 *   columns:
 *     request_id: {type: string, from: id, required: true, bloom: true}
 *     imp_banner_w: {type: int, from: "imp[].banner.w | imp[].banner.format[0].w"}
 *     exchange: {type: string, from: $header.x-exchange}
 *     currency: {type: string, from: cur, default: USD}
 *     os: {type: string, from: device.os, enum: [ios, android]}   # else null
 *     at: {type: timestamptz, from: ts, unit: s}                  # s | ms | us
 *
 * Types: string country boolean int long double timestamptz list<T>. A column
 * event_timestamp always ends with the alternatives $source_time, $received_at.
 *
 * A mapping is const once loaded: any number of threads read it. Errors name
 * file, line, what is wrong and the nearest known name (ERROR_INPUT).
 */
#ifndef LIB_SCHEMA_MAPPING_H
#define LIB_SCHEMA_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/schema/schema.h"

enum source_kind {
    SOURCE_PATH,
    SOURCE_RECEIVED_AT, /* timestamptz */
    SOURCE_TIME,        /* $source_time, timestamptz: the source's own record time */
    SOURCE_STREAM,      /* filled by the roller, as position */
    SOURCE_POSITION,
    SOURCE_HOST,
    SOURCE_TOPIC,
    SOURCE_PARTITION,
    SOURCE_OFFSET,
    SOURCE_KEY,
    SOURCE_HEADER, /* name: lower case */
    SOURCE_QUERY,
    SOURCE_RAW, /* the event's bytes */
};

enum step_kind {
    STEP_KEY,   /* .name */
    STEP_INDEX, /* [n]: of something that is no list, [0] is the thing itself */
    STEP_EACH,  /* []: the list (or lone object) that explode walks */
};

struct path_step {
    enum step_kind kind;
    char *key;
    uint32_t index;
};

enum { PATH_STEPS_MAX = 16, ALTERNATIVES_MAX = 8, COLUMNS_MAX = 1000 };

struct source {
    enum source_kind kind;
    char *name; /* of header and query */
    size_t step_count;
    struct path_step *steps;
    size_t each_count; /* STEP_EACHs in steps: 0, 1 or 2; always a prefix of explode's */
};

enum coercion {
    COERCE_TYPE,    /* by the column's type alone */
    COERCE_COUNTRY, /* ISO 3166-1: alpha-3 upper case, or null */
    COERCE_ENUM,    /* one of `domain`, to the letter, or null */
};

enum time_unit { UNIT_MS, UNIT_S, UNIT_US };

struct mapping_column {
    size_t source_count;
    struct source *sources; /* the first that gives a value wins */
    enum coercion coercion;
    size_t domain_count;
    char **domain;
    enum time_unit unit;
    char *default_text; /* NULL: none; coerced by the column's rule when loaded */
    int line;           /* in its file, for messages */
};

enum unmapped { UNMAPPED_IGNORE, UNMAPPED_COUNT };

/* Which tables' events are refused or dropped first when something must be. */
enum priority { PRIORITY_LOW, PRIORITY_NORMAL, PRIORITY_HIGH };

struct mapping {
    struct table_schema schema;     /* field ids 1.. in column order, elements after */
    struct mapping_column *columns; /* as schema.columns */
    size_t explode_level_count;     /* 0, 1, 2 */
    struct source explode;          /* steps end in STEP_EACH; empty when no explode */
    enum unmapped unmapped;
    enum priority priority; /* PRIORITY_NORMAL when nothing says so */
};

void mapping_free(struct mapping *mapping);

/* `name` is how messages call the text; `text` is the YAML. */
int mapping_parse(struct mapping *out, const char *name, struct slice text,
                  struct error *err) MUST_USE;
int mapping_load_file(struct mapping *out, const char *path, struct error *err) MUST_USE;

/* "openrtb/bid_requests". ERROR_INPUT with the nearest name when there is none. */
int mapping_load_preset(struct mapping *out, const char *name, struct error *err) MUST_USE;

/* The presets' names and YAML texts, NULL-terminated: bid_requests bid_responses
 * impressions clicks dead_letters, each under "openrtb/". */
struct preset {
    const char *name;
    const char *yaml;
};
extern const struct preset presets[];

struct mapping_set {
    size_t count;
    struct mapping *mappings;
};
/* Each of `names` is a preset family ("openrtb": its five tables), one preset
 * ("openrtb/clicks"), or a path that ends in .yaml or .yml. A table named twice is an
 * error; dead_letters is always there. */
int mapping_set_load(struct mapping_set *out, const char *const *names, size_t count,
                     struct error *err) MUST_USE;
void mapping_set_free(struct mapping_set *set);
/* By table name; NULL when there is none. */
const struct mapping *mapping_set_find(const struct mapping_set *set, const char *table);
/* Upper case alpha-3 for an officially assigned ISO 3166-1 alpha-2 or alpha-3 code in
 * either case: constant storage, three characters. NULL for all else. */
const char *country_alpha3(struct slice code);

/* The known name nearest to a wrong one, for "did you mean"; NULL when none is near. */
const char *nearest_name(const char *wrong, const char *const *names, size_t count);

#endif
