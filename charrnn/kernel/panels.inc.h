/* Sampling: products of a few rows with a packed matrix. Part of sampling.inc.h, for each LEVEL.
 *
 * Every output is one sum in the order of its inputs, whatever the number of rows and threads. So a
 * sample is the same to the last bit, alone or in a crowd.
 */

/* VEC weights from the one numbered `at` on. half is a constant. */
INLINE vec NAME(load)(const void *weights, int64_t at, const int half) {
    if (!half) return IN((const float *)weights + at);
    const uint16_t *from = (const uint16_t *)weights + at;
#if LEVEL == 2
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif LEVEL == 1
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
    /* Exponent and mantissa in place, then times 2^112: exact, for subnormal numbers too. Nobody
     * packs infinities. */
    float out[VEC];
    for (int i = 0; i < VEC; i++) {
        const uint32_t sign = (uint32_t)(from[i] & 0x8000) << 16;
        uint32_t bits = (uint32_t)(from[i] & 0x7FFF) << 13;
        float value;
        memcpy(&value, &bits, 4);
        value *= 0x1p112f;
        memcpy(&bits, &value, 4);
        bits |= sign;
        memcpy(&out[i], &bits, 4);
    }
    return IN(out);
#endif
}

/* rows x vectors sums at once, over all inputs: those of rows r ... and columns at ... of a panel.
 * The panel's weights begin at `first`, and have `width` columns. rows, vectors, half: constants.
 */
INLINE void NAME(tile)(const int rows, const int vectors, const int half, const Matrix *m,
                       int64_t first, int64_t width, const Product *p, int64_t r, int64_t at) {
    const void *weights = m->weights;
    const int64_t inputs = m->inputs;
    const int64_t x_stride = p->x_stride;
    const float *x = p->x + r * x_stride;
    float *out = p->out + r * p->out_stride + at;
    int64_t place = first + at;

    vec sums[6][8];
    UNROLL
    for (int i = 0; i < rows; i++) {
        const float *start = p->start + p->pick[r + i] * p->start_stride + at;
        UNROLL
        for (int v = 0; v < vectors; v++)
            sums[i][v] = IN(start + v * VEC);
    }
    for (int64_t k = 0; k < inputs; k++, place += width) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            const vec weight = NAME(load)(weights, place + v * VEC, half);
            UNROLL
            for (int i = 0; i < rows; i++)
                sums[i][v] += x[i * x_stride + k] * weight;
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            OUT(out + i * p->out_stride + v * VEC) = sums[i][v];
    }
}

/* One panel of `rows` rows, in tiles whose sums fill the registers. */
INLINE void NAME(panel)(const int half, const Matrix *m, int64_t first, int64_t width, int64_t rows,
                        const Product *p) {
    int64_t r = 0;
    int64_t at = 0;
#define TILE(rows, vectors) NAME(tile)(rows, vectors, half, m, first, width, p, r, at)
#define TILES(vectors)                                                                             \
    for (; at + vectors * VEC <= width; at += vectors * VEC) {                                     \
        for (r = 0; r + 6 <= rows; r += 6)                                                         \
            TILE(6, vectors);                                                                      \
        if (r + 4 <= rows) {                                                                       \
            TILE(4, vectors);                                                                      \
            r += 4;                                                                                \
        }                                                                                          \
        if (r + 2 <= rows) {                                                                       \
            TILE(2, vectors);                                                                      \
            r += 2;                                                                                \
        }                                                                                          \
        if (r < rows) TILE(1, vectors);                                                            \
    }
#define ONE_ROW(vectors)                                                                           \
    if (at + vectors * VEC <= width) {                                                             \
        TILE(1, vectors);                                                                          \
        at += vectors * VEC;                                                                       \
    }
    if (rows == 1) { /* as many sums as hide the latency of one */
        for (; at + 8 * VEC <= width; at += 8 * VEC)
            TILE(1, 8);
        ONE_ROW(6)
        ONE_ROW(4)
        ONE_ROW(3)
        ONE_ROW(2)
        ONE_ROW(1)
    } else if (VEC == 16 && width % (3 * VEC) == 0) {
        TILES(3)
    } else {
        if (VEC == 16) TILES(4) /* there are 32 registers */
        TILES(2)
        TILES(1)
    }
#undef ONE_ROW
#undef TILES
#undef TILE
}

