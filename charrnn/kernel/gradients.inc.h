/* Training: a layer backward over a whole sequence. Part of training.inc.h, for each LEVEL.
 *
 * model/recurrent.py has the same in PyTorch and is the reference. Threads take rows of the batch
 * for the steps, and outputs for the sums over all places; they meet between such parts. So every
 * sum has one order, and the result does not depend on the number of threads.
 *
 * d_x means the gradient of the loss in x. d_gates (T, B, D H) has the slopes of the gates' sums,
 * as drawn in training.h.
 *
 * Shapes: T time, B batch, K inputs, V characters, H hidden size, G the cell's gates, S saved, D
 * slopes.
 */

/* ---- one row at one step ----
 *
 * d (D H): the slopes of the gates' sums. d_h (H) becomes what reaches the state before without
 * going through the product, d_c (H) the gradient of the c before. saved (S H); others (H).
 */

INLINE void NAME(lstm_row)(int64_t hidden, const float *saved, const float *c,
                           const float *c_before, const float *d_out, float *d_h, float *d_c,
                           float *d) {
    for (int64_t u = 0; u < hidden; u += VEC) {
        const vec i = IN(saved + u);
        const vec f = IN(saved + hidden + u);
        const vec g = IN(saved + 2 * hidden + u);
        const vec o = IN(saved + 3 * hidden + u);
        const vec tanh_c = NAME(tanh)(IN(c + u));
        const vec dh = IN(d_h + u) + IN(d_out + u);
        const vec dc = IN(d_c + u) + dh * o * (1.0f - tanh_c * tanh_c);
        OUT(d + u) = dc * g * i * (1.0f - i);
        OUT(d + hidden + u) = dc * IN(c_before + u) * f * (1.0f - f);
        OUT(d + 2 * hidden + u) = dc * i * (1.0f - g * g);
        OUT(d + 3 * hidden + u) = dh * tanh_c * o * (1.0f - o);
        OUT(d_c + u) = dc * f;
    }
}

INLINE void NAME(gru_row)(int64_t hidden, const float *saved, const float *h_before,
                          const float *d_out, float *d_h, float *d) {
    for (int64_t u = 0; u < hidden; u += VEC) {
        const vec r = IN(saved + u);
        const vec z = IN(saved + hidden + u);
        const vec n = IN(saved + 2 * hidden + u);
        const vec h_n = IN(saved + 3 * hidden + u);
        const vec dh = IN(d_h + u) + IN(d_out + u);
        const vec dn = dh * (1.0f - z) * (1.0f - n * n);
        OUT(d + u) = dn;
        OUT(d + hidden + u) = dn * h_n * r * (1.0f - r);
        OUT(d + 2 * hidden + u) = dh * (IN(h_before + u) - n) * z * (1.0f - z);
        OUT(d + 3 * hidden + u) = dn * r;
        OUT(d_h + u) = dh * z;
    }
}

/* The slopes of z and n; r's need those of r h, which n's give (reset_row). */
INLINE void NAME(gru_before_row)(int64_t hidden, const float *saved, const float *h_before,
                                 const float *d_out, float *d_h, float *d) {
    for (int64_t u = 0; u < hidden; u += VEC) {
        const vec z = IN(saved + hidden + u);
        const vec n = IN(saved + 2 * hidden + u);
        const vec dh = IN(d_h + u) + IN(d_out + u);
        OUT(d + hidden + u) = dh * (IN(h_before + u) - n) * z * (1.0f - z);
        OUT(d + 2 * hidden + u) = dh * (1.0f - z) * (1.0f - n * n);
        OUT(d_h + u) = dh * z;
    }
}

/* The slopes of r. d_reset (H): the gradient of r h. */
INLINE void NAME(reset_row)(int64_t hidden, const float *saved, const float *h_before,
                            const float *d_reset, float *d_h, float *d) {
    for (int64_t u = 0; u < hidden; u += VEC) {
        const vec r = IN(saved + u);
        const vec dr = IN(d_reset + u);
        OUT(d + u) = dr * IN(h_before + u) * r * (1.0f - r);
        OUT(d_h + u) += dr * r;
    }
}

