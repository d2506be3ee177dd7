/* SPDX-License-Identifier: Apache-2.0
 *
 * What a catalog lends: a handful of names and values, some of them secrets.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"
#include "lib/objstore/objstore.h"

void objstore_lent_add(struct objstore_lent *lent, const char *name, const char *value)
{
    lent->properties = memory_resize(lent->properties, lent->count + 1, sizeof *lent->properties);
    lent->properties[lent->count++] = (struct objstore_property){.name = memory_copy_cstr(name),
                                                                 .value = memory_copy_cstr(value)};
}

const char *objstore_lent_find(const struct objstore_lent *lent, const char *name)
{
    for (size_t i = 0; i < lent->count; i++)
        if (strcmp(lent->properties[i].name, name) == 0 && *lent->properties[i].value != 0)
            return lent->properties[i].value;
    return NULL;
}

void objstore_lent_free(struct objstore_lent *lent)
{
    for (size_t i = 0; i < lent->count; i++) {
        free(lent->properties[i].name);
        memory_wipe(&lent->properties[i].value);
    }
    free(lent->properties);
    *lent = (struct objstore_lent){0};
}