/* The panels begin ... end - 1 of a product. product->out is where the first one's columns go. */
static void NAME(products)(const Work *work, const Matrix *m, int64_t begin, int64_t end,
                           const Product *product) {
    for (int64_t panel = begin; panel < end; panel++) {
        const int64_t column = panel * m->panel;
        const int64_t width = smaller_of(m->panel, m->columns - column);
        const int64_t first = column * m->inputs;
        Product here = *product;
        here.start += column;
        here.out += column - begin * m->panel;
        if (work->model->half)
            NAME(panel)(1, m, first, width, work->active, &here);
        else
            NAME(panel)(0, m, first, width, work->active, &here);
    }
}

/* out (R, columns) = bias + x times the weights: the panels of member `number`. */
INLINE void NAME(whole)(const Work *work, const Matrix *m, int number, const float *x,
                        int64_t x_stride, float *out) {
    const int64_t panels = (m->columns + m->panel - 1) / m->panel;
    const Share mine = share(panels, number, work->place.threads);
    const Product product = {
        .x = x,
        .x_stride = x_stride,
        .start = m->bias,
        .start_stride = 0,
        .pick = work->order,
        .out = out + mine.first * m->panel,
        .out_stride = m->columns,
    };
    NAME(products)(work, m, mine.first, mine.stop, &product);
}

/* A narrow head has few sums, and every product would wait for the one before. So each sum is four
 * partial ones, over the inputs 4 i, 4 i + 1, 4 i + 2 and 4 i + 3. vectors and half are constants.
 */
INLINE void NAME(narrow_tile)(const int vectors, const int half, const Matrix *m, int64_t first,
                              int64_t width, const float *x, const float *bias, float *out) {
    const void *weights = m->weights;
    const int64_t inputs = m->inputs;
    vec sums[4][4] = {{{0}}};
    int64_t k = 0;
    for (; k + 4 <= inputs; k += 4) {
        UNROLL
        for (int chain = 0; chain < 4; chain++) {
            UNROLL
            for (int v = 0; v < vectors; v++) {
                const int64_t place = first + (k + chain) * width + v * VEC;
                sums[chain][v] += x[k + chain] * NAME(load)(weights, place, half);
            }
        }
    }
    for (; k < inputs; k++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            sums[0][v] += x[k] * NAME(load)(weights, first + k * width + v * VEC, half);
    }
    UNROLL
    for (int v = 0; v < vectors; v++) {
        const vec sum = (sums[0][v] + sums[1][v]) + (sums[2][v] + sums[3][v]);
        OUT(out + v * VEC) = sum + IN(bias + v * VEC);
    }
}

/* out (columns) = bias + x (inputs) times a narrow matrix. half is a constant. */
INLINE void NAME(narrow)(const int half, const Matrix *m, const float *x, float *out) {
    for (int64_t column = 0; column < m->columns; column += m->panel) {
        const int64_t width = smaller_of(m->panel, m->columns - column);
        const int64_t first = column * m->inputs;
        int64_t at = 0;
#define TILE(vectors)                                                                              \
    NAME(narrow_tile)(vectors, half, m, first + at, width, x, m->bias + column + at,               \
                      out + column + at)
#if VEC == 16
        if (width == 4 * VEC) {
            TILE(4);
            continue;
        }
        if (width == 2 * VEC) {
            TILE(2);
            continue;
        }
        for (; at < width; at += VEC)
            TILE(1);
#else
        for (; at < width; at += 2 * VEC)
            TILE(2);
#endif
#undef TILE
    }
}
