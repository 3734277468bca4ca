/* What all files of the kernel share: cells, units, and the levels of instructions.
 *
 * One library serves all processors of an architecture. The vector parts (*.inc.h) of sampling.c
 * and training.c are compiled once for each LEVEL that the architecture has:
 *
 *     LEVEL 0   the architecture's baseline, everywhere
 *     LEVEL 1   x86-64 with AVX2, FMA and F16C
 *     LEVEL 2   x86-64 with AVX-512
 *     LEVEL 3   level 2 with products of bfloat16 (AVX512-BF16): training only
 *
 * A function NAME(step) becomes step_0, step_1 and so on. The caller names the level, which is at
 * most charrnn_level(); each C file has a table of its functions by level.
 */
#ifndef CHARRNN_LEVEL_H
#define CHARRNN_LEVEL_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__) || __GNUC__ >= 11
#define BFLOAT16 /* the compiler knows the instructions of level 3 */
#endif
#endif

#define UNITS  16 /* the program pads every width to a multiple of this */
#define INLINE static inline __attribute__((always_inline))

/* Before a loop whose number of turns is a constant: write all of them out. */
#define UNROLL _Pragma("GCC unroll 16")
/* Before a loop whose turns do not read what others write. Without it GCC does not vectorise. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

/* library.py has the same order. gru resets after the matrix product, gru-before before it. */
enum { RNN, LSTM, GRU, GRU_BEFORE };

static inline int64_t gates_of(int cell) { return cell == RNN ? 1 : cell == LSTM ? 4 : 3; }
static inline int64_t larger_of(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t smaller_of(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t padded(int64_t n) { return (n + UNITS - 1) / UNITS * UNITS; }

/* The version of the structures that Python fills. library.py has the same number. */
int charrnn_version(void);
/* The compiler that built the library: another one rounds differently. */
const char *charrnn_compiler(void);
/* The best level of this processor, up to 2. */
int charrnn_level(void);
/* Whether this processor and this library have level 3. */
int charrnn_bfloat16(void);

#endif
