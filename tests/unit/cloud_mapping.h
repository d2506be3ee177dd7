/* SPDX-License-Identifier: Apache-2.0
 *
 * A small table with two partition specs, for tests of cloud/: id, country, at.
 */
#ifndef TESTS_UNIT_CLOUD_MAPPING_H
#define TESTS_UNIT_CLOUD_MAPPING_H

#include "lib/base/memory.h"
#include "lib/schema/mapping.h"

static void fixture_mapping(struct mapping *out)
{
    static const struct {
        const char *name;
        enum type type;
        bool required;
    } columns[] = {{"id", TYPE_STRING, true},
                   {"country", TYPE_STRING, false},
                   {"at", TYPE_TIMESTAMPTZ, false}};
    struct table_schema *s = &out->schema;
    *out = (struct mapping){0};
    s->table = memory_copy_cstr("t");
    s->column_count = 3;
    s->columns = memory_alloc(3, sizeof *s->columns);
    for (size_t i = 0; i < 3; i++)
        s->columns[i] = (struct column){.name = memory_copy_cstr(columns[i].name),
                                        .type = columns[i].type,
                                        .required = columns[i].required,
                                        .field_id = (int32_t)i + 1};
    s->spec_count = 2;
    s->specs[0].field_count = 2;
    s->specs[0].fields[0] = (struct partition_field){.transform = TRANSFORM_DAY,
                                                     .column = 2,
                                                     .field_id = 1000,
                                                     .name = memory_copy_cstr("at_day")};
    s->specs[0].fields[1] = (struct partition_field){.transform = TRANSFORM_IDENTITY,
                                                     .column = 1,
                                                     .field_id = 1001,
                                                     .name = memory_copy_cstr("country")};
    s->specs[1].spec_id = 1;
    s->specs[1].field_count = 1;
    s->specs[1].fields[0] = (struct partition_field){.transform = TRANSFORM_DAY,
                                                     .column = 2,
                                                     .field_id = 1000,
                                                     .name = memory_copy_cstr("at_day")};
    s->sort = (struct sort_order){.order_id = 1, .column_count = 2, .columns = {1, 2}};
    s->time_column = 2;
}

#endif
