/* Begins the vector part of a LEVEL: its instructions, its vectors, and functions all parts use.
 *
 * Defines NAME(function), VEC (floats in a vector), the types vec, loose and words, and IN, OUT and
 * EACH_VECTOR. end_level.inc.h removes them again. Between the two, the compiler uses the
 * instructions of this level, and there only.
 */
#if LEVEL == 1
#define VEC 8
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#elif LEVEL == 2
#define VEC 16
#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,f16c,prefer-vector-width=512")
#endif
#elif LEVEL == 3
#define VEC 16
#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma,f16c"))),             \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma,f16c,prefer-vector-width=512")
#endif
#else
#define VEC 4
#endif

#define JOIN_(name, level) name##_##level
#define JOIN(name, level)  JOIN_(name, level)
#define NAME(name)         JOIN(name, LEVEL)
#define vec                NAME(vec)
#define loose              NAME(loose)
#define words              NAME(words)

typedef float vec __attribute__((vector_size(4 * VEC)));
typedef uint32_t words __attribute__((vector_size(4 * VEC)));
/* A vector that may lie at any float in memory, and whose place may also be read as floats. */
typedef float loose __attribute__((vector_size(4 * VEC), aligned(4), may_alias));

/* The VEC floats from `place` on, to read and to write. */
#define IN(place)  (*(const loose *)(place))
#define OUT(place) (*(loose *)(place))
/* j = 0, VEC, 2 VEC ... for the vectors of UNITS floats. */
#define EACH_VECTOR(j) for (int j = 0; j < UNITS; j += VEC)

/* a > b ? a : b for each float: b where one of the two is NaN. */
INLINE vec NAME(larger)(vec a, vec b) {
#if LEVEL >= 2
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif LEVEL == 1
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    const words first = (words)(a > b);
    return (vec)(((words)a & first) | ((words)b & ~first));
#endif
}

/* a < b ? a : b for each float: b where one of the two is NaN. */
INLINE vec NAME(smaller)(vec a, vec b) {
#if LEVEL >= 2
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif LEVEL == 1
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
#else
    const words first = (words)(a < b);
    return (vec)(((words)a & first) | ((words)b & ~first));
#endif
}

/* 2^n for the whole number n in the low bits of `shifted`. */
INLINE vec NAME(power_of_two)(vec shifted) { return (vec)(((words)shifted << 23) + (127u << 23)); }

/* e^-2x - 1 for |x| <= 9.2. The cells are made of it:
 *     tanh(x) = -grown(x) / (2 + grown(x))        1 / (1 + e^-x) = 1 / (2 + grown(x / 2))
 *
 * With -2x = n ln 2 + r it is 2^n q + (2^n - 1), where q is the Taylor series of e^r - 1. The
 * relative error is below 3e-7, at 0 too. Adding 1.5 2^23 rounds to a whole number.
 */
INLINE vec NAME(grown)(vec x) {
    const vec shifted = x * -2.88539008f + 0x1.8p23f;
    const vec n = shifted - 0x1.8p23f;
    const vec r = (x * -2.0f - n * 0.693359375f) + n * 2.12194440e-4f;
    vec series = r * 1.98412698e-4f + 1.38888889e-3f;
    series = series * r + 8.33333333e-3f;
    series = series * r + 4.16666667e-2f;
    series = series * r + 1.66666667e-1f;
    series = series * r + 0.5f;
    const vec q = series * (r * r) + r;
    const vec scale = NAME(power_of_two)(shifted);
    return scale * q + (scale - 1.0f);
}
