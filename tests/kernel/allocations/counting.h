/* Call `call` again and again, each time with a later allocation that fails, until none does. */
#ifndef COUNTING_H
#define COUNTING_H

/* Prints the place of each. Returns 0 if every call returned `no_memory`, or, where a thread could
 * not begin and where nothing failed, `success`.
 */
int every_allocation_fails(const char *name, long call(void), long no_memory, long success);

#endif
