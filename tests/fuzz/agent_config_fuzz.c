/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's configuration: any text is a file, what stands before its first NUL a
 * command line (an argument a line). It is refused with a reason, or every option has a
 * value within its bounds.
 */
#include "agent/config.h"
#include "lib/yaml/yaml.h"
#include "tests/fuzz/command_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take_flag(void *context, const char *flag, const char *value, bool *known,
                     struct error *err)
{
    (void)context;
    (void)err;
    *known = value == NULL || strcmp(flag, "--spool") == 0;
    return OK;
}

static void check_option(const struct option *option, const struct agent_config *config)
{
    const void *at = (const char *)config + option->field;
    if (option->kind == OPTION_text) {
        ASSERT(*(const char *const *)at != NULL);
        return;
    }
    enum yaml_unit unit = option->kind == OPTION_bytes ? YAML_BYTES
                          : option->kind == OPTION_ms  ? YAML_MS
                                                       : YAML_COUNT;
    int64_t min = 0;
    int64_t max = 0;
    bool fine =
        yaml_number_parse(unit, option->min, &min) && yaml_number_parse(unit, option->max, &max);
    ASSERT(fine);
    ASSERT(*(const int64_t *)at >= min && *(const int64_t *)at <= max);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct command_line line;
    struct agent_config config;
    struct error err;
    command_line_make(&line, slice_of(data, size));
    agent_config_init(&config);
    struct option_line options = {
        .fields = &config,
        .tables = &config.tables,
        .arena = &config.arena,
        .take = take_flag,
        .arguments = arena_alloc(&config.arena, (size_t)line.argc + 1, sizeof(char *))};
    int rc = options_parse(&agent_options, &options, line.argc, line.argv, &err);
    if (rc == OK)
        rc = agent_config_finish(&config, &err);
    ASSERT(rc == OK || ((rc == ERROR_INPUT || rc == ERROR_LIMIT) && err.text[0] != 0));
    for (size_t i = 0; rc == OK && i < agent_options.count; i++)
        check_option(&agent_options.options[i], &config);
    for (size_t i = 0; rc == OK && i < config.tables.count; i++)
        ASSERT(config.tables.names[i] != NULL);
    agent_config_free(&config);
    command_line_free(&line);
    return 0;
}
