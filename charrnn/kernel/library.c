/* Which kernel this is, and what this processor can run of it. */
#include "level.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define VERSION 9

int charrnn_version(void) { return VERSION; }

const char *charrnn_compiler(void) { return __VERSION__; }

int charrnn_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
    if (!__builtin_cpu_supports("f16c")) return 0;
#endif
    const int has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
                           && __builtin_cpu_supports("avx512bw")
                           && __builtin_cpu_supports("avx512vl");
    return has_avx512 ? 2 : 1;
#else
    return 0;
#endif
}

int charrnn_bfloat16(void) {
#ifdef BFLOAT16
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (charrnn_level() < 2) return 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
#else
    return 0;
#endif
}
