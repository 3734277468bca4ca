/* Training: a layer forward over a whole sequence. Part of training.inc.h, for each LEVEL.
 *
 * model/recurrent.py has the same in PyTorch and is the reference. Threads take rows of the batch,
 * outside the time loop. A tile is some rows times VEC units with all their gates, which are
 * finished while their sums are in registers.
 *
 * Shapes: T time, B batch, K inputs, V characters, H hidden size, G the cell's gates, S saved.
 */

/* x with |x| limited to 9.2. NaN stays NaN, so that a training that goes wrong is seen. */
INLINE vec NAME(within)(vec x) {
    const vec limit = (vec){0} + 9.2f;
    return NAME(smaller)(limit, NAME(larger)(-limit, x));
}

INLINE vec NAME(tanh)(vec x) {
    const vec e = NAME(grown)(NAME(within)(x));
    return -e / (2.0f + e);
}

INLINE vec NAME(sigmoid)(vec x) { return 1.0f / (2.0f + NAME(grown)(NAME(within)(0.5f * x))); }

/* ---- tiles ----
 *
 * Rows r ... r + rows - 1, and the units from `unit` on. rows and vectors are constants.
 */

/* sums += left times packed weights. */
INLINE void NAME(add_recurrent)(const int rows, const int vectors, const Stage *s,
                                const float *packed, int64_t r, vec sums[8][4]) {
    const Left left = {s->left.at + r * s->left.row, s->left.row, 1};
    NAME(tile)(rows, vectors, left, packed, OPERANDS(s->hidden), sums);
}

INLINE void NAME(lstm_tile)(const int rows, const Stage *s, const float *packed, int64_t r,
                            int64_t unit) {
    const int64_t hidden = s->hidden;
    vec sums[8][4];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < 4; v++)
            sums[i][v] = IN(s->x[r + i] + v * hidden + unit);
    }
    NAME(add_recurrent)(rows, 4, s, packed, r, sums);
    UNROLL
    for (int i = 0; i < rows; i++) {
        const int64_t at = (r + i) * hidden + unit;
        const vec in = NAME(sigmoid)(sums[i][0]);
        const vec forget = NAME(sigmoid)(sums[i][1]);
        const vec g = NAME(tanh)(sums[i][2]);
        const vec out = NAME(sigmoid)(sums[i][3]);
        const vec c = forget * IN(s->c + at) + in * g;
        OUT(s->c_next + at) = c;
        OUT(s->h_next + at) = out * NAME(tanh)(c);
        if (s->saved) {
            float *to = s->saved + (r + i) * s->saved_row + unit;
            OUT(to) = in;
            OUT(to + hidden) = forget;
            OUT(to + 2 * hidden) = g;
            OUT(to + 3 * hidden) = out;
        }
    }
}

INLINE void NAME(rnn_tile)(const int rows, const int vectors, const Stage *s, const float *packed,
                           int64_t r, int64_t unit) {
    vec sums[8][4];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            sums[i][v] = IN(s->x[r + i] + v * VEC + unit);
    }
    NAME(add_recurrent)(rows, vectors, s, packed, r, sums);
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            OUT(s->h_next + (r + i) * s->hidden + v * VEC + unit) = NAME(tanh)(sums[i][v]);
    }
}

INLINE void NAME(gru_tile)(const int rows, const Stage *s, const float *packed, int64_t r,
                           int64_t unit) {
    const int64_t hidden = s->hidden;
    vec sums[8][4];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < 2; v++)
            sums[i][v] = IN(s->x[r + i] + v * hidden + unit);
        sums[i][2] = IN(s->bias_hn + unit); /* n's x comes after the reset gate */
    }
    NAME(add_recurrent)(rows, 3, s, packed, r, sums);
    UNROLL
    for (int i = 0; i < rows; i++) {
        const int64_t at = (r + i) * hidden + unit;
        const vec reset = NAME(sigmoid)(sums[i][0]);
        const vec z = NAME(sigmoid)(sums[i][1]);
        const vec h = IN(s->h + at);
        const vec n = NAME(tanh)(IN(s->x[r + i] + 2 * hidden + unit) + reset * sums[i][2]);
        OUT(s->h_next + at) = n + z * (h - n);
        if (s->saved) {
            float *to = s->saved + (r + i) * s->saved_row + unit;
            OUT(to) = reset;
            OUT(to + hidden) = z;
            OUT(to + 2 * hidden) = n;
            OUT(to + 3 * hidden) = sums[i][2];
        }
    }
}

