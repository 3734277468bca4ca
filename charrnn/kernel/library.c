/* Which kernel this is, and for which processor. */
#include "level.h"

#define VERSION 3

int charrnn_version(void) { return VERSION; }

/* What it was built with: another compiler rounds otherwise. */
const char *charrnn_compiler(void) { return __VERSION__; }

/* The best level of this processor. x86-64: 0 baseline, 1 AVX2 with FMA and F16C, 2 AVX-512; others: 0. */
int charrnn_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
    if (!__builtin_cpu_supports("f16c")) return 0;
#endif
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return 2;
    return 1;
#else
    return 0;
#endif
}
