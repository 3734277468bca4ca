/* Training: matrix products in tiles that fill the registers. Part of training.inc.h, for each
 * LEVEL.
 *
 * A tile of outputs (6 rows x 64 with AVX-512) takes all its inputs from one packed panel and a few
 * rows. Every sum has one order, whatever the number of rows and threads.
 */

/* sums[r][v] += a(r, k) packed(k, v) over so many operands k. rows and vectors are constants. */
INLINE void NAME(tile)(const int rows, const int vectors, Left a, const float *packed,
                       int64_t operands, vec sums[8][4]) {
    const float *from = a.at;
    for (int64_t k = 0; k < operands; k++, from += a.inner, packed += vectors * VEC) {
        vec weights[4];
        UNROLL
        for (int v = 0; v < vectors; v++)
            weights[v] = IN(packed + v * VEC);
        UNROLL
        for (int r = 0; r < rows; r++) {
#if LEVEL == 3
            const __m512bh pair = (__m512bh)_mm512_set1_ps(from[r * a.row]);
            UNROLL
            for (int v = 0; v < vectors; v++)
                sums[r][v] = (vec)_mm512_dpbf16_ps((__m512)sums[r][v], pair, (__m512bh)weights[v]);
#else
            UNROLL
            for (int v = 0; v < vectors; v++)
                sums[r][v] += from[r * a.row] * weights[v];
#endif
        }
    }
}

/* TILES(vectors, rows, limit) calls TILE(n, vectors), which the caller has defined, for the rows r
 * ... r + n - 1 of `rows`: n is a constant, at most `limit` (3, 4, 6 or 8), and tiles are of nearly
 * equal height.
 */
#define CASE(n, vectors)                                                                           \
    case n:                                                                                        \
        TILE(n, vectors);                                                                          \
        break;
#define CASES_3(vectors)      CASE(1, vectors) CASE(2, vectors) CASE(3, vectors)
#define CASES_4(vectors)      CASES_3(vectors) CASE(4, vectors)
#define CASES_6(vectors)      CASES_4(vectors) CASE(5, vectors) CASE(6, vectors)
#define CASES_8(vectors)      CASES_6(vectors) CASE(7, vectors) CASE(8, vectors)
#define JOIN_CASES(limit)     CASES_##limit
#define CASES(limit, vectors) JOIN_CASES(limit)(vectors)
#define TILES(vectors, rows, limit)                                                                \
    for (int64_t r = 0, n; r < (rows); r += n) {                                                   \
        const int64_t left = (rows) - r;                                                           \
        const int64_t tiles = (left + (limit) - 1) / (limit);                                      \
        n = (left + tiles - 1) / tiles;                                                            \
        switch (n) { CASES(limit, vectors) }                                                       \
    }

/* TILES where the number of vectors, at most WIDE, is not a constant. */
#if WIDE == 4
#define TILES_OF(vectors, rows)                                                                    \
    switch (vectors) {                                                                             \
    case 1:                                                                                        \
        TILES(1, rows, ROWS) break;                                                                \
    case 2:                                                                                        \
        TILES(2, rows, ROWS) break;                                                                \
    case 3:                                                                                        \
        TILES(3, rows, ROWS) break;                                                                \
    case 4:                                                                                        \
        TILES(4, rows, ROWS) break;                                                                \
    }
#else
#define TILES_OF(vectors, rows)                                                                    \
    switch (vectors) {                                                                             \
    case 1:                                                                                        \
        TILES(1, rows, ROWS) break;                                                                \
    case 2:                                                                                        \
        TILES(2, rows, ROWS) break;                                                                \
    }
#endif

/* One tile of c = or += a packed [+ bias], of whose columns `real` exist. */
INLINE void NAME(product_tile)(const int rows, const int vectors, Left a, const float *packed,
                               int64_t operands, int64_t real, Result c) {
    vec sums[8][4];
    if (real == vectors * VEC) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < vectors; v++) {
                if (c.adds)
                    sums[r][v] = IN(c.at + r * c.row + v * VEC);
                else if (c.bias)
                    sums[r][v] = IN(c.bias + v * VEC);
                else
                    sums[r][v] = (vec){0};
            }
        }
        NAME(tile)(rows, vectors, a, packed, operands, sums);
        UNROLL
        for (int r = 0; r < rows; r++) {
            UNROLL
            for (int v = 0; v < vectors; v++)
                OUT(c.at + r * c.row + v * VEC) = sums[r][v];
        }
        return;
    }

    /* Memory has no room for whole vectors here: each row goes through `edge`. */
    const size_t bytes = (size_t)real * sizeof(float);
    float edge[4 * VEC] = {0};
    UNROLL
    for (int r = 0; r < rows; r++) {
        if (c.adds)
            memcpy(edge, c.at + r * c.row, bytes);
        else if (c.bias)
            memcpy(edge, c.bias, bytes);
        UNROLL
        for (int v = 0; v < vectors; v++)
            sums[r][v] = IN(edge + v * VEC);
    }
    NAME(tile)(rows, vectors, a, packed, operands, sums);
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            OUT(edge + v * VEC) = sums[r][v];
        memcpy(c.at + r * c.row, edge, bytes);
    }
}

