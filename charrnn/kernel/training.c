/* Training: one recurrent layer over a whole sequence, forward and backward, and the products around it.
 *
 * model/kernel.py calls these functions; model/recurrent.py has the same in PyTorch and is the reference. All arrays are
 * float32, dense and time-major; the caller has checked shapes and ids, and has padded the hidden size to UNITS.
 *
 * How it is fast
 *   - Weights are packed once for all steps of a sequence, in panels of neighbouring outputs, input after input; a panel
 *     of the recurrent weights holds all gates of its units, and their gates are computed while the sums are in registers.
 *   - A tile of outputs (6 rows x 64 with AVX-512) takes all its inputs from one packed panel and a few rows.
 *   - Layer 0 multiplies the V characters, not the T B places: a row of that table is looked up, and backward its gradient
 *     is summed by character.
 *   - At level 3 products are of bfloat16, two at a time: packed weights and rows hold pairs of neighbouring inputs, rounded
 *     as they are packed. Sums, gates, states and all that is kept stay float32.
 *   - Threads take rows of the batch, outside the time loop; for sums over rows
 *     they take outputs; they meet between such parts, not in the loop. So every sum has one order, and the result does not depend on the number of threads.
 *
 * As sampling.c it includes itself once per instruction set.
 */
#ifndef LEVEL /* ------------------------------------------------------------------------------- once: types and threads */

#define _POSIX_C_SOURCE 200112L
#include <math.h>
#include <stdlib.h>

#include "level.h"
#include "team.h"

#define BLOCK_ROWS 256   /* rows of input products made ahead of the recurrence: they stay in the second-level cache */
#define BLOCK_INPUTS 256 /* inputs of a product that are summed before the next are packed */
#define SCORED_ROWS 64 /* rows whose scores are turned into probabilities while they are near */
#define IGNORED -100   /* a target that counts for nothing */
enum { NO_MEMORY = -1, BAD_ID = -2 };

/* A layer over time. G: gates times H; x (T, B, inputs), or with ids (V, inputs), of which row ids[t, b] is meant.
 * saved (T, B, S H): lstm i, f, g, o; gru r, z, n, W_hn h + b_hn; gru-before r, z, n, r h; rnn has none. */
typedef struct {
    int32_t cell, level;
    int64_t threads, time, batch, hidden, inputs, vocabulary;
    const int64_t *ids; /* (T, B) or null */
    const float *x, *weight_ih, *weight_hh, *bias_ih, *bias_hh;
    float *hs;    /* (T + 1, B, H): h before the first step, then the outputs */
    float *cs;    /* lstm: (T + 1, B, H); without `saved` (B, H), in place */
    float *saved; /* null: no backward pass will follow */
    /* backward */
    const float *d_out;      /* (T, B, H) */
    float *d_h, *d_c;        /* (B, H): in zero and the gradient of the last c, out those of the state before */
    float *d_gates;          /* (T, B, D H) scratch: lstm i, f, g, o; gru n, r, z, W_hn h; gru-before r, z, n; rnn h */
    float *d_x;              /* as x, or null */
    float *d_weight_ih, *d_weight_hh, *d_bias_ih, *d_bias_hh;
} sequence;

/* c (rows, columns) = or += a b [+ bias]: a(i, k) = a[i a_row + k a_inner], b(k, j) = b[k b_inner + j b_column]. */
typedef struct {
    int32_t level, adds;
    int64_t threads, rows, columns, inner;
    const float *a;
    int64_t a_row, a_inner;
    const float *b;
    int64_t b_inner, b_column;
    const float *bias; /* (columns) or null */
    float *c;
    int64_t c_row;
} product;

/* Scores of the next character: row i of x (rows, inputs) against weight (vocabulary, inputs) and bias; a target of
 * IGNORED: the row counts for nothing. */
typedef struct {
    int32_t level;
    int64_t threads, rows, inputs, vocabulary;
    const float *x, *weight, *bias;
    const int64_t *targets; /* (rows) */
    double *nats;           /* (rows) out: -ln of the target's probability */
    float *slopes;          /* (rows, vocabulary) out: d nats / d logits; or null */
} scores;

typedef struct {
    const sequence *s;
    const product *p;
    const scores *q;
    meeting place;
    float *recurrent, *candidate, *input, *table, *bias; /* packed weights; (V, G); (G) */
    float *scratch, *pairs;                              /* for each thread; pairs: level 3, rows as products read them */
    int64_t scratch_size, scratch_row, pairs_size;
    void *memory;
} work;

