/* Included before every line of the kernel: one of its allocations, or of its threads, fails. */
#ifndef FAILING_H
#define FAILING_H

#include <pthread.h>
#include <stdlib.h>

void *failing_malloc(size_t bytes, const char *file, int line);
int failing_thread(pthread_t *thread, void *(*run)(void *), void *argument, const char *file,
                   int line);

#define malloc(bytes) failing_malloc(bytes, __FILE__, __LINE__)
#define pthread_create(thread, attributes, run, argument)                                          \
    failing_thread(thread, run, argument, __FILE__, __LINE__)

#endif
