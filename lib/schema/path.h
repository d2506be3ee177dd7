/* SPDX-License-Identifier: Apache-2.0
 *
 * path.h: the little language of `from` and `explode`. Private to lib/schema.
 *
 *   from    = source *( "|" source )
 *   source  = key *( "." key / "[" number "]" / "[]" )  /  "$" name
 *   explode = key *( "." key ) [ "[]" "." key *( "." key ) ] [ "[]" ]
 *
 * A key is one or more bytes other than . [ ] | $ and blanks. Errors have no place: the caller
 * knows file and line.
 */
#ifndef LIB_SCHEMA_PATH_H
#define LIB_SCHEMA_PATH_H

#include "lib/schema/mapping.h"

/* On failure too, what *out holds is for source_free and free. */
int path_parse_sources(const char *text, struct source **out, size_t *count,
                       struct error *err) MUST_USE;
/* Ends in STEP_EACH; its levels are each_count. */
int path_parse_explode(const char *text, struct source *out, struct error *err) MUST_USE;
/* Whether each [] of the path is one that explode walks. */
bool path_follows_explode(const struct source *source, const struct source *explode);
void source_free(struct source *source);

#endif
