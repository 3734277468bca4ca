/* Training: weights packed for products. Part of training.inc.h, for each LEVEL.
 *
 * Weights are packed once for all steps of a sequence, so that a tile of a product reads one place
 * after the other. The outputs lie in panels of PANEL neighbours, input after input, the last panel
 * padded to VEC with zeros. With K inputs and PANEL 64:
 *
 *     panel 0   w[0][0..63]    w[1][0..63]    ...  w[K-1][0..63]
 *     panel 1   w[0][64..127]  w[1][64..127]  ...  w[K-1][64..127]
 *
 * The recurrent weights of a cell with several gates lie in panels of VEC units instead, with all
 * their gates side by side (pack_gates):
 *
 *                |<------- input 0 ------->|<------- input 1 ------->|
 *     panel 0     i 0..15 | f | g | o 0..15  i 0..15 | f | g | o       ...
 *     panel 1     i 16..31| f | g | o        ...                           (lstm, VEC 16)
 *
 * At level 3 a pair of bfloat16 stands in the place of each float: the weights of two neighbouring
 * inputs, rounded as they are packed. What a product takes at once is an operand: one input, or at
 * level 3 a pair. K inputs, H hidden size.
 */

/* Rows of a tile, so that its sums fill the registers, for panels of WIDE vectors, of lstm's four
 * gates and of gru's three. */
#if LEVEL >= 2 || defined(__aarch64__)
#define WIDE      4
#define ROWS      6
#define LSTM_ROWS 6
#define GRU_ROWS  8
#else
#define WIDE      2
#define ROWS      6
#define LSTM_ROWS 3
#define GRU_ROWS  4
#endif
#define PANEL (WIDE * VEC)

#if LEVEL == 3
#define OPERANDS(inner) (((inner) + 1) / 2)

/* A mask of the first n of 16 floats. */
INLINE __mmask16 NAME(first)(int64_t n) {
    if (n >= 16) return 0xffff;
    return n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

/* from (inner) -> pairs (0, 1), (2, 3), ..., `stride` floats apart. The last of an odd number is
 * paired with zero.
 */
INLINE void NAME(pair_along)(const float *from, int64_t inner, float *to, int64_t stride) {
    for (int64_t k = 0; k < inner; k += 32, to += 16 * stride) {
        const __m512 low = _mm512_maskz_loadu_ps(NAME(first)(inner - k), from + k);
        __m512 high = _mm512_setzero_ps();
        if (inner - k > 16)
            high = _mm512_maskz_loadu_ps(NAME(first)(inner - k - 16), from + k + 16);
        const __m512 pairs = (__m512)_mm512_cvtne2ps_pbh(high, low);
        const int64_t count = smaller_of(16, OPERANDS(inner - k));
        if (stride == 1) {
            _mm512_mask_storeu_ps(to, NAME(first)(count), pairs);
        } else {
            float pair[16];
            _mm512_storeu_ps(pair, pairs);
            for (int64_t i = 0; i < count; i++)
                to[i * stride] = pair[i];
        }
    }
}

/* low, high (n) -> n pairs of low[i] and high[i]; high null: zeros. Zeros follow up to `width`,
 * which is n, or a multiple of VEC.
 */
INLINE void NAME(pair_across)(const float *low, const float *high, int64_t n, int64_t width,
                              float *to) {
    for (int64_t i = 0; i < width; i += 16) {
        const __mmask16 real = NAME(first)(n - i);
        const __mmask16 kept = NAME(first)(width - i);
        const __m512 below = _mm512_maskz_loadu_ps(real, low + i);
        __m512 above = _mm512_setzero_ps();
        if (high) above = _mm512_maskz_loadu_ps(real, high + i);
        const __m512i first = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(below));
        const __m512i second = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(above));
        const __m512i pairs = _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
        _mm512_mask_storeu_ps(to + i, kept, (__m512)pairs);
    }
}

/* One panel: b (inner, real) -> operands of `width` columns, zeros from `real` on. */
INLINE void NAME(pack_panel)(Right b, int64_t inner, int64_t real, int64_t width, float *to) {
    const float *from = b.at;
    if (b.column == 1) {
        for (int64_t k = 0; k < inner; k += 2, from += 2 * b.inner, to += width) {
            const float *next = k + 1 < inner ? from + b.inner : 0;
            NAME(pair_across)(from, next, real, width, to);
        }
        return;
    }
    for (int64_t j = 0; j < real; j++)
        NAME(pair_along)(from + j * b.column, inner, to + j, width);
    for (int64_t j = real; j < width; j++) {
        for (int64_t k = 0; k < OPERANDS(inner); k++)
            to[k * width + j] = 0;
    }
}

#else
#define OPERANDS(inner) (inner)

/* One panel: b (inner, real) -> operands of `width` columns, zeros from `real` on. */
INLINE void NAME(pack_panel)(Right b, int64_t inner, int64_t real, int64_t width, float *to) {
    const float *from = b.at;
    if (b.column == 1) {
        for (int64_t k = 0; k < inner; k++, from += b.inner, to += width) {
            memcpy(to, from, (size_t)real * sizeof(float));
            for (int64_t j = real; j < width; j++)
                to[j] = 0;
        }
        return;
    }
    for (int64_t j = 0; j < width; j++) {
        for (int64_t k = 0; k < inner; k++)
            to[k * width + j] = j < real ? from[j * b.column + k * b.inner] : 0;
    }
}
#endif

/* b (inner, columns) -> panels of PANEL columns: those of thread `number`. */
static void NAME(pack)(Right b, int64_t inner, int64_t columns, float *packed, int number,
                       int threads) {
    const Share mine = share((columns + PANEL - 1) / PANEL, number, threads);
    for (int64_t panel = mine.first; panel < mine.stop; panel++) {
        const int64_t column = panel * PANEL;
        const int64_t real = smaller_of(PANEL, columns - column);
        const int64_t width = (real + VEC - 1) / VEC * VEC;
        const Right from = {b.at + column * b.column, b.inner, b.column};
        NAME(pack_panel)(from, inner, real, width, packed + column * OPERANDS(inner));
    }
}

/* weight (gates H, H) -> panels of VEC units and all their gates: those of thread `number`. */
static void NAME(pack_gates)(const float *weight, int64_t hidden, const int gates, float *packed,
                             int number, int threads) {
    const Share mine = share(hidden / VEC, number, threads);
    for (int64_t unit = mine.first * VEC; unit < mine.stop * VEC; unit += VEC) {
        for (int gate = 0; gate < gates; gate++) {
            float *to = packed + unit * gates * OPERANDS(hidden) + gate * VEC;
            for (int lane = 0; lane < VEC; lane++) {
                const float *from = weight + (gate * hidden + unit + lane) * hidden;
#if LEVEL == 3
                NAME(pair_along)(from, hidden, to + lane, gates * VEC);
#else
                for (int64_t k = 0; k < hidden; k++)
                    to[k * gates * VEC + lane] = from[k];
#endif
            }
        }
    }
}
