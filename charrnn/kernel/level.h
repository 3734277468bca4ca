/* What sampling.c and training.c share: vectors, exponentials, and the way one file serves several instruction sets.
 *
 * A file that includes itself once for each LEVEL (0 the architecture's baseline; on x86-64 1 AVX2, 2 AVX-512, and in
 * training 3, AVX-512 with products of bfloat16) includes
 * this header three times: at its top, for what does not depend on the level; before its vector part, which then may say
 * vec, NAME(...) and so on; and after that part, to end the level. The pragmas between the last two make the compiler use
 * those instructions for these functions only.
 */
#ifndef CHARRNN_LEVEL_H
#define CHARRNN_LEVEL_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__) || __GNUC__ >= 11
#define BFLOAT16 /* the compiler has its instructions */
#endif
#endif

#define UNITS 16 /* every width is padded to a multiple of this */
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

/* function_2(...) for level 2, and so on. The caller names a level that the processor has: charrnn_level() is the best. */
#if defined(__x86_64__)
#define DISPATCH(function, level) ((level) == 2 ? function##_2 : (level) == 1 ? function##_1 : function##_0)
#else
#define DISPATCH(function, level) function##_0
#endif

enum { RNN, LSTM, GRU, GRU_BEFORE };

int charrnn_version(void); /* of the structures that the callers fill; library.py has the same number */
const char *charrnn_compiler(void);
int charrnn_level(void);   /* the best level of this processor, up to 2 */
int charrnn_bfloat16(void); /* whether it has level 3 too: level 2, and products of bfloat16 in training */

#elif !defined(NAME) /* ------------------------------------------------------------------------------ a level begins */

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
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,f16c,prefer-vector-width=512")
#endif
#elif LEVEL == 3
#define VEC 16
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma,f16c,prefer-vector-width=512")
#endif
#else
#define VEC 4
#endif

#define JOIN_(name, level) name##_##level
#define JOIN(name, level) JOIN_(name, level)
#define NAME(name) JOIN(name, LEVEL)
#define vec NAME(vec)
#define loose NAME(loose)
#define words NAME(words)

typedef float vec __attribute__((vector_size(4 * VEC)));
typedef uint32_t words __attribute__((vector_size(4 * VEC)));
typedef float loose __attribute__((vector_size(4 * VEC), aligned(4), may_alias)); /* wherever it lies in memory */

/* |x| at most 9.2, where tanh is 1 to the last bit; NaN becomes -9.2. */
INLINE vec NAME(cut)(vec x) {
#if LEVEL >= 2
    return (vec)_mm512_min_ps(_mm512_max_ps((__m512)x, _mm512_set1_ps(-9.2f)), _mm512_set1_ps(9.2f));
#elif LEVEL == 1
    return (vec)_mm256_min_ps(_mm256_max_ps((__m256)x, _mm256_set1_ps(-9.2f)), _mm256_set1_ps(9.2f));
#else
    const vec most = (vec){0} + 9.2f;
    const words above = (words)(x > -most);
    x = (vec)(((words)x & above) | ((words)-most & ~above));
    const words below = (words)(x < most);
    return (vec)(((words)x & below) | ((words)most & ~below));
#endif
}

/* grown(x) = E(x) = e^-2x - 1 for |x| at most 9.2, from which tanh(x) = -E / (2 + E), and for a gate, whose x arrives halved, 1 / (1 + e^-2x) =
 * 1 / (2 + E). With -2x = n ln 2 + r it is 2^n q + (2^n - 1), q the Taylor series of e^r - 1: relative error below 3e-7,
 * at 0 too. */
INLINE vec NAME(grown)(vec x) {
    const vec shifted = x * -2.88539008f + 0x1.8p23f, n = shifted - 0x1.8p23f; /* n in the low bits of `shifted` */
    const vec r = (x * -2.0f - n * 0.693359375f) + n * 2.12194440e-4f;
    vec series = r * 1.98412698e-4f + 1.38888889e-3f;
    series = series * r + 8.33333333e-3f;
    series = series * r + 4.16666667e-2f;
    series = series * r + 1.66666667e-1f;
    series = series * r + 0.5f;
    const vec q = series * (r * r) + r, scale = (vec)(((words)shifted << 23) + (127u << 23));
    return scale * q + (scale - 1.0f);
}

INLINE vec NAME(E)(vec x) { return NAME(grown)(NAME(cut)(x)); }

#define EACH_VECTOR for (int j = 0; j < UNITS; j += VEC)
#define AT(array) (*(loose *)((array) + j))
#define IN(array) (*(const loose *)((array) + j))

#else /* ---------------------------------------------------------------------------------------------- a level ends */

#undef NAME
#undef JOIN
#undef JOIN_
#undef VEC
#undef vec
#undef loose
#undef words
#undef EACH_VECTOR
#undef AT
#undef IN
#if LEVEL > 0
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#endif