/* c (rows, columns) = or += a packed [+ bias]. a has its inputs as operands. */
static void NAME(panels)(int64_t rows, Left a, const float *packed, int64_t operands,
                         int64_t columns, Result c) {
    for (int64_t column = 0; column < columns; column += PANEL) {
        const int64_t real = smaller_of(PANEL, columns - column);
        const float *panel = packed + column * operands;
        const float *bias = c.bias ? c.bias + column : 0;
#define TILE(n, vectors)                                                                           \
    NAME(product_tile)(n, vectors, (Left){a.at + r * a.row, a.row, a.inner}, panel, operands,      \
                       real, (Result){c.at + r * c.row + column, c.row, c.adds, bias})
        TILES_OF((real + VEC - 1) / VEC, rows)
#undef TILE
    }
}

/* c (rows, columns) = or += a (rows, inner) packed [+ bias]; each panel has the whole of `inner`.
 * pairs: level 3, room for BLOCK_ROWS rows of a's operands.
 */
static void NAME(times)(int64_t rows, Left a, const float *packed, int64_t inner, int64_t columns,
                        Result c, float *pairs) {
#if LEVEL == 3
    const int64_t operands = OPERANDS(inner);
    for (int64_t first = 0; first < rows; first += BLOCK_ROWS) {
        const int64_t count = smaller_of(BLOCK_ROWS, rows - first);
        const float *from = a.at + first * a.row;
        Result to = c;
        to.at += first * c.row;
        if (a.inner == 1) {
            for (int64_t r = 0; r < count; r++)
                NAME(pair_along)(from + r * a.row, inner, pairs + r * operands, 1);
            NAME(panels)(count, (Left){pairs, operands, 1}, packed, operands, columns, to);
        } else {
            for (int64_t k = 0; k < inner; k += 2) {
                const float *low = from + k * a.inner;
                const float *high = k + 1 < inner ? low + a.inner : 0;
                NAME(pair_across)(low, high, count, count, pairs + k / 2 * count);
            }
            NAME(panels)(count, (Left){pairs, 1, count}, packed, operands, columns, to);
        }
    }
#else
    (void)pairs;
    NAME(panels)(rows, a, packed, inner, columns, c);
#endif
}

/* c (rows, columns) = a (rows, inner) b (inner, columns), where `inner` is long: this thread packs
 * b in blocks for itself. packed: room for BLOCK_INPUTS inputs. b's columns are neighbours.
 */
static void NAME(summed)(int64_t rows, Left a, Right b, int64_t inner, int64_t columns,
                         float *packed, float *c, float *pairs) {
    for (int64_t k = 0; k < inner; k += BLOCK_INPUTS) {
        const int64_t count = smaller_of(BLOCK_INPUTS, inner - k);
        const Left some_a = {a.at + k * a.inner, a.row, a.inner};
        const Right some_b = {b.at + k * b.inner, b.inner, b.column};
        const Result to = {.at = c, .row = columns, .adds = k > 0};
        NAME(pack)(some_b, count, columns, packed, 0, 1);
        NAME(times)(rows, some_a, packed, count, columns, to, pairs);
    }
}

/* charrnn_product, as thread `number`: its rows. */
static void NAME(multiply)(Work *work, int number) {
    const Product *p = work->product;
    const int threads = work->place.threads;
    const Share mine = share(p->rows, number, threads);
    float *pairs = work->pairs + number * work->pairs_size;
    for (int64_t k = 0; k < p->inner; k += BLOCK_INPUTS) {
        const int64_t count = smaller_of(BLOCK_INPUTS, p->inner - k);
        const Left a = {
            .at = p->a + mine.first * p->a_row + k * p->a_inner,
            .row = p->a_row,
            .inner = p->a_inner,
        };
        const Right b = {.at = p->b + k * p->b_inner, .inner = p->b_inner, .column = p->b_column};
        const Result c = {
            .at = p->c + mine.first * p->c_row,
            .row = p->c_row,
            .adds = k > 0 || p->adds,
            .bias = p->bias,
        };
        NAME(pack)(b, count, p->columns, work->input, number, threads);
        meet(&work->place); /* all have packed */
        NAME(times)(mine.stop - mine.first, a, work->input, count, p->columns, c, pairs);
        meet(&work->place); /* all have read what is packed next */
    }
}