static int64_t gates_of(int cell) { return cell == RNN ? 1 : cell == LSTM ? 4 : 3; }
static int64_t saved_of(int cell) { return cell == RNN ? 0 : 4; }
static int64_t d_of(int cell) { return cell == RNN ? 1 : cell == GRU_BEFORE ? 3 : 4; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* A thread's share of n things. */
static void share(int64_t n, int number, int threads, int64_t *first, int64_t *last) {
    *first = n * number / threads;
    *last = n * (number + 1) / threads;
}

#define LEVEL 0
#include "training.c"
#if defined(__x86_64__)
#undef LEVEL
#define LEVEL 1
#include "training.c"
#undef LEVEL
#define LEVEL 2
#include "training.c"
#ifdef BFLOAT16
#undef LEVEL
#define LEVEL 3
#include "training.c"
#endif
#endif

#ifdef BFLOAT16
#define DISPATCH_3(function, level) ((level) == 3 ? function##_3 : DISPATCH(function, level))
#else
#define DISPATCH_3 DISPATCH
#endif

/* Arrays of n floats one after another, each at a multiple of 64 bytes. */
static float *take(char **at, int64_t n) {
    char *place = *at;
    *at += (n * (int64_t)sizeof(float) + 63) / 64 * 64;
    return (float *)place;
}

static void forward_part(void *w, int number) { DISPATCH_3(forward, ((work *)w)->s->level)(w, number); }
static void backward_part(void *w, int number) { DISPATCH_3(backward, ((work *)w)->s->level)(w, number); }
static void product_part(void *w, int number) { DISPATCH_3(multiply, ((work *)w)->p->level)(w, number); }

static void scores_part(void *w, int number) { DISPATCH(score, least(((work *)w)->q->level, 2))(w, number); }

static openmp lent;

static void count_part(void *counts, int number) {
    if (number >= 0 && number < 2) __atomic_add_fetch((int *)counts + number, 1, __ATOMIC_ACQ_REL);
}

/* Compute on the threads of this OpenMP (team.h) from now on. 0, and nothing changes, if it does not do what it should. */
int charrnn_use_openmp(void (*parallel)(void (*)(void *), void *, unsigned, unsigned), int (*count)(void), int (*number)(void)) {
    const openmp offered = {parallel, count, number};
    int counts[2] = {0, 0};
    meeting place;
    run_team(&offered, &place, 2, count_part, counts);
    if (place.threads < 1 || place.threads > 2 || counts[0] != 1 || counts[1] != place.threads - 1) return 0;
    lent = offered;
    return 1;
}

/* each: floats of scratch for every thread; row: for every row of the batch besides, however many threads come. */
static int layer(const sequence *s, void (*part)(void *, int), int64_t each, int64_t row) {
    work w = {.s = s, .scratch_size = (each + UNITS - 1) / UNITS * UNITS, .scratch_row = (row + UNITS - 1) / UNITS * UNITS};
    const int64_t columns = gates_of(s->cell) * s->hidden, width = s->inputs + UNITS;
    const int64_t scratch = s->threads * w.scratch_size + s->batch * w.scratch_row;
    w.pairs_size = s->level == 3 ? BLOCK_ROWS * (most(most(columns, s->inputs), BLOCK_INPUTS) / 2 + 1) : 0;
    const int64_t floats = s->threads * w.pairs_size + columns * (s->hidden + width + s->vocabulary + 1) + scratch;
    w.memory = malloc((size_t)(floats + 7 * UNITS) * sizeof(float)); /* each array at a multiple of 64 bytes */
    if (!w.memory) return NO_MEMORY;
    char *at = (char *)(((uintptr_t)w.memory + 63) / 64 * 64);
    w.recurrent = take(&at, columns * s->hidden);
    w.candidate = w.recurrent + 2 * s->hidden * s->hidden; /* gru-before: apart from the two gates before it */
    w.input = take(&at, columns * width);
    w.table = take(&at, s->vocabulary * columns);
    w.bias = take(&at, columns);
    w.scratch = take(&at, scratch);
    w.pairs = take(&at, s->threads * w.pairs_size);
    run_team(&lent, &w.place, (int)s->threads, part, &w);
    free(w.memory);
    return 0;
}

/* x, weights, hs[0], cs[0] -> hs, cs, saved. 0, NO_MEMORY, or BAD_ID. */
int charrnn_layer_forward(const sequence *s) {
    const int64_t columns = gates_of(s->cell) * s->hidden;
    for (int64_t i = 0; s->ids && i < s->time * s->batch; i++)
        if (s->ids[i] < 0 || s->ids[i] >= s->vocabulary) return BAD_ID;
    return layer(s, forward_part, BLOCK_ROWS * columns, columns + saved_of(s->cell) * s->hidden + 2 + s->hidden / 2);
}

/* What forward left and d_out, d_c -> d_x, d_h, d_c and the weights' gradients. 0, or NO_MEMORY. */
int charrnn_layer_backward(const sequence *s) {
    const int64_t columns = gates_of(s->cell) * s->hidden;
    return layer(s, backward_part, BLOCK_INPUTS * (most(s->inputs, s->hidden) + UNITS) + columns, s->hidden);
}

int charrnn_product(const product *p) {
    work w = {.p = p, .pairs_size = p->level == 3 ? BLOCK_ROWS * (BLOCK_INPUTS / 2) : 0};
    w.memory = malloc((size_t)(BLOCK_INPUTS * (p->columns + UNITS) + p->threads * w.pairs_size + 3 * UNITS) * sizeof(float));
    if (!w.memory) return NO_MEMORY;
    char *at = (char *)(((uintptr_t)w.memory + 63) / 64 * 64);
    w.input = take(&at, BLOCK_INPUTS * (p->columns + UNITS));
    w.pairs = take(&at, p->threads * w.pairs_size);
    run_team(&lent, &w.place, (int)p->threads, product_part, &w);
    free(w.memory);
    return 0;
}

/* 0, NO_MEMORY, or BAD_ID. */
int charrnn_scores(const scores *q) {
    for (int64_t i = 0; i < q->rows; i++)
        if (q->targets[i] != IGNORED && (q->targets[i] < 0 || q->targets[i] >= q->vocabulary)) return BAD_ID;
    const int64_t width = (q->vocabulary + UNITS - 1) / UNITS * UNITS;
    work w = {.q = q, .scratch_size = SCORED_ROWS * width};
    w.memory = malloc((size_t)(q->inputs * width + q->threads * w.scratch_size + 3 * UNITS) * sizeof(float));
    if (!w.memory) return NO_MEMORY;
    char *at = (char *)(((uintptr_t)w.memory + 63) / 64 * 64);
    w.input = take(&at, q->inputs * width);
    w.scratch = take(&at, q->threads * w.scratch_size);
    run_team(&lent, &w.place, (int)q->threads, scores_part, &w);
    free(w.memory);
    return 0;
}

#else /* --------------------------------------------------------------- for each instruction set: products and cells */

#include "level.h" /* begins the level */

/* Rows of a tile, so that its sums fill the registers: products of WIDE vectors, lstm's 4, gru's 3 vectors. */
#if LEVEL >= 2 || defined(__aarch64__)
#define WIDE 4
#define ROWS 6
#define LSTM_ROWS 6
#define GRU_ROWS 8
#else
#define WIDE 2
#define ROWS 6
#define LSTM_ROWS 3
#define GRU_ROWS 4
#endif
#define PANEL (WIDE * VEC)

/* |x| at most 9.2; NaN stays NaN, so that a training that goes wrong is seen. */
INLINE vec NAME(within)(vec x) {
#if LEVEL >= 2
    return (vec)_mm512_min_ps(_mm512_set1_ps(9.2f), _mm512_max_ps(_mm512_set1_ps(-9.2f), (__m512)x));
#elif LEVEL == 1
    return (vec)_mm256_min_ps(_mm256_set1_ps(9.2f), _mm256_max_ps(_mm256_set1_ps(-9.2f), (__m256)x));
#else
    const vec limit = (vec){0} + 9.2f;
    const words below = (words)(x < -limit);
    x = (vec)(((words)x & ~below) | ((words)-limit & below));
    const words above = (words)(x > limit);
    return (vec)(((words)x & ~above) | ((words)limit & above));
#endif
}

INLINE vec NAME(tanh)(vec x) {
    const vec e = NAME(grown)(NAME(within)(x));
    return -e / (2.0f + e);
}
INLINE vec NAME(sigmoid)(vec x) { return 1.0f / (2.0f + NAME(grown)(NAME(within)(0.5f * x))); }

/* ---- products ---- */

/* What a product's tile takes at once: one input, or at level 3 a pair of bfloat16, in the place of a float. */
#if LEVEL == 3
#define OPERANDS(inner) (((inner) + 1) / 2)

INLINE __mmask16 NAME(first)(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1); }

