/* Sampling: the cells, and one step of all layers. Part of sampling.inc.h, for each LEVEL.
 *
 * sampling/network.py does the same in numpy and is the reference. R rows; H' is the hidden size
 * padded to UNITS; G is the cell's gates times H'. Gates of UNITS units lie in blocks, as in the
 * drawing of sampling.h. The arguments of gates arrive halved, so that 1 / (2 + E(x)) is a gate.
 */

#define NARROW 128 /* a head with at most so many outputs takes partial sums, see narrow_tile */

/* grown(x), with |x| limited to 9.2, where tanh is 1 to the last bit. NaN becomes -9.2. */
INLINE vec NAME(E)(vec x) {
    const vec limit = (vec){0} + 9.2f;
    return NAME(grown)(NAME(smaller)(NAME(larger)(x, -limit), limit));
}

/* ---- the cells, for UNITS units ----
 *
 * A division costs as much as an exponential, so fractions are brought to one denominator first.
 */

/* c' = f c + i g, h = o tanh(c'). gates: i, f, o, g. */
INLINE void NAME(lstm)(const float *gates, float *c, float *h) {
    EACH_VECTOR (j) {
        const vec i = 2.0f + NAME(E)(IN(gates + j));
        const vec f = 2.0f + NAME(E)(IN(gates + UNITS + j));
        const vec o = 2.0f + NAME(E)(IN(gates + 2 * UNITS + j));
        const vec g = NAME(E)(IN(gates + 3 * UNITS + j));
        const vec ig = i * (2.0f + g);
        const vec next = (IN(c + j) * ig - g * f) / (ig * f);
        const vec e = NAME(E)(next);
        OUT(c + j) = next;
        OUT(h + j) = -e / ((2.0f + e) * o);
    }
}

/* n + (h - n) / z. z: 2 + E of the update gate's argument; e: E of n's argument. */
INLINE vec NAME(blend)(vec z, vec e, vec h) {
    return (h * (2.0f + e) - (z - 1.0f) * e) / (z * (2.0f + e));
}

/* x, sums: r, z, n. */
INLINE void NAME(gru)(const float *x, const float *sums, const float *h, float *h_next) {
    EACH_VECTOR (j) {
        const vec r = 2.0f + NAME(E)(IN(x + j) + IN(sums + j));
        const vec z = 2.0f + NAME(E)(IN(x + UNITS + j) + IN(sums + UNITS + j));
        const vec n = NAME(E)(IN(x + 2 * UNITS + j) + IN(sums + 2 * UNITS + j) / r);
        OUT(h_next + j) = NAME(blend)(z, n, IN(h + j));
    }
}

/* gru-before: r h, and 1 / z. x, sums: r, z. */
INLINE void NAME(gru_gates)(const float *x, const float *sums, const float *h, float *reset,
                            float *update) {
    EACH_VECTOR (j) {
        OUT(reset + j) = IN(h + j) / (2.0f + NAME(E)(IN(x + j) + IN(sums + j)));
        OUT(update + j) = 2.0f + NAME(E)(IN(x + UNITS + j) + IN(sums + UNITS + j));
    }
}

/* gru-before: h after the step. x: r, z, n; sums: n. */
INLINE void NAME(gru_candidate)(const float *x, const float *sums, const float *update,
                                const float *h, float *h_next) {
    EACH_VECTOR (j) {
        const vec n = NAME(E)(IN(x + 2 * UNITS + j) + IN(sums + j));
        OUT(h_next + j) = NAME(blend)(IN(update + j), n, IN(h + j));
    }
}

INLINE void NAME(rnn)(const float *gates, float *h) {
    EACH_VECTOR (j) {
        const vec e = NAME(E)(IN(gates + j));
        OUT(h + j) = -e / (2.0f + e);
    }
}

/* ---- a layer ---- */