INLINE void NAME(rnn_row)(int64_t hidden, const float *h, const float *d_out, float *d_h,
                          float *d) {
    for (int64_t u = 0; u < hidden; u += VEC) {
        const vec dh = IN(d_h + u) + IN(d_out + u);
        OUT(d + u) = dh * (1.0f - IN(h + u) * IN(h + u));
    }
}

/* ---- one step ---- */

/* Step t back, of rows first ... first + rows - 1. scratch (rows, H). */
static void NAME(step_back)(const Work *work, int64_t t, int64_t first, int64_t rows,
                            float *scratch, float *pairs) {
    const Sequence *s = work->sequence;
    const int cell = s->cell;
    const int64_t hidden = s->hidden;
    const int64_t saved_row = saved_of(cell) * hidden;
    const int64_t d_row = slopes_of(cell) * hidden;
    const int64_t place = t * s->batch + first;
    const int64_t at = place * hidden;
    const int64_t next = at + s->batch * hidden;
    float *const all_d = s->d_gates + place * d_row;
    float *const all_d_h = s->d_h + first * hidden;

    /* 1. The slopes of the gates. */
    for (int64_t r = 0; r < rows; r++) {
        const int64_t j = r * hidden;
        const float *saved = s->saved + (place + r) * saved_row;
        const float *h = s->hs + at + j;
        const float *d_out = s->d_out + at + j;
        float *d_h = all_d_h + j;
        float *d = all_d + r * d_row;
        if (cell == LSTM) {
            const float *c = s->cs + next + j;
            const float *c_before = s->cs + at + j;
            float *d_c = s->d_c + first * hidden + j;
            NAME(lstm_row)(hidden, saved, c, c_before, d_out, d_h, d_c, d);
        } else if (cell == GRU) {
            NAME(gru_row)(hidden, saved, h, d_out, d_h, d);
        } else if (cell == GRU_BEFORE) {
            NAME(gru_before_row)(hidden, saved, h, d_out, d_h, d);
        } else {
            NAME(rnn_row)(hidden, s->hs + next + j, d_out, d_h, d);
        }
    }

    /* 2. Through the recurrent products, to d_h. */
    const int64_t inner = (cell == GRU_BEFORE ? 2 : gates_of(cell)) * hidden;
    const int adds = cell == GRU || cell == GRU_BEFORE; /* h also reaches the next h directly */
    const Left slopes = {.at = all_d + shift_of(cell) * hidden, .row = d_row, .inner = 1};
    const Result d_state = {.at = all_d_h, .row = hidden, .adds = adds};
    if (cell == GRU_BEFORE) {
        const Left of_n = {.at = all_d + 2 * hidden, .row = d_row, .inner = 1};
        const Result d_reset = {.at = scratch, .row = hidden};
        NAME(times)(rows, of_n, work->candidate, hidden, hidden, d_reset, pairs);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t j = r * hidden;
            const float *saved = s->saved + (place + r) * saved_row;
            float *d = all_d + r * d_row;
            NAME(reset_row)(hidden, saved, s->hs + at + j, scratch + j, all_d_h + j, d);
        }
    }
    NAME(times)(rows, slopes, work->recurrent, inner, hidden, d_state, pairs);
}

/* ---- all places ---- */

/* sums (columns) = the sum of `rows` rows of `from`, which are `row` floats apart. Groups of 256
 * are summed first, so that long sums lose less to rounding. part (columns) is scratch.
 */
static void NAME(sum_rows)(const float *from, int64_t row, int64_t rows, int64_t columns,
                           float *part, float *sums) {
    memset(sums, 0, (size_t)columns * sizeof(float));
    for (int64_t start = 0; start < rows; start += 256) {
        const int64_t stop = smaller_of(rows, start + 256);
        memset(part, 0, (size_t)columns * sizeof(float));
        for (int64_t r = start; r < stop; r++) {
            INDEPENDENT
            for (int64_t j = 0; j < columns; j++)
                part[j] += from[r * row + j];
        }
        INDEPENDENT
        for (int64_t j = 0; j < columns; j++)
            sums[j] += part[j];
    }
}

/* The gradients of rows row ... row + rows - 1 of the weights and biases, summed over all places.
 * In a place's d_gates their slopes begin at `of_h` for what comes from h, and at `of_x` for what
 * comes from x. h (T B, H) is what weight_hh multiplies. With ids, d_weight_ih comes later.
 */