/* `inner` neighbours -> pairs (0, 1), (2, 3), ...; with an odd number the last is paired with zero. */
INLINE void NAME(pair_along)(const float *from, int64_t inner, float *to, int64_t stride) {
    for (int64_t k = 0; k < inner; k += 32, to += 16 * stride) {
        const __m512 low = _mm512_maskz_loadu_ps(NAME(first)(inner - k), from + k);
        const __m512 high = inner - k > 16 ? _mm512_maskz_loadu_ps(NAME(first)(inner - k - 16), from + k + 16) : _mm512_setzero_ps();
        const __m512 pairs = (__m512)_mm512_cvtne2ps_pbh(high, low);
        const int64_t count = least(16, OPERANDS(inner - k));
        if (stride == 1)
            _mm512_mask_storeu_ps(to, NAME(first)(count), pairs);
        else {
            float each[16];
            _mm512_storeu_ps(each, pairs);
            for (int64_t i = 0; i < count; i++) to[i * stride] = each[i];
        }
    }
}

/* n pairs of low[i] and high[i]; no high: zeros. From n on, up to a multiple of VEC that is at most `width`, zeros. */
INLINE void NAME(pair_across)(const float *low, const float *high, int64_t n, int64_t width, float *to) {
    for (int64_t i = 0; i < width; i += 16) {
        const __mmask16 real = NAME(first)(n - i), kept = NAME(first)(width - i);
        const __m512 below = _mm512_maskz_loadu_ps(real, low + i), above = high ? _mm512_maskz_loadu_ps(real, high + i) : _mm512_setzero_ps();
        const __m512i first = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(below));
        const __m512i second = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(above));
        _mm512_mask_storeu_ps(to + i, kept, (__m512)_mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
    }
}
#else
#define OPERANDS(inner) (inner)
#endif

/* sums[r][v] += a(r, k) packed(k, v) over so many operands; rows and vectors are constants. */
INLINE void NAME(tile)(const int rows, const int vectors, const float *a, int64_t a_row, int64_t a_inner, const float *packed,
                       int64_t operands, vec sums[8][4]) {
    for (int64_t k = 0; k < operands; k++, a += a_inner, packed += vectors * VEC) {
        vec weights[4];
        UNROLL for (int v = 0; v < vectors; v++) weights[v] = *(const loose *)(packed + v * VEC);
        UNROLL for (int r = 0; r < rows; r++) {
#if LEVEL == 3
            const __m512bh pair = (__m512bh)_mm512_set1_ps(a[r * a_row]);
            UNROLL for (int v = 0; v < vectors; v++)
                sums[r][v] = (vec)_mm512_dpbf16_ps((__m512)sums[r][v], pair, (__m512bh)weights[v]);
#else
            UNROLL for (int v = 0; v < vectors; v++) sums[r][v] += a[r * a_row] * weights[v];
#endif
        }
    }
}

/* Calls TILE(n, vectors), with a constant number n of rows, for rows 0 ... rows - 1: tiles of at most `limit` (3, 4, 6 or
 * 8) rows, and of nearly equal height. */
#define CASE(n, vectors) case n: TILE(n, vectors); break;
#define CASES_3(vectors) CASE(1, vectors) CASE(2, vectors) CASE(3, vectors)
#define CASES_4(vectors) CASES_3(vectors) CASE(4, vectors)
#define CASES_6(vectors) CASES_4(vectors) CASE(5, vectors) CASE(6, vectors)
#define CASES_8(vectors) CASES_6(vectors) CASE(7, vectors) CASE(8, vectors)
#define CASES(limit, vectors) JOIN_CASES(limit)(vectors)
#define JOIN_CASES(limit) CASES_##limit
#define TILES(vectors, rows, limit)                                                                                    \
    for (int64_t r = 0, n; r < (rows); r += n) {                                                                       \
        const int64_t left = (rows) - r, tiles = (left + (limit) - 1) / (limit);                                       \
        n = (left + tiles - 1) / tiles;                                                                                \
        switch (n) { CASES(limit, vectors) }                                                                           \
    }
/* The same where the number of vectors, at most WIDE, is not a constant. */
#if WIDE == 4
#define TILES_OF(vectors, rows)                                                                                        \
    switch (vectors) {                                                                                                 \
    case 1: TILES(1, rows, ROWS) break;                                                                                \
    case 2: TILES(2, rows, ROWS) break;                                                                                \
    case 3: TILES(3, rows, ROWS) break;                                                                                \
    case 4: TILES(4, rows, ROWS) break;                                                                                \
    }
#else
#define TILES_OF(vectors, rows)                                                                                        \
    switch (vectors) {                                                                                                 \
    case 1: TILES(1, rows, ROWS) break;                                                                                \
    case 2: TILES(2, rows, ROWS) break;                                                                                \
    }
#endif

/* b(k, j), k in [0, inner), j in [0, columns), one of b's strides 1 -> panels of PANEL columns, the last padded to VEC with zeros.
 * This thread's panels only. */
static void NAME(pack)(const float *b, int64_t b_inner, int64_t b_column, int64_t inner, int64_t columns, float *packed,
                       int number, int threads) {
    int64_t begin, end;
    share((columns + PANEL - 1) / PANEL, number, threads, &begin, &end);
    for (int64_t p = begin; p < end; p++) {
        const int64_t column = p * PANEL, real = least(PANEL, columns - column), width = (real + VEC - 1) / VEC * VEC;
        float *to = packed + column * OPERANDS(inner);
        const float *from = b + column * b_column;
#if LEVEL == 3
        if (b_column == 1)
            for (int64_t k = 0; k < inner; k += 2, to += width)
                NAME(pair_across)(from + k * b_inner, k + 1 < inner ? from + (k + 1) * b_inner : 0, real, width, to);
        else
            for (int64_t j = 0; j < width; j++)
                if (j < real) NAME(pair_along)(from + j * b_column, inner, to + j, width);
                else for (int64_t k = 0; k < OPERANDS(inner); k++) to[k * width + j] = 0;
#else
        if (b_column == 1) {
            for (int64_t k = 0; k < inner; k++, to += width) {
                memcpy(to, from + k * b_inner, (size_t)real * sizeof(float));
                for (int64_t j = real; j < width; j++) to[j] = 0;
            }
        } else {
            for (int64_t j = 0; j < width; j++)
                for (int64_t k = 0; k < inner; k++) to[k * width + j] = j < real ? from[j * b_column + k * b_inner] : 0;
        }
#endif
    }
}

INLINE void NAME(product_tile)(const int rows, const int vectors, const float *a, int64_t a_row, int64_t a_inner,
                               const float *packed, int64_t operands, int64_t real, int adds, const float *bias, float *c,
                               int64_t c_row) {
    vec sums[8][4];
    if (real == vectors * VEC) {
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vectors; v++)
                {
                if (adds) sums[r][v] = *(const loose *)(c + r * c_row + v * VEC);
                else if (bias) sums[r][v] = *(const loose *)(bias + v * VEC);
                else sums[r][v] = (vec){0};
            }
        NAME(tile)(rows, vectors, a, a_row, a_inner, packed, operands, sums);
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vectors; v++) *(loose *)(c + r * c_row + v * VEC) = sums[r][v];
        return;
    }
    float edge[4 * VEC] = {0};
    UNROLL for (int r = 0; r < rows; r++) {
        if (adds) memcpy(edge, c + r * c_row, (size_t)real * sizeof(float));
        else if (bias) memcpy(edge, bias, (size_t)real * sizeof(float));
        UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = *(const loose *)(edge + v * VEC);
    }
    NAME(tile)(rows, vectors, a, a_row, a_inner, packed, operands, sums);
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vectors; v++) *(loose *)(edge + v * VEC) = sums[r][v];
        memcpy(c + r * c_row, edge, (size_t)real * sizeof(float));
    }
}

