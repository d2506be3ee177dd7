/* SPDX-License-Identifier: Apache-2.0
 *
 * random.h: repeatable random numbers from a seed (simulation, generator,
 * jitter) and unrepeatable ones from the system (names, identities).
 */
#ifndef LIB_BASE_RANDOM_H
#define LIB_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* xoshiro256**; one for each thread. */
struct random {
    uint64_t state[4];
};

void random_seed(struct random *random, uint64_t seed);
uint64_t random_next(struct random *random);
/* Uniform in [0, bound); bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);
/* Uniform in [0, 1). */
double random_unit(struct random *random);
/* Standard normal. */
double random_normal(struct random *random);

/* From the system's generator; ends the process if there is none. */
void random_system(void *out, size_t len);

enum { UUID_TEXT_SIZE = 37 }; /* with the NUL */

/* RFC 9562 text, lower case. Version 7 begins with the time, so it sorts by it. */
void uuid_v4(char out[UUID_TEXT_SIZE]);
void uuid_v7(char out[UUID_TEXT_SIZE], int64_t wall_ms);
/* The same from a seeded generator, for simulations. */
void uuid_v7_from(char out[UUID_TEXT_SIZE], int64_t wall_ms, struct random *random);

#endif