static void NAME(weight_rows)(const Work *work, int64_t row, int64_t rows, int64_t of_h,
                              int64_t of_x, Right h, float *scratch, float *pairs) {
    const Sequence *s = work->sequence;
    const int64_t hidden = s->hidden;
    const int64_t inputs = s->inputs;
    const int64_t places = s->time * s->batch;
    const int64_t d_row = slopes_of(s->cell) * hidden;
    const float *from_h = s->d_gates + of_h;
    const float *from_x = s->d_gates + of_x;
    const Left slopes_h = {.at = from_h, .row = 1, .inner = d_row};
    const Left slopes_x = {.at = from_x, .row = 1, .inner = d_row};

    float *d_weight_hh = s->d_weight_hh + row * hidden;
    NAME(summed)(rows, slopes_h, h, places, hidden, scratch, d_weight_hh, pairs);
    NAME(sum_rows)(from_h, d_row, places, rows, scratch, s->d_bias_hh + row);
    if (of_x == of_h)
        memcpy(s->d_bias_ih + row, s->d_bias_hh + row, (size_t)rows * sizeof(float));
    else
        NAME(sum_rows)(from_x, d_row, places, rows, scratch, s->d_bias_ih + row);
    if (s->ids) return;
    const Right x = {.at = s->x, .inner = inputs, .column = 1};
    float *d_weight_ih = s->d_weight_ih + row * inputs;
    NAME(summed)(rows, slopes_x, x, places, inputs, scratch, d_weight_ih, pairs);
}

/* A thread's part of `columns` outputs, in whole units. */
static Share NAME(share_of_columns)(int64_t columns, int number, int threads) {
    const Share units = share(columns / UNITS, number, threads);
    return (Share){.first = units.first * UNITS, .stop = units.stop * UNITS};
}

/* With ids: the slopes of each character summed over its places, then d_weight_ih and d_x of V
 * characters.
 */
static void NAME(backward_of_table)(Work *work, int number, float *scratch, float *pairs) {
    const Sequence *s = work->sequence;
    const int threads = work->place.threads;
    const int64_t inputs = s->inputs;
    const int64_t columns = gates_of(s->cell) * s->hidden;
    const int64_t d_row = slopes_of(s->cell) * s->hidden;
    const int64_t early = early_of(s->cell) * s->hidden;
    const int64_t shift = shift_of(s->cell) * s->hidden;

    /* 1. table (V, G H), in the order of weight_ih: this thread's columns. */
    const Share mine = NAME(share_of_columns)(columns, number, threads);
    const int64_t count = mine.stop - mine.first;
    const int64_t middle = larger_of(mine.first, smaller_of(mine.stop, early));
    for (int64_t v = 0; v < s->vocabulary; v++)
        memset(work->table + v * columns + mine.first, 0, (size_t)count * sizeof(float));
    for (int64_t i = 0; i < s->time * s->batch; i++) {
        const float *d = s->d_gates + i * d_row;
        float *to = work->table + s->ids[i] * columns;
        INDEPENDENT
        for (int64_t j = mine.first; j < middle; j++)
            to[j] += d[shift + j];
        INDEPENDENT
        for (int64_t j = middle; j < mine.stop; j++)
            to[j] += d[j - early];
    }
    meet(&work->place);

    /* 2. d_weight_ih, then d_x (V, K): this thread's characters. */
    const Left slopes = {.at = work->table + mine.first, .row = 1, .inner = columns};
    const Right x = {.at = s->x, .inner = inputs, .column = 1};
    float *d_weight_ih = s->d_weight_ih + mine.first * inputs;
    NAME(summed)(count, slopes, x, s->vocabulary, inputs, scratch, d_weight_ih, pairs);
    if (!s->d_x) return;
    const Share ours = share(s->vocabulary, number, threads);
    const Left of_characters = {work->table + ours.first * columns, columns, 1};
    const Result d_x = {.at = s->d_x + ours.first * inputs, .row = inputs};
    const int64_t characters = ours.stop - ours.first;
    NAME(times)(characters, of_characters, work->input, columns, inputs, d_x, pairs);
}