/* c (rows, columns) = or += a packed [+ bias], all operands of `a` at hand. */
static void NAME(panels)(int64_t rows, const float *a, int64_t a_row, int64_t a_inner, const float *packed, int64_t operands,
                         int64_t columns, int adds, const float *bias, float *c, int64_t c_row) {
    for (int64_t column = 0; column < columns; column += PANEL) {
        const int64_t real = least(PANEL, columns - column);
        const float *from = packed + column * operands, *added = bias ? bias + column : 0;
#define TILE(n, vectors)                                                                                               \
    NAME(product_tile)(n, vectors, a + r * a_row, a_row, a_inner, from, operands, real, adds, added, c + r * c_row + column, c_row)
        TILES_OF((real + VEC - 1) / VEC, rows)
#undef TILE
    }
}

/* c (rows, columns) = or += a packed [+ bias]; one of a's strides is 1. The whole of `inner` lies in each panel. pairs:
 * at level 3 for a's operands, BLOCK_ROWS rows of them. */
static void NAME(times)(int64_t rows, const float *a, int64_t a_row, int64_t a_inner, const float *packed, int64_t inner,
                        int64_t columns, int adds, const float *bias, float *c, int64_t c_row, float *pairs) {
#if LEVEL == 3
    const int64_t operands = OPERANDS(inner);
    for (int64_t first = 0; first < rows; first += BLOCK_ROWS, a += BLOCK_ROWS * a_row, c += BLOCK_ROWS * c_row) {
        const int64_t count = least(BLOCK_ROWS, rows - first);
        if (a_inner == 1)
            for (int64_t r = 0; r < count; r++) NAME(pair_along)(a + r * a_row, inner, pairs + r * operands, 1);
        else
            for (int64_t k = 0; k < inner; k += 2)
                NAME(pair_across)(a + k * a_inner, k + 1 < inner ? a + (k + 1) * a_inner : 0, count, count, pairs + k / 2 * count);
        NAME(panels)(count, pairs, a_inner == 1 ? operands : 1, a_inner == 1 ? 1 : count, packed, operands, columns, adds, bias, c, c_row);
    }
#else
    (void)pairs;
    NAME(panels)(rows, a, a_row, a_inner, packed, inner, columns, adds, bias, c, c_row);
#endif
}

/* c (rows, columns) += a b over `inner` places, which are many: packed in blocks, by this thread for itself. */
static void NAME(summed)(int64_t rows, const float *a, int64_t a_row, int64_t a_inner, const float *b, int64_t b_inner,
                         int64_t inner, int64_t columns, float *packed, float *c, int64_t c_row, float *pairs) {
    for (int64_t k = 0; k < inner; k += BLOCK_INPUTS) {
        const int64_t count = least(BLOCK_INPUTS, inner - k);
        NAME(pack)(b + k * b_inner, b_inner, 1, count, columns, packed, 0, 1);
        NAME(times)(rows, a + k * a_inner, a_row, a_inner, packed, count, columns, k > 0, 0, c, c_row, pairs);
    }
}

static void NAME(multiply)(work *w, int number) {
    const product *p = w->p;
    int64_t first, last;
    const int threads = w->place.threads;
    share(p->rows, number, threads, &first, &last);
    for (int64_t k = 0; k < p->inner; k += BLOCK_INPUTS) {
        const int64_t count = least(BLOCK_INPUTS, p->inner - k);
        NAME(pack)(p->b + k * p->b_inner, p->b_inner, p->b_column, count, p->columns, w->input, number, threads);
        meet(&w->place);
        NAME(times)(last - first, p->a + first * p->a_row + k * p->a_inner, p->a_row, p->a_inner, w->input, count, p->columns,
                    k > 0 || p->adds, p->bias, p->c + first * p->c_row, p->c_row, w->pairs + number * w->pairs_size);
        meet(&w->place);
    }
}

/* ---- recurrence: weights packed so that a panel holds VEC units and all their gates ---- */

/* Weights (gates H, H) -> panels of VEC units: for each input, VEC weights of the first gate, of the second ... */
static void NAME(pack_gates)(const float *weight, int64_t hidden, const int gates, float *packed, int number, int threads) {
    int64_t begin, end;
    share(hidden / VEC, number, threads, &begin, &end);
    for (int64_t unit = begin * VEC; unit < end * VEC; unit += VEC)
        for (int gate = 0; gate < gates; gate++) {
            float *to = packed + unit * gates * OPERANDS(hidden) + gate * VEC;
            for (int lane = 0; lane < VEC; lane++) {
                const float *from = weight + (gate * hidden + unit + lane) * hidden;
#if LEVEL == 3
                NAME(pair_along)(from, hidden, to + lane, gates * VEC);
#else
                for (int64_t k = 0; k < hidden; k++) to[k * gates * VEC + lane] = from[k];
#endif
            }
        }
}

/* What one step of a layer reads and writes; row r of each array is r strides further. */
typedef struct {
    const float *const *x; /* input products of each row: pointers, since the table's rows lie anywhere */
    const float *h, *c, *bias_hn;
    float *h_next, *c_next, *saved;
    int64_t hidden, saved_row;
    float *pairs;      /* level 3: for what is multiplied, as pairs */
    const float *left; /* what is multiplied: h, or gru-before's r h */
    int64_t left_row;
} NAME(stage);
#define stage NAME(stage)

INLINE void NAME(lstm_tile)(const int rows, const stage *s, const float *packed, int64_t r, int64_t unit) {
    const int64_t hidden = s->hidden;
    vec sums[8][4];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < 4; v++) sums[i][v] = *(const loose *)(s->x[r + i] + v * hidden + unit);
    NAME(tile)(rows, 4, s->left + r * s->left_row, s->left_row, 1, packed, OPERANDS(hidden), sums);
    UNROLL for (int i = 0; i < rows; i++) {
        const int64_t at = (r + i) * hidden + unit;
        const vec in = NAME(sigmoid)(sums[i][0]), forget = NAME(sigmoid)(sums[i][1]), g = NAME(tanh)(sums[i][2]),
                  out = NAME(sigmoid)(sums[i][3]);
        const vec c = forget * *(const loose *)(s->c + at) + in * g;
        *(loose *)(s->c_next + at) = c;
        *(loose *)(s->h_next + at) = out * NAME(tanh)(c);
        if (s->saved) {
            float *to = s->saved + (r + i) * s->saved_row + unit;
            *(loose *)to = in;
            *(loose *)(to + hidden) = forget;
            *(loose *)(to + 2 * hidden) = g;
            *(loose *)(to + 3 * hidden) = out;
        }
    }
}

