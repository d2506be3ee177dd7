/* SPDX-License-Identifier: Apache-2.0
 *
 * What a person or a script does to a table by mistake: the property is gone, it points
 * at another table's ledger, the ledger's file is gone. Until it is mended nothing may be
 * taken on it, or all that was committed would come again. A commit that was on its way
 * all the time may arrive and mend it by itself.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"
#include "tests/crash/world.h"

enum mess_kind { MESS_PROPERTY, MESS_POINTER, MESS_FILE };

struct world_mess {
    enum mess_kind kind;
    size_t table;
    char *pointer; /* as it was */
    char *wrong;   /* as it was made */
    struct buf bytes;
};

static char *pointer_of(struct world *world, size_t table)
{
    struct error err;
    struct catalog_table now = {0};
    bool found = false;
    int rc = catalog_load_table(world->plain_catalog, "db", world->mapping[0][table].schema.table,
                                &now, &found, &err);
    ASSERT(rc == OK && found);
    const char *pointer = metadata_property_borrow(now.metadata, "bidlake.ledger");
    char *copy = memory_copy_or_null(pointer);
    catalog_table_free(&now);
    return copy;
}

static void set_pointer(struct world *world, size_t table, const char *pointer)
{
    world_foreign_update(world, table,
                         json_pack("[{s:s,s:{s:s}}]", "action", "set-properties", "updates",
                                   "bidlake.ledger", pointer));
}

static void take_file(struct world *world, struct world_mess *mess)
{
    struct error err;
    struct objstore_info info = {0};
    int rc = objstore_get(world->plain_store, mess->pointer, LEDGER_BYTES_MAX, &mess->bytes, &info,
                          &err);
    if (rc == OK)
        rc = objstore_remove(world->plain_store, mess->pointer, &err);
    if (rc != OK)
        world_fail(world, "%s: %s", mess->pointer, err.text);
}

void world_make_mess(struct world *world)
{
    static const char *const names[] = {"unsets the property", "puts the pointer wrong",
                                        "takes the ledger's file"};
    if (world->mess != NULL)
        return;
    struct world_mess *mess = memory_alloc(1, sizeof *mess);
    mess->kind = (enum mess_kind)random_below(&world->random, world->table_count == 1 ? 2 : 3);
    if (world->table_count == 1 && mess->kind == MESS_POINTER)
        mess->kind = MESS_FILE;
    mess->table = random_below(&world->random, world->table_count);
    mess->pointer = pointer_of(world, mess->table);
    ASSERT(mess->pointer != NULL);
    world->mess = mess;
    world_note(world, "MISCHIEF %s of %s", names[mess->kind], world->table[mess->table]);
    if (mess->kind == MESS_PROPERTY) {
        world_foreign_update(world, mess->table,
                             json_pack("[{s:s,s:[s]}]", "action", "remove-properties", "removals",
                                       "bidlake.ledger"));
    } else if (mess->kind == MESS_POINTER) {
        mess->wrong = pointer_of(world, 1 - mess->table);
        set_pointer(world, mess->table, mess->wrong);
    } else {
        take_file(world, mess);
    }
}

void world_mend_mess(struct world *world)
{
    struct error err;
    struct world_mess *mess = world->mess;
    if (mess == NULL)
        return;
    char *now = pointer_of(world, mess->table);
    bool still = now == NULL || (mess->wrong != NULL && strcmp(now, mess->wrong) == 0);
    world_note(world, "a person mends %s", world->table[mess->table]);
    if (mess->kind == MESS_FILE &&
        objstore_put_bytes(world->plain_store, mess->pointer, buf_slice(&mess->bytes), PUT_ALWAYS,
                           &err) != OK)
        world_fail(world, "%s: %s", mess->pointer, err.text);
    if (mess->kind != MESS_FILE && still)
        set_pointer(world, mess->table, mess->pointer);
    free(now);
    free(mess->pointer);
    free(mess->wrong);
    buf_free(&mess->bytes);
    free(mess);
    world->mess = NULL;
}