/* The whole layer, as thread `number`. */
static void NAME(backward)(Work *work, int number) {
    const Sequence *s = work->sequence;
    const int threads = work->place.threads;
    const int cell = s->cell;
    const int64_t hidden = s->hidden;
    const int64_t batch = s->batch;
    const int64_t inputs = s->inputs;
    const int64_t columns = gates_of(cell) * hidden;
    const int64_t d_row = slopes_of(cell) * hidden;
    const Share mine = share(batch, number, threads);
    const int64_t first = mine.first;
    const int64_t rows = mine.stop - mine.first;
    /* (rows, H) for the steps; later packed weights, or a row of sums */
    float *const scratch = work->scratch + number * work->scratch_size + first * work->scratch_row;
    float *const pairs = work->pairs + number * work->pairs_size;
    const int64_t early = early_of(cell) * hidden;
    const int64_t shift = shift_of(cell) * hidden;
    float *const late_input = work->input + early * (inputs + UNITS);

    /* 1. Packed weights. */
    const int64_t gates_before = cell == GRU_BEFORE ? 2 * hidden : columns;
    const Right recurrent = {.at = s->weight_hh, .inner = hidden, .column = 1};
    NAME(pack)(recurrent, gates_before, hidden, work->recurrent, number, threads);
    if (cell == GRU_BEFORE) {
        const Right candidate = {s->weight_hh + 2 * hidden * hidden, hidden, 1};
        NAME(pack)(candidate, hidden, hidden, work->candidate, number, threads);
    }
    if (s->d_x) {
        const int64_t inner = s->ids ? columns : early;
        const Right input = {.at = s->weight_ih, .inner = inputs, .column = 1};
        NAME(pack)(input, inner, inputs, work->input, number, threads);
        if (inner < columns) {
            const Right late = {s->weight_ih + early * inputs, inputs, 1};
            NAME(pack)(late, columns - early, inputs, late_input, number, threads);
        }
    }
    meet(&work->place);

    /* 2. The steps of this thread's rows, and d_x of some steps while their slopes are near. */
    const int64_t ahead = larger_of(1, BLOCK_ROWS / larger_of(1, rows));
    for (int64_t stop = s->time; stop > 0 && rows; stop -= ahead) {
        const int64_t start = larger_of(0, stop - ahead);
        for (int64_t t = stop - 1; t >= start; t--)
            NAME(step_back)(work, t, first, rows, scratch, pairs);
        if (!s->d_x || s->ids) continue;
        /* All rows of the batch are neighbours in memory: one product for all steps. */
        const int has_all = rows == batch;
        const int64_t products = has_all ? 1 : stop - start;
        const int64_t count = has_all ? (stop - start) * batch : rows;
        for (int64_t t = start; t < start + products; t++) {
            const int64_t place = t * batch + first;
            const float *d = s->d_gates + place * d_row;
            Result d_x = {.at = s->d_x + place * inputs, .row = inputs};
            NAME(times)(count, (Left){d + shift, d_row, 1}, work->input, early, inputs, d_x, pairs);
            if (early == columns) continue;
            d_x.adds = 1;
            NAME(times)(count, (Left){d, d_row, 1}, late_input, columns - early, inputs, d_x,
                        pairs);
        }
    }
    meet(&work->place);

    /* 3. From here on threads share outputs, not rows: the weights' gradients. The rows of n come
     *    apart: gru has their slopes twice, and gru-before's multiply r h. */
    const int64_t before_n = gates_of(cell) == 3 ? 2 * hidden : columns;
    const Right hs = {.at = s->hs, .inner = hidden, .column = 1};
    const Share some = NAME(share_of_columns)(before_n, number, threads);
    const int64_t count = some.stop - some.first;
    const int64_t at = shift + some.first;
    NAME(weight_rows)(work, some.first, count, at, at, hs, scratch, pairs);
    if (before_n < columns) {
        const Share of_n = NAME(share_of_columns)(hidden, number, threads);
        const int64_t row = before_n + of_n.first;
        const int64_t of_h = cell == GRU ? 3 * hidden + of_n.first : row;
        const int64_t of_x = cell == GRU ? of_n.first : row;
        Right h = hs;
        if (cell == GRU_BEFORE) h = (Right){s->saved + 3 * hidden, saved_of(cell) * hidden, 1};
        NAME(weight_rows)(work, row, of_n.stop - of_n.first, of_h, of_x, h, scratch, pairs);
    }
    if (s->ids) NAME(backward_of_table)(work, number, scratch, pairs);
}