/* gru-before: the gates r and z of all units, and r h, which the candidate n needs. */
INLINE void NAME(gates_tile)(const int rows, const Stage *s, const float *packed, int64_t r,
                             int64_t unit) {
    const int64_t hidden = s->hidden;
    vec sums[8][4];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < 2; v++)
            sums[i][v] = IN(s->x[r + i] + v * hidden + unit);
    }
    NAME(add_recurrent)(rows, 2, s, packed, r, sums);
    UNROLL
    for (int i = 0; i < rows; i++) {
        const vec reset = NAME(sigmoid)(sums[i][0]);
        float *to = s->saved + (r + i) * s->saved_row + unit;
        OUT(to) = reset;
        OUT(to + hidden) = NAME(sigmoid)(sums[i][1]);
        OUT(to + 3 * hidden) = reset * IN(s->h + (r + i) * hidden + unit);
    }
}

INLINE void NAME(candidate_tile)(const int rows, const int vectors, const Stage *s,
                                 const float *packed, int64_t r, int64_t unit) {
    const int64_t hidden = s->hidden;
    vec sums[8][4];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            sums[i][v] = IN(s->x[r + i] + 2 * hidden + v * VEC + unit);
    }
    NAME(add_recurrent)(rows, vectors, s, packed, r, sums);
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            const int64_t at = (r + i) * hidden + v * VEC + unit;
            float *to = s->saved + (r + i) * s->saved_row + v * VEC + unit;
            const vec n = NAME(tanh)(sums[i][v]);
            const vec z = IN(to + hidden);
            const vec h = IN(s->h + at);
            OUT(to + 2 * hidden) = n;
            OUT(s->h_next + at) = n + z * (h - n);
        }
    }
}

/* ---- a step of `rows` rows ---- */

/* s->left = from (rows, H), whose rows are `row` apart, as products read them. */
INLINE void NAME(bring)(Stage *s, const float *from, int64_t row, int64_t rows) {
#if LEVEL == 3
    const int64_t operands = OPERANDS(s->hidden);
    for (int64_t r = 0; r < rows; r++)
        NAME(pair_along)(from + r * row, s->hidden, s->pairs + r * operands, 1);
    s->left = (Left){s->pairs, operands, 1};
#else
    (void)rows;
    s->left = (Left){from, row, 1};
#endif
}

/* h, c -> h_next, c_next, saved. */
static void NAME(step)(const Work *work, Stage *s, int64_t rows) {
    const int cell = work->sequence->cell;
    const int64_t hidden = s->hidden;
    const int64_t operands = OPERANDS(hidden);
    NAME(bring)(s, s->h, hidden, rows);
    if (cell == LSTM) {
        for (int64_t unit = 0; unit < hidden; unit += VEC) {
            const float *packed = work->recurrent + 4 * unit * operands;
#define TILE(n, vectors) NAME(lstm_tile)(n, s, packed, r, unit)
            TILES(4, rows, LSTM_ROWS)
#undef TILE
        }
    } else if (cell == GRU) {
        for (int64_t unit = 0; unit < hidden; unit += VEC) {
            const float *packed = work->recurrent + 3 * unit * operands;
#define TILE(n, vectors) NAME(gru_tile)(n, s, packed, r, unit)
            TILES(3, rows, GRU_ROWS)
#undef TILE
        }
    } else if (cell == RNN) {
        for (int64_t unit = 0; unit < hidden; unit += PANEL) {
            const float *packed = work->recurrent + unit * operands;
#define TILE(n, vectors) NAME(rnn_tile)(n, vectors, s, packed, r, unit)
            TILES_OF(smaller_of(PANEL, hidden - unit) / VEC, rows)
#undef TILE
        }
    } else {
        for (int64_t unit = 0; unit < hidden; unit += VEC) {
            const float *packed = work->recurrent + 2 * unit * operands;
#define TILE(n, vectors) NAME(gates_tile)(n, s, packed, r, unit)
            TILES(2, rows, ROWS)
#undef TILE
        }
        NAME(bring)(s, s->saved + 3 * hidden, s->saved_row, rows);
        for (int64_t unit = 0; unit < hidden; unit += PANEL) {
            const float *packed = work->candidate + unit * operands;
#define TILE(n, vectors) NAME(candidate_tile)(n, vectors, s, packed, r, unit)
            TILES_OF(smaller_of(PANEL, hidden - unit) / VEC, rows)
#undef TILE
        }
    }
}

/* ---- a sequence ---- */

/* Pack thread `number`'s part of the weights, and add up the biases. */
static void NAME(pack_forward)(Work *work, int number) {
    const Sequence *s = work->sequence;
    const int threads = work->place.threads;
    const int cell = s->cell;
    const int64_t hidden = s->hidden;
    const int64_t columns = gates_of(cell) * hidden;
    const Right all = {.at = s->weight_hh, .inner = 1, .column = hidden};
    const Right candidate = {s->weight_hh + 2 * hidden * hidden, 1, hidden};
    const Right input = {.at = s->weight_ih, .inner = 1, .column = s->inputs};

    if (cell == GRU_BEFORE) {
        NAME(pack_gates)(s->weight_hh, hidden, 2, work->recurrent, number, threads);
        NAME(pack)(candidate, hidden, hidden, work->candidate, number, threads);
    } else if (cell == RNN) {
        NAME(pack)(all, hidden, hidden, work->recurrent, number, threads);
    } else {
        const int gates = (int)gates_of(cell);
        NAME(pack_gates)(s->weight_hh, hidden, gates, work->recurrent, number, threads);
    }
    NAME(pack)(input, s->inputs, columns, work->input, number, threads);
    if (number > 0) return;
    for (int64_t j = 0; j < columns; j++) {
        const int is_inside = cell == GRU && j >= 2 * hidden; /* n's bias_hh is reset with W_hn h */
        work->bias[j] = s->bias_ih[j] + (is_inside ? 0 : s->bias_hh[j]);
    }
}