INLINE void NAME(rnn_tile)(const int rows, const int vectors, const stage *s, const float *packed, int64_t r, int64_t unit) {
    const int64_t hidden = s->hidden;
    vec sums[8][4];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++) sums[i][v] = *(const loose *)(s->x[r + i] + v * VEC + unit);
    NAME(tile)(rows, vectors, s->left + r * s->left_row, s->left_row, 1, packed, OPERANDS(hidden), sums);
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            *(loose *)(s->h_next + (r + i) * hidden + v * VEC + unit) = NAME(tanh)(sums[i][v]);
}

INLINE void NAME(gru_tile)(const int rows, const stage *s, const float *packed, int64_t r, int64_t unit) {
    const int64_t hidden = s->hidden;
    vec sums[8][4];
    UNROLL for (int i = 0; i < rows; i++) {
        UNROLL for (int v = 0; v < 2; v++) sums[i][v] = *(const loose *)(s->x[r + i] + v * hidden + unit);
        sums[i][2] = *(const loose *)(s->bias_hn + unit);
    }
    NAME(tile)(rows, 3, s->left + r * s->left_row, s->left_row, 1, packed, OPERANDS(hidden), sums);
    UNROLL for (int i = 0; i < rows; i++) {
        const int64_t at = (r + i) * hidden + unit;
        const vec reset = NAME(sigmoid)(sums[i][0]), z = NAME(sigmoid)(sums[i][1]), h = *(const loose *)(s->h + at);
        const vec n = NAME(tanh)(*(const loose *)(s->x[r + i] + 2 * hidden + unit) + reset * sums[i][2]);
        *(loose *)(s->h_next + at) = n + z * (h - n);
        if (s->saved) {
            float *to = s->saved + (r + i) * s->saved_row + unit;
            *(loose *)to = reset;
            *(loose *)(to + hidden) = z;
            *(loose *)(to + 2 * hidden) = n;
            *(loose *)(to + 3 * hidden) = sums[i][2];
        }
    }
}

/* gru-before: the gates r and z of all units, and r h, before the candidate n. `saved` is never null here. */
INLINE void NAME(gates_tile)(const int rows, const stage *s, const float *packed, int64_t r, int64_t unit) {
    const int64_t hidden = s->hidden;
    vec sums[8][4];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < 2; v++) sums[i][v] = *(const loose *)(s->x[r + i] + v * hidden + unit);
    NAME(tile)(rows, 2, s->left + r * s->left_row, s->left_row, 1, packed, OPERANDS(hidden), sums);
    UNROLL for (int i = 0; i < rows; i++) {
        const vec reset = NAME(sigmoid)(sums[i][0]);
        float *to = s->saved + (r + i) * s->saved_row + unit;
        *(loose *)to = reset;
        *(loose *)(to + hidden) = NAME(sigmoid)(sums[i][1]);
        *(loose *)(to + 3 * hidden) = reset * *(const loose *)(s->h + (r + i) * hidden + unit);
    }
}

INLINE void NAME(candidate_tile)(const int rows, const int vectors, const stage *s, const float *packed, int64_t r, int64_t unit) {
    const int64_t hidden = s->hidden;
    vec sums[8][4];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++) sums[i][v] = *(const loose *)(s->x[r + i] + 2 * hidden + v * VEC + unit);
    NAME(tile)(rows, vectors, s->left + r * s->left_row, s->left_row, 1, packed, OPERANDS(hidden), sums);
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++) {
            float *to = s->saved + (r + i) * s->saved_row + v * VEC + unit;
            const vec n = NAME(tanh)(sums[i][v]), z = *(const loose *)(to + hidden);
            const vec h = *(const loose *)(s->h + (r + i) * hidden + v * VEC + unit);
            *(loose *)(to + 2 * hidden) = n;
            *(loose *)(s->h_next + (r + i) * hidden + v * VEC + unit) = n + z * (h - n);
        }
}

/* s->left = `rows` rows, `row` apart, as products read them. */
INLINE void NAME(bring)(stage *s, const float *from, int64_t row, int64_t rows) {
#if LEVEL == 3
    for (int64_t r = 0; r < rows; r++) NAME(pair_along)(from + r * row, s->hidden, s->pairs + r * OPERANDS(s->hidden), 1);
    s->left = s->pairs, s->left_row = OPERANDS(s->hidden);
#else
    (void)rows;
    s->left = from, s->left_row = row;
#endif
}

/* One step of `rows` rows. */
static void NAME(step)(const work *w, stage *s, int64_t rows) {
    const int64_t hidden = s->hidden, operands = OPERANDS(hidden);
    const int cell = w->s->cell;
    NAME(bring)(s, s->h, hidden, rows);
    if (cell == LSTM) {
        for (int64_t unit = 0; unit < hidden; unit += VEC) {
            const float *packed = w->recurrent + 4 * unit * operands;
#define TILE(n, vectors) NAME(lstm_tile)(n, s, packed, r, unit)
            TILES(4, rows, LSTM_ROWS)
#undef TILE
        }
    } else if (cell == GRU) {
        for (int64_t unit = 0; unit < hidden; unit += VEC) {
            const float *packed = w->recurrent + 3 * unit * operands;
#define TILE(n, vectors) NAME(gru_tile)(n, s, packed, r, unit)
            TILES(3, rows, GRU_ROWS)
#undef TILE
        }
    } else if (cell == RNN) {
        for (int64_t unit = 0; unit < hidden; unit += PANEL) {
            const float *packed = w->recurrent + unit * operands;
#define TILE(n, vectors) NAME(rnn_tile)(n, vectors, s, packed, r, unit)
            TILES_OF(least(PANEL, hidden - unit) / VEC, rows)
#undef TILE
        }
    } else {
        for (int64_t unit = 0; unit < hidden; unit += VEC) {
            const float *packed = w->recurrent + 2 * unit * operands;
#define TILE(n, vectors) NAME(gates_tile)(n, s, packed, r, unit)
            TILES(2, rows, ROWS)
#undef TILE
        }
        NAME(bring)(s, s->saved + 3 * hidden, s->saved_row, rows);
        for (int64_t unit = 0; unit < hidden; unit += PANEL) {
            const float *packed = w->candidate + unit * operands;
#define TILE(n, vectors) NAME(candidate_tile)(n, vectors, s, packed, r, unit)
            TILES_OF(least(PANEL, hidden - unit) / VEC, rows)
#undef TILE
        }
    }
}