/* One panel of recurrent sums -> the new h and c of its units; gru-before: their gates. */
INLINE void NAME(panel_of_cell)(Work *work, const Layer *l, int64_t number, const Stage *s,
                                float *tile) {
    const Matrix *recurrent = &l->recurrent;
    const int cell = work->model->cell;
    const int64_t size = padded(work->model->hidden_size);
    const int64_t column = number * recurrent->panel;
    const int64_t columns = smaller_of(recurrent->panel, recurrent->columns - column);
    /* The sums can start with x; not a GRU's, whose reset gate comes between the two. */
    const int adds = cell == RNN || cell == LSTM;
    const Product product = {
        .x = s->h,
        .x_stride = size,
        .start = adds ? s->x : recurrent->bias,
        .start_stride = adds ? s->x_stride : 0,
        .pick = s->pick,
        .out = tile,
        .out_stride = MAX_PANEL,
    };
    NAME(products)(work, recurrent, number, number + 1, &product);

    for (int64_t r = 0; r < work->active; r++) {
        const float *sums = tile + r * MAX_PANEL;
        const float *x = s->x + s->pick[r] * s->x_stride;
        const float *h = s->h + r * size;
        float *h_next = s->h_next + r * size;
        if (cell == RNN) {
            for (int64_t at = 0; at < columns; at += UNITS)
                NAME(rnn)(sums + at, h_next + column + at);
        } else if (cell == LSTM) {
            int64_t unit = column / 4;
            for (int64_t at = 0; at < columns; at += 4 * UNITS, unit += UNITS)
                NAME(lstm)(sums + at, s->c + r * size + unit, h_next + unit);
        } else if (cell == GRU) {
            int64_t unit = column / 3;
            for (int64_t at = 0; at < columns; at += 3 * UNITS, unit += UNITS)
                NAME(gru)(x + column + at, sums + at, h + unit, h_next + unit);
        } else {
            int64_t unit = column / 2;
            for (int64_t at = 0; at < columns; at += 2 * UNITS, unit += UNITS)
                NAME(gru_gates)(x + 3 * unit, sums + at, h + unit, work->reset + r * size + unit,
                                work->update + r * size + unit);
        }
    }
}

/* gru-before: one panel of the candidate's sums -> the new h of its units. */
INLINE void NAME(panel_of_candidate)(Work *work, const Layer *l, int64_t number, const Stage *s,
                                     float *tile) {
    const Matrix *candidate = &l->candidate;
    const int64_t size = padded(work->model->hidden_size);
    const int64_t column = number * candidate->panel;
    const int64_t columns = smaller_of(candidate->panel, candidate->columns - column);
    const Product product = {
        .x = work->reset,
        .x_stride = size,
        .start = candidate->bias,
        .start_stride = 0,
        .pick = s->pick,
        .out = tile,
        .out_stride = MAX_PANEL,
    };
    NAME(products)(work, candidate, number, number + 1, &product);

    for (int64_t r = 0; r < work->active; r++) {
        const float *x = s->x + s->pick[r] * s->x_stride;
        for (int64_t at = 0; at < columns; at += UNITS) {
            const int64_t unit = column + at;
            NAME(gru_candidate)(x + 3 * unit, tile + r * MAX_PANEL + at,
                                work->update + r * size + unit, s->h + r * size + unit,
                                s->h_next + r * size + unit);
        }
    }
}

/* One layer's new h and c: the panels of member `number`. */
INLINE void NAME(cell)(Work *work, const Layer *l, int number, const Stage *s) {
    const Matrix *recurrent = &l->recurrent;
    const Matrix *candidate = &l->candidate;
    const int threads = work->place.threads;
    float *tile = work->tile + number * MAX_PANEL; /* (R, MAX_PANEL); a team has one row */
    const int64_t panels = (recurrent->columns + recurrent->panel - 1) / recurrent->panel;
    const Share mine = share(panels, number, threads);
    for (int64_t panel = mine.first; panel < mine.stop; panel++)
        NAME(panel_of_cell)(work, l, panel, s, tile);
    if (work->model->cell != GRU_BEFORE) return;

    meet(&work->place); /* a candidate reads r h of all units */
    const int64_t others = (candidate->columns + candidate->panel - 1) / candidate->panel;
    const Share my_others = share(others, number, threads);
    for (int64_t panel = my_others.first; panel < my_others.stop; panel++)
        NAME(panel_of_candidate)(work, l, panel, s, tile);
}

/* Skip connections: what the next layer reads, in work->below, from what this one has read, whose
 * width is given, and from its h_next (R, H').
 */
