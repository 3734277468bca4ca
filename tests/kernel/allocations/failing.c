/* Which allocation fails, and where it stands. Threads count as allocations. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "counting.h"

long countdown = -1; /* allocations until one fails; negative: none fails */
int failed_thread;
const char *failed_file;
int failed_line;

static int fails(const char *file, int line, int is_thread) {
    static int is_asked;
    if (!is_asked) {
        const char *text = getenv("FAILING_ALLOCATION");
        if (text) countdown = atol(text);
        is_asked = 1;
    }
    if (countdown < 0 || --countdown != 0) return 0;
    countdown = -1;
    failed_file = file;
    failed_line = line;
    failed_thread = is_thread;
    return 1;
}

void *failing_malloc(size_t bytes, const char *file, int line) {
    if (fails(file, line, 0)) return NULL;
    return malloc(bytes);
}

int failing_thread(pthread_t *thread, void *(*run)(void *), void *argument, const char *file,
                   int line) {
    if (fails(file, line, 1)) return EAGAIN;
    return pthread_create(thread, NULL, run, argument);
}

int every_allocation_fails(const char *name, long call(void), long no_memory, long success) {
    int allocations = 0;
    for (long n = 1;; n++) {
        countdown = n;
        failed_file = NULL;
        const long result = call();
        countdown = -1;
        if (!failed_file) {
            if (result != success) return printf("%s: %ld without a failure\n", name, result), 1;
            break;
        }
        allocations++;
        const long expected = failed_thread ? success : no_memory;
        printf("%s:%d %s\n", failed_file, failed_line, name);
        if (result != expected) return printf("%s: %ld, not %ld\n", name, result, expected), 1;
    }
    if (!allocations) return printf("%s: allocates nothing\n", name), 1;
    return 0;
}
