/* SPDX-License-Identifier: Apache-2.0
 *
 * assert.h: checks of our own mistakes, never compiled out.
 *
 * What the network, a disk, a configuration or a peer can cause is an error
 * code (error.h). What only a bug of ours can cause ends the process: the spool
 * makes a restart cheap, and going on with corrupt state does not.
 */
#ifndef LIB_BASE_ASSERT_H
#define LIB_BASE_ASSERT_H

_Noreturn void assert_failed(const char *condition, const char *file, int line);

#define ASSERT(condition) ((condition) ? (void)0 : assert_failed(#condition, __FILE__, __LINE__))

#endif