INLINE void NAME(skip)(Work *work, int64_t width, const float *h_next) {
    const Model *m = work->model;
    const int64_t size = padded(m->hidden_size);
    const size_t bytes = (size_t)m->hidden_size * sizeof(float);
    for (int64_t r = 0; r < work->active; r++) {
        float *to = work->below + r * m->width;
        const float *from = h_next + r * size;
        if (m->skip == DENSE) {
            memcpy(to + width, from, bytes);
        } else if (width != m->hidden_size) { /* sizes differ: nothing to add to */
            memcpy(to, from, bytes);
        } else {
            for (int64_t j = 0; j < width; j++)
                to[j] += from[j];
        }
    }
}

/* A convolution: layer 0's input products in work->x, a table row for each character in view. What
 * it sees next goes into the last layer of h_next.
 */
INLINE void NAME(convolve)(Work *work) {
    const Model *m = work->model;
    const int64_t size = padded(m->hidden_size);
    const int64_t gates = gates_of(m->cell) * size;
    for (int64_t r = 0; r < work->active; r++) {
        const int64_t at = (m->layers * work->rows + r) * size;
        const float *past = work->h + at;
        float *next = work->h_next + at;
        float *x = work->x + r * gates;
        memcpy(x, m->table + work->ids[r] * gates, (size_t)gates * sizeof(float));
        for (int64_t back = 0; back < m->past; back++) {
            const int64_t row = back * (m->inputs + 1) + (int64_t)past[back];
            const float *from = m->past_tables + row * gates;
            for (int64_t j = 0; j < gates; j++)
                x[j] += from[j];
        }
        memset(next, 0, (size_t)size * sizeof(float));
        memcpy(next + 1, past, (size_t)(m->past - 1) * sizeof(float));
        next[0] = (float)(work->ids[r] + 1);
    }
}

/* ---- a step ---- */

/* One step of all layers, as member `number` of the team. */
static void NAME(step)(Work *work, int number) {
    const Model *m = work->model;
    const int64_t rows = work->active;
    const int64_t size = padded(m->hidden_size);
    const int is_first = number == 0; /* does alone what is too small to share */
    const float *below = 0;           /* (R, width): what the layer reads */
    int64_t stride = 0;               /* of `below` */
    int64_t width = m->embedding_size;
    /* Read before the last meeting: after it, the next step may be prepared. */
    float *const logits = work->logits;

    /* 1. With skip connections the first layer's input is needed too. */
    const int has_input = m->skip == DENSE || (m->skip == RESIDUAL && width == m->hidden_size);
    if (is_first && has_input) {
        for (int64_t r = 0; r < rows; r++) {
            const float *from = m->embedding + work->ids[r] * width;
            memcpy(work->below + r * m->width, from, (size_t)width * sizeof(float));
        }
    }

    if (m->past) {
        if (is_first) NAME(convolve)(work);
        meet(&work->place);
    }

    /* 2. The layers: input products, which layer 0 has in a table, then the cell. */
    for (int64_t k = 0; k < m->layers; k++) {
        const Layer *l = m->layer + k;
        const int64_t at = k * work->rows * size; /* of the layer's state */
        const int has_products = k || m->past;
        const Stage stage = {
            .x = has_products ? work->x : m->table,
            .x_stride = gates_of(m->cell) * size,
            .pick = has_products ? work->order : work->ids,
            .h = work->h + at,
            .h_next = work->h_next + at,
            .c = m->cell == LSTM ? work->c + at : 0,
        };
        if (k) {
            NAME(whole)(work, &l->input, number, below, stride, work->x);
            meet(&work->place);
        }
        NAME(cell)(work, l, number, &stage);
        meet(&work->place);
        below = stage.h_next;
        stride = size;
        if (m->skip != NONE) {
            if (is_first) NAME(skip)(work, width, stage.h_next);
            meet(&work->place);
            below = work->below;
            stride = m->width;
        }
        width = m->hidden_size + (m->skip == DENSE ? width : 0);
    }
    if (!logits) return;

    /* 3. The head. */
    if (m->head.columns > NARROW) {
        NAME(whole)(work, &m->head, number, below, stride, logits);
        meet(&work->place);
    } else if (is_first) {
        for (int64_t r = 0; r < rows; r++) {
            const float *x = below + r * stride;
            float *out = logits + r * m->head.columns;
            if (m->half)
                NAME(narrow)(1, &m->head, x, out);
            else
                NAME(narrow)(0, &m->head, x, out);
        }
    }
}

#undef NARROW