/* The rows of thread `number`, whose input products are made some steps ahead. */
static void NAME(forward)(Work *work, int number) {
    const Sequence *s = work->sequence;
    const int threads = work->place.threads;
    const int cell = s->cell;
    const int64_t hidden = s->hidden;
    const int64_t batch = s->batch;
    const int64_t inputs = s->inputs;
    const int64_t columns = gates_of(cell) * hidden;
    const int64_t saved_row = saved_of(cell) * hidden;

    /* 1. This thread's rows, and its scratch: */
    const Share mine = share(batch, number, threads);
    const int64_t first = mine.first;
    const int64_t rows = mine.stop - mine.first;
    const int64_t ahead = larger_of(1, BLOCK_ROWS / larger_of(1, rows));
    /* block (ahead, rows, G H): input products that nobody keeps */
    float *block = work->scratch + number * work->scratch_size + first * work->scratch_row;
    /* kept (rows, S H): gru-before's gates of one step, where the sequence does not keep them */
    float *kept = block + ahead * rows * columns;
    /* x (rows): pointers, each in the place of two floats */
    const float **x = (const float **)(kept + (s->saved ? 0 : rows * saved_row));
    /* left (rows, OPERANDS(H)): level 3 */
    float *const left = (float *)(x + rows);
    float *const pairs = work->pairs + number * work->pairs_size;

    /* 2. Packed weights, and the table of layer 0: V products, not T B. */
    NAME(pack_forward)(work, number);
    meet(&work->place);
    if (s->ids) {
        const Share ours = share(s->vocabulary, number, threads);
        const Left characters = {s->x + ours.first * inputs, inputs, 1};
        const Result table = {
            .at = work->table + ours.first * columns, .row = columns, .bias = work->bias};
        const int64_t count = ours.stop - ours.first;
        NAME(times)(count, characters, work->input, inputs, columns, table, pairs);
        meet(&work->place);
    }
    if (!rows) return;

    for (int64_t start = 0; start < s->time; start += ahead) {
        const int64_t stop = smaller_of(start + ahead, s->time);

        /* 3. Input products of some steps. They are written over by what they become, if the
         *    sequence keeps that: to + t step + r row. */
        float *to = block;
        int64_t row = columns;
        int64_t step = rows * columns;
        if (cell == RNN) {
            to = s->hs + ((start + 1) * batch + first) * hidden;
            row = hidden;
            step = batch * hidden;
        } else if (s->saved) {
            to = s->saved + (start * batch + first) * saved_row;
            row = saved_row;
            step = batch * saved_row;
        }
        if (!s->ids) {
            /* All rows of the batch are neighbours in memory: one product for all steps. */
            const int has_all = rows == batch;
            const int64_t products = has_all ? 1 : stop - start;
            const int64_t count = has_all ? (stop - start) * batch : rows;
            for (int64_t t = 0; t < products; t++) {
                const Left places = {s->x + ((start + t) * batch + first) * inputs, inputs, 1};
                const Result result = {.at = to + t * step, .row = row, .bias = work->bias};
                NAME(times)(count, places, work->input, inputs, columns, result, pairs);
            }
        }

        /* 4. The steps. */
        for (int64_t t = start; t < stop; t++) {
            const int64_t place = t * batch + first;
            const int64_t at = place * hidden;
            const int64_t next = at + batch * hidden;
            Stage stage = {
                .x = x,
                .h = s->hs + at,
                .bias_hn = cell == GRU ? s->bias_hh + 2 * hidden : 0,
                .h_next = s->hs + next,
                .saved = cell == GRU_BEFORE ? kept : 0,
                .hidden = hidden,
                .saved_row = saved_row,
                .pairs = left,
            };
            if (cell == LSTM) {
                stage.c = s->cs + (s->saved ? at : first * hidden);
                stage.c_next = s->cs + (s->saved ? next : first * hidden);
            }
            if (s->saved) stage.saved = s->saved + place * saved_row;
            for (int64_t r = 0; r < rows; r++) {
                if (s->ids)
                    x[r] = work->table + s->ids[place + r] * columns;
                else
                    x[r] = to + (t - start) * step + r * row;
            }
            NAME(step)(work, &stage, rows);
        }
    }
}
