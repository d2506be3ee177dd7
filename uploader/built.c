/* SPDX-License-Identifier: Apache-2.0
 *
 * Built files by their names in <spool>/sealed/. */
#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "uploader/uploader.h"

void uploader_local_name(const struct spool_segment *segment, size_t index, struct buf *out)
{
    char hash[STREAM_HASH_SIZE];
    stream_hash(segment->stream, hash);
    buf_printf(out, "%s-%llu-%llu-%u-%zu.parquet", hash, (unsigned long long)segment->from,
               (unsigned long long)segment->to, segment->generation, index);
}

void uploader_remove_built(struct spool *spool, const char *stream, uint64_t from)
{
    char hash[STREAM_HASH_SIZE];
    struct buf prefix = {0};
    DIR *directory = opendir(spool_sealed_directory_borrow(spool));
    if (directory == NULL)
        return;
    stream_hash(stream, hash);
    buf_printf(&prefix, "%s-%llu-", hash, (unsigned long long)from);
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (strncmp(entry->d_name, buf_cstr(&prefix), prefix.len) == 0)
            unlinkat(dirfd(directory), entry->d_name, 0);
    }
    closedir(directory);
    buf_free(&prefix);
}
