/* SPDX-License-Identifier: Apache-2.0
 *
 * settings.h: what bidlake-gen is told, from flags and environment (settings.def).
 */
#ifndef AGENT_GEN_SETTINGS_H
#define AGENT_GEN_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"

enum { SETTING_NOT_GIVEN = -1 };

/* One type for each kind of settings.def; texts are borrowed from argv or environment. */
typedef double setting_real;
typedef int64_t setting_count;
typedef int64_t setting_time;
typedef const char *setting_text;
typedef bool setting_toggle;

struct settings {
#define SETTING(kind, field, flag, environment, otherwise, min, max, value, help)                  \
    setting_##kind field;
#include "agent/gen/settings.def"
#undef SETTING
    bool help;
    bool version;
};

/* ERROR_INPUT names the flag or variable and what was wrong. `lookup` is getenv, or a
 * test's. */
int settings_parse(struct settings *out, int argc, char **argv,
                   const char *(*lookup)(const char *name), struct error *err) MUST_USE;

/* The list of flags for --help. */
void settings_describe(struct buf *out);

#endif