/* The rows of thread `number`, each step's where they lie: input products are made some steps ahead. */
static void NAME(forward)(work *w, int number) {
    const sequence *s = w->s;
    const int threads = w->place.threads, cell = s->cell;
    const int64_t hidden = s->hidden, batch = s->batch, columns = gates_of(cell) * hidden, saved_row = saved_of(cell) * hidden;
    int64_t first, last, begin, end;
    share(batch, number, threads, &first, &last);
    const int64_t rows = last - first, ahead = most(1, BLOCK_ROWS / most(1, rows));
    float *scratch = w->scratch + number * w->scratch_size + first * w->scratch_row, *block = scratch;
    float *pair = scratch + ahead * rows * columns; /* gru-before without `saved`: r, z, n, r h of one step */
    const float **x = (const float **)(pair + (s->saved ? 0 : rows * saved_row));
    float *const left = (float *)(x + rows), *const pairs = w->pairs + number * w->pairs_size;

    if (cell == GRU_BEFORE) {
        NAME(pack_gates)(s->weight_hh, hidden, 2, w->recurrent, number, threads);
        NAME(pack)(s->weight_hh + 2 * hidden * hidden, 1, hidden, hidden, hidden, w->candidate, number, threads);
    } else if (cell == RNN)
        NAME(pack)(s->weight_hh, 1, hidden, hidden, hidden, w->recurrent, number, threads);
    else
        NAME(pack_gates)(s->weight_hh, hidden, (int)gates_of(cell), w->recurrent, number, threads);
    NAME(pack)(s->weight_ih, 1, s->inputs, s->inputs, columns, w->input, number, threads);
    if (number == 0)
        for (int64_t j = 0; j < columns; j++)
            w->bias[j] = s->bias_ih[j] + (cell == GRU && j >= 2 * hidden ? 0 : s->bias_hh[j]);
    meet(&w->place);
    if (s->ids) {
        share(s->vocabulary, number, threads, &begin, &end);
        NAME(times)(end - begin, s->x + begin * s->inputs, s->inputs, 1, w->input, s->inputs, columns, 0, w->bias,
                    w->table + begin * columns, columns, pairs);
        meet(&w->place);
    }
    if (!rows) return;
    for (int64_t t0 = 0; t0 < s->time; t0 += ahead) {
        const int64_t count = least(ahead, s->time - t0);
        /* where input products go: over what they become, if that is kept */
        float *to = block;
        int64_t row = columns, step = rows * columns;
        if (cell == RNN) to = s->hs + ((t0 + 1) * batch + first) * hidden, row = hidden, step = batch * hidden;
        else if (s->saved) to = s->saved + (t0 * batch + first) * saved_row, row = saved_row, step = batch * saved_row;
        if (!s->ids) {
            const float *from = s->x + (t0 * batch + first) * s->inputs;
            if (rows == batch)
                NAME(times)(count * batch, from, s->inputs, 1, w->input, s->inputs, columns, 0, w->bias, to, row, pairs);
            else
                for (int64_t t = 0; t < count; t++)
                    NAME(times)(rows, from + t * batch * s->inputs, s->inputs, 1, w->input, s->inputs, columns, 0, w->bias,
                                to + t * step, row, pairs);
        }
        for (int64_t t = t0; t < t0 + count; t++) {
            const int64_t at = (t * batch + first) * hidden;
            stage now = {x, s->hs + at, 0, cell == GRU ? s->bias_hh + 2 * hidden : 0, s->hs + at + batch * hidden, 0, pair, hidden, saved_row, left, 0, 0};
            if (cell == LSTM) {
                now.c = s->cs + (s->saved ? at : first * hidden);
                now.c_next = s->cs + (s->saved ? at + batch * hidden : first * hidden);
            }
            if (s->saved) now.saved = s->saved + (t * batch + first) * saved_row;
            else if (cell != GRU_BEFORE) now.saved = 0;
            for (int64_t r = 0; r < rows; r++)
                x[r] = s->ids ? w->table + s->ids[t * batch + first + r] * columns : to + (t - t0) * step + r * row;
            NAME(step)(w, &now, rows);
        }
    }
}

/* ---- backward ---- */

#define OF(array, at) (*(loose *)((array) + (at)))
#define IN_OF(array, at) (*(const loose *)((array) + (at)))

/* d(gates before their nonlinearity) of one row at one step; d_h becomes what reaches the state before past the product. */
INLINE void NAME(lstm_row)(int64_t hidden, const float *saved, const float *c, const float *c_before, const float *d_out,
                           float *d_h, float *d_c, float *d) {
    for (int64_t u = 0; u < hidden; u += VEC) {
        const vec i = IN_OF(saved, u), f = IN_OF(saved, hidden + u), g = IN_OF(saved, 2 * hidden + u), o = IN_OF(saved, 3 * hidden + u);
        const vec tanh_c = NAME(tanh)(IN_OF(c, u)), dh = OF(d_h, u) + IN_OF(d_out, u);
        const vec dc = OF(d_c, u) + dh * o * (1.0f - tanh_c * tanh_c);
        OF(d, u) = dc * g * i * (1.0f - i);
        OF(d, hidden + u) = dc * IN_OF(c_before, u) * f * (1.0f - f);
        OF(d, 2 * hidden + u) = dc * i * (1.0f - g * g);
        OF(d, 3 * hidden + u) = dh * tanh_c * o * (1.0f - o);
        OF(d_c, u) = dc * f;
    }
}

INLINE void NAME(gru_row)(int64_t hidden, const float *saved, const float *h_before, const float *d_out, float *d_h, float *d) {
    for (int64_t u = 0; u < hidden; u += VEC) {
        const vec r = IN_OF(saved, u), z = IN_OF(saved, hidden + u), n = IN_OF(saved, 2 * hidden + u), h_n = IN_OF(saved, 3 * hidden + u);
        const vec dh = OF(d_h, u) + IN_OF(d_out, u), dn = dh * (1.0f - z) * (1.0f - n * n);
        OF(d, u) = dn;
        OF(d, hidden + u) = dn * h_n * r * (1.0f - r);
        OF(d, 2 * hidden + u) = dh * (IN_OF(h_before, u) - n) * z * (1.0f - z);
        OF(d, 3 * hidden + u) = dn * r;
        OF(d_h, u) = dh * z;
    }
}

INLINE void NAME(gru_before_row)(int64_t hidden, const float *saved, const float *h_before, const float *d_out, float *d_h, float *d) {
    for (int64_t u = 0; u < hidden; u += VEC) {
        const vec z = IN_OF(saved, hidden + u), n = IN_OF(saved, 2 * hidden + u), dh = OF(d_h, u) + IN_OF(d_out, u);
        OF(d, hidden + u) = dh * (IN_OF(h_before, u) - n) * z * (1.0f - z);
        OF(d, 2 * hidden + u) = dh * (1.0f - z) * (1.0f - n * n);
        OF(d_h, u) = dh * z;
    }
}

