/* SPDX-License-Identifier: Apache-2.0
 *
 * bidlake-commit's configuration, as agent_config_fuzz.c has the agent's.
 */
#include "cloud/config.h"
#include "tests/fuzz/command_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct command_line line;
    struct config config = {0};
    struct error err;
    command_line_make(&line, slice_of(data, size));
    int rc = config_parse(&config, line.argc, line.argv, &err);
    ASSERT(rc == OK || ((rc == ERROR_INPUT || rc == ERROR_LIMIT) && err.text[0] != 0));
    if (rc == OK) {
        ASSERT(config.warehouse[0] != 0 && config.catalog_spec != NULL && config.ns[0] != 0);
        ASSERT(config.busy_ms >= 0 && config.interval_ms > 0 && config.file_age_ms >= 0);
        ASSERT(config.announcements_max > 0 && config.snapshots_keep > 0);
        ASSERT(config.argument_count < (size_t)line.argc);
        for (size_t i = 0; i < config.argument_count; i++)
            ASSERT(config.arguments[i] != NULL);
    }
    config_free(&config);
    command_line_free(&line);
    return 0;
}
