/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/view.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "lib/base/memory.h"

static void add_up(struct source_statistics *sum, const struct source_statistics *more)
{
    sum->requests += more->requests;
    sum->bytes += more->bytes;
    sum->connections += more->connections;
    sum->turned_away += more->turned_away;
    sum->timed_out += more->timed_out;
    sum->unresolved_macros += more->unresolved_macros;
    for (size_t i = 0; i < sizeof sum->answered / sizeof sum->answered[0]; i++)
        sum->answered[i] += more->answered[i];
}

size_t view_listeners(const struct view_sources *sources, struct view_listener **out)
{
    size_t count = 0;
    *out = memory_alloc(sources->count + 1, sizeof **out);
    for (size_t i = 0; i < sources->count; i++) {
        const struct view_source *source = &sources->open[i];
        struct source_statistics statistics = {0};
        source->ops->statistics(source->source, &statistics);
        if (source->more)
            add_up(&(*out)[count - 1].statistics, &statistics);
        else
            (*out)[count++] =
                (struct view_listener){.kind = source->ops->kind, .statistics = statistics};
    }
    return count;
}

uint64_t view_disk_free(const struct agent_view *view)
{
    struct statvfs info;
    if (statvfs(view->config->spool_directory, &info) < 0)
        return 0;
    return (uint64_t)info.f_bavail * info.f_frsize;
}

static struct view_table *find(struct view_table *tables, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(tables[i].flow.name, name) == 0)
            return &tables[i];
    }
    return NULL;
}

/* The spool's side first: what it has is answered and counted as kept a moment later. */
size_t view_tables(const struct agent_view *view, struct view_table **out)
{
    struct flow_table *flows = NULL;
    size_t captured = view->capture != NULL ? capture_table_count(view->capture) : 0;
    size_t flow_count = flow_copy(view->flow, &flows);
    size_t count = captured;
    struct view_table *tables = memory_alloc(captured + flow_count + 1, sizeof *tables);
    for (size_t i = 0; i < captured; i++) {
        const char *name = capture_table_name_borrow(view->capture, i);
        size_t len = strlen(name);
        memcpy(tables[i].flow.name, name,
               len < FLOW_TABLE_NAME_MAX ? len : FLOW_TABLE_NAME_MAX - 1);
        capture_table_statistics(view->capture, i, &tables[i].capture);
    }
    for (size_t i = 0; i < flow_count; i++) {
        struct view_table *table = find(tables, count, flows[i].name);
        if (table == NULL)
            table = &tables[count++];
        table->flow = flows[i];
    }
    free(flows);
    *out = tables;
    return count;
}

uint64_t view_table_refused(const struct view_table *table)
{
    uint64_t sum = table->capture.rejected;
    for (size_t i = 0; i < REFUSED_REASON_COUNT; i++)
        sum += table->capture.refused[i];
    return sum;
}

uint64_t view_table_dropped(const struct view_table *table)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < FLOW_REASONS; i++)
        sum += table->flow.dropped[i];
    return sum;
}