/* The same, once d_reset, the gradient of r h, is known. */
INLINE void NAME(reset_row)(int64_t hidden, const float *saved, const float *h_before, const float *d_reset, float *d_h, float *d) {
    for (int64_t u = 0; u < hidden; u += VEC) {
        const vec r = IN_OF(saved, u), dr = IN_OF(d_reset, u);
        OF(d, u) = dr * IN_OF(h_before, u) * r * (1.0f - r);
        OF(d_h, u) += dr * r;
    }
}

INLINE void NAME(rnn_row)(int64_t hidden, const float *h, const float *d_out, float *d_h, float *d) {
    for (int64_t u = 0; u < hidden; u += VEC) OF(d, u) = (OF(d_h, u) + IN_OF(d_out, u)) * (1.0f - IN_OF(h, u) * IN_OF(h, u));
}

/* One step back, of rows first ... first + rows - 1. */
static void NAME(step_back)(const work *w, int64_t t, int64_t first, int64_t rows, float *scratch, float *pairs) {
    const sequence *s = w->s;
    const int cell = s->cell;
    const int64_t hidden = s->hidden, saved_row = saved_of(cell) * hidden, d_row = d_of(cell) * hidden;
    const int64_t place = t * s->batch + first, at = place * hidden, next = at + s->batch * hidden;
    float *const d = s->d_gates + place * d_row, *const d_h = s->d_h + first * hidden;
    const float *const saved = s->saved + place * saved_row, *const h = s->hs + at, *const d_out = s->d_out + at;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t j = r * hidden;
        if (cell == LSTM)
            NAME(lstm_row)(hidden, saved + r * saved_row, s->cs + next + j, s->cs + at + j, d_out + j, d_h + j,
                           s->d_c + first * hidden + j, d + r * d_row);
        else if (cell == GRU)
            NAME(gru_row)(hidden, saved + r * saved_row, h + j, d_out + j, d_h + j, d + r * d_row);
        else if (cell == GRU_BEFORE)
            NAME(gru_before_row)(hidden, saved + r * saved_row, h + j, d_out + j, d_h + j, d + r * d_row);
        else
            NAME(rnn_row)(hidden, s->hs + next + j, d_out + j, d_h + j, d + r * d_row);
    }
    if (cell == GRU_BEFORE) {
        NAME(times)(rows, d + 2 * hidden, d_row, 1, w->candidate, hidden, hidden, 0, 0, scratch, hidden, pairs);
        for (int64_t r = 0; r < rows; r++)
            NAME(reset_row)(hidden, saved + r * saved_row, h + r * hidden, scratch + r * hidden, d_h + r * hidden, d + r * d_row);
        NAME(times)(rows, d, d_row, 1, w->recurrent, 2 * hidden, hidden, 1, 0, d_h, hidden, pairs);
    } else
        NAME(times)(rows, d + (cell == GRU ? hidden : 0), d_row, 1, w->recurrent, gates_of(cell) * hidden, hidden, cell == GRU, 0, d_h, hidden, pairs);
}

/* sums (columns) = of rows of `from`, in groups, so that long sums stay exact. part (columns) is scratch. */
static void NAME(sum_rows)(const float *from, int64_t row, int64_t rows, int64_t columns, float *part, float *sums) {
    memset(sums, 0, (size_t)columns * sizeof(float));
    for (int64_t r = 0; r < rows;) {
        memset(part, 0, (size_t)columns * sizeof(float));
        for (const int64_t stop = least(rows, r + 256); r < stop; r++)
            INDEPENDENT for (int64_t j = 0; j < columns; j++) part[j] += from[r * row + j];
        INDEPENDENT for (int64_t j = 0; j < columns; j++) sums[j] += part[j];
    }
}

static void NAME(backward)(work *w, int number) {
    const sequence *s = w->s;
    const int threads = w->place.threads, cell = s->cell;
    const int64_t hidden = s->hidden, batch = s->batch, places = s->time * batch, inputs = s->inputs;
    const int64_t columns = gates_of(cell) * hidden, d_row = d_of(cell) * hidden, saved_row = saved_of(cell) * hidden;
    int64_t first, last, begin, end;
    share(batch, number, threads, &first, &last);
    float *const scratch = w->scratch + number * w->scratch_size + first * w->scratch_row, *const pairs = w->pairs + number * w->pairs_size;
    /* The columns of d_gates that belong to the gates in the order of weight_ih: `early` of them from `shift` on, then the
     * rest from 0 on. Only gru's are not simply in order: n, r, z. */
    const int64_t early = cell == GRU ? 2 * hidden : columns, shift = cell == GRU ? hidden : 0;
    float *const late_input = w->input + early * (inputs + UNITS);

    if (cell == GRU_BEFORE) {
        NAME(pack)(s->weight_hh, hidden, 1, 2 * hidden, hidden, w->recurrent, number, threads);
        NAME(pack)(s->weight_hh + 2 * hidden * hidden, hidden, 1, hidden, hidden, w->candidate, number, threads);
    } else
        NAME(pack)(s->weight_hh, hidden, 1, columns, hidden, w->recurrent, number, threads);
    if (s->d_x) {
        NAME(pack)(s->weight_ih, inputs, 1, s->ids ? columns : early, inputs, w->input, number, threads);
        if (!s->ids && early < columns)
            NAME(pack)(s->weight_ih + early * inputs, inputs, 1, columns - early, inputs, late_input, number, threads);
    }
    meet(&w->place);

    const int64_t rows = last - first, ahead = most(1, BLOCK_ROWS / most(1, rows));
    for (int64_t stop = s->time; stop > 0 && rows; stop -= ahead) {
        const int64_t start = most(0, stop - ahead);
        for (int64_t t = stop - 1; t >= start; t--) NAME(step_back)(w, t, first, rows, scratch, pairs);
        if (!s->d_x || s->ids) continue;
        const int whole = rows == batch;
        for (int64_t t = start; t < (whole ? start + 1 : stop); t++) {
            const float *d = s->d_gates + (t * batch + first) * d_row;
            float *to = s->d_x + (t * batch + first) * inputs;
            const int64_t count = whole ? (stop - start) * batch : rows;
            NAME(times)(count, d + shift, d_row, 1, w->input, early, inputs, 0, 0, to, inputs, pairs);
            if (early < columns) NAME(times)(count, d, d_row, 1, late_input, columns - early, inputs, 1, 0, to, inputs, pairs);
        }
    }
    meet(&w->place);

    /* From here on threads share outputs, not rows: sums over all places. */
    const float *const d = s->d_gates;
    const int64_t late = gates_of(cell) == 3 ? 2 * hidden : columns; /* gru-before: n's product is with r h */
    share(late / UNITS, number, threads, &begin, &end);
    begin *= UNITS, end *= UNITS;
    NAME(summed)(end - begin, d + shift + begin, 1, d_row, s->hs, hidden, places, hidden, scratch, s->d_weight_hh + begin * hidden, hidden, pairs);
    NAME(sum_rows)(d + shift + begin, d_row, places, end - begin, scratch, s->d_bias_hh + begin);
    memcpy(s->d_bias_ih + begin, s->d_bias_hh + begin, (size_t)(end - begin) * sizeof(float));
    if (!s->ids)
        NAME(summed)(end - begin, d + shift + begin, 1, d_row, s->x, inputs, places, inputs, scratch, s->d_weight_ih + begin * inputs, inputs, pairs);
    if (late < columns) {
        share(hidden / UNITS, number, threads, &begin, &end);
        begin *= UNITS, end *= UNITS;
        const int64_t n = late + begin, of_h = cell == GRU ? 3 * hidden + begin : n, of_x = cell == GRU ? begin : n;
        if (cell == GRU)
            NAME(summed)(end - begin, d + of_h, 1, d_row, s->hs, hidden, places, hidden, scratch, s->d_weight_hh + n * hidden, hidden, pairs);
        else
            NAME(summed)(end - begin, d + of_h, 1, d_row, s->saved + 3 * hidden, saved_row, places, hidden, scratch, s->d_weight_hh + n * hidden, hidden, pairs);
        NAME(sum_rows)(d + of_h, d_row, places, end - begin, scratch, s->d_bias_hh + n);
        NAME(sum_rows)(d + of_x, d_row, places, end - begin, scratch, s->d_bias_ih + n);
        if (!s->ids)
            NAME(summed)(end - begin, d + of_x, 1, d_row, s->x, inputs, places, inputs, scratch, s->d_weight_ih + n * inputs, inputs, pairs);
    }
    if (!s->ids) return;

    share(columns / UNITS, number, threads, &begin, &end);
    begin *= UNITS, end *= UNITS;
    for (int64_t v = 0; v < s->vocabulary; v++) memset(w->table + v * columns + begin, 0, (size_t)(end - begin) * sizeof(float));
    for (int64_t i = 0; i < places; i++) {
        float *to = w->table + s->ids[i] * columns;
        const int64_t middle = most(begin, least(end, early));
        INDEPENDENT for (int64_t j = begin; j < middle; j++) to[j] += d[i * d_row + shift + j];
        INDEPENDENT for (int64_t j = middle; j < end; j++) to[j] += d[i * d_row + j - early];
    }
    meet(&w->place);
    NAME(summed)(end - begin, w->table + begin, 1, columns, s->x, inputs, s->vocabulary, inputs, scratch, s->d_weight_ih + begin * inputs, inputs, pairs);
    if (!s->d_x) return;
    share(s->vocabulary, number, threads, &begin, &end);
    NAME(times)(end - begin, w->table + begin * columns, columns, 1, w->input, columns, inputs, 0, 0, s->d_x + begin * inputs, inputs, pairs);
}

