/* SPDX-License-Identifier: Apache-2.0
 *
 * jansson's loops, which cppcheck does not see through without jansson's header.
 */
#define json_array_foreach(array, index, value)                                                    \
    for (index = 0;                                                                                \
         index < json_array_size(array) && (value = json_array_get(array, index)) != NULL;         \
         index++)
#define json_object_foreach(object, key, value)                                                    \
    for (key = next_key(object, &value); key != NULL; key = next_key(object, &value))
