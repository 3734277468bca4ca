/* Which kernel this is, and for which processor. */
#include "level.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define VERSION 4

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

/* Whether the processor multiplies bfloat16 (AVX512-BF16), and this library was built by a compiler that knows how. */
int charrnn_bfloat16(void) {
#ifdef BFLOAT16
    unsigned a = 0, b = 0, c = 0, d = 0;
    return charrnn_level() == 2 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
#else
    return 0;
#endif
}