#if LEVEL < 3 /* scores stay float32 */
/* ---- scores ---- */

/* e^x for x <= 0: relative error below 2e-7; below -87 it stays at e^-87. NaN stays NaN. */
INLINE vec NAME(exp)(vec x) {
#if LEVEL >= 2
    x = (vec)_mm512_max_ps(_mm512_set1_ps(-87.0f), (__m512)x);
#elif LEVEL == 1
    x = (vec)_mm256_max_ps(_mm256_set1_ps(-87.0f), (__m256)x);
#else
    const vec limit = (vec){0} - 87.0f;
    const words below = (words)(x < limit);
    x = (vec)(((words)x & ~below) | ((words)limit & below));
#endif
    const vec shifted = x * 1.44269504f + 0x1.8p23f, n = shifted - 0x1.8p23f;
    const vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec series = r * 1.98412698e-4f + 1.38888889e-3f;
    series = series * r + 8.33333333e-3f;
    series = series * r + 4.16666667e-2f;
    series = series * r + 1.66666667e-1f;
    series = series * r + 0.5f;
    const vec scale = (vec)(((words)shifted << 23) + (127u << 23));
    return scale + scale * (series * (r * r) + r);
}

/* logits (width), padded with what no maximum is -> probabilities times their sum, which is returned. */
INLINE float NAME(weigh)(float *logits, int64_t width, float *largest) {
    vec top = IN_OF(logits, 0), sum = (vec){0};
    for (int64_t j = VEC; j < width; j += VEC) {
        const vec next = IN_OF(logits, j);
        const words above = (words)(next > top);
        top = (vec)(((words)next & above) | ((words)top & ~above));
    }
    *largest = top[0];
    for (int i = 1; i < VEC; i++) *largest = top[i] > *largest ? top[i] : *largest;
    for (int64_t j = 0; j < width; j += VEC) {
        const vec weight = NAME(exp)(IN_OF(logits, j) - *largest);
        OF(logits, j) = weight;
        sum += weight;
    }
    float total = 0;
    for (int i = 0; i < VEC; i++) total += sum[i];
    return total;
}

static void NAME(score)(work *w, int number) {
    const scores *q = w->q;
    const int64_t n = q->vocabulary, width = (n + UNITS - 1) / UNITS * UNITS;
    float *const logits = w->scratch + number * w->scratch_size;
    int64_t first, last;
    NAME(pack)(q->weight, 1, q->inputs, q->inputs, n, w->input, number, w->place.threads);
    meet(&w->place);
    share(q->rows, number, w->place.threads, &first, &last);
    for (int64_t begin = first; begin < last; begin += SCORED_ROWS) {
        const int64_t count = least(SCORED_ROWS, last - begin);
        NAME(times)(count, q->x + begin * q->inputs, q->inputs, 1, w->input, q->inputs, n, 0, q->bias, logits, width, 0);
        for (int64_t i = begin; i < begin + count; i++) {
            float *row = logits + (i - begin) * width, *slopes = q->slopes ? q->slopes + i * n : 0, largest;
            const int64_t target = q->targets[i];
            q->nats[i] = 0;
            if (slopes) memset(slopes, 0, (size_t)n * sizeof(float));
            if (target == IGNORED) continue;
            for (int64_t j = n; j < width; j++) row[j] = -1e38f;
            const double score = row[target];
            const float sum = NAME(weigh)(row, width, &largest), inverse = 1.0f / sum;
            q->nats[i] = log((double)sum) + (double)largest - score;
            if (!slopes) continue;
            INDEPENDENT for (int64_t j = 0; j < n; j++) slopes[j] = row[j] * inverse;
            slopes[target] -= 1.0f;
        }
    }
}
#endif

#include "level.h" /* ends it */
#undef stage
#undef OF
#undef IN_OF
#undef CASE
#undef CASES_3
#undef CASES_4
#undef CASES_6
#undef CASES_8
#undef CASES
#undef JOIN_CASES
#undef TILES
#undef TILES_OF
#undef WIDE
#undef ROWS
#undef LSTM_ROWS
#undef GRU_ROWS
#undef PANEL
#undef OPERANDS
#endif
