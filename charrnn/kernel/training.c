/* Training: one recurrent layer over a whole sequence, forward and backward, and its products.
 *
 * charrnn/model/kernel_*.py call the functions charrnn_... below; model/recurrent.py has them in
 * PyTorch and is the reference. The caller has checked shapes, and has padded the hidden size to
 * UNITS.
 *
 * How it is fast
 *   - Weights are packed once for all steps of a sequence (drawing: packing.inc.h). A panel of the
 *     recurrent weights has all gates of its units, which are finished in registers.
 *   - Layer 0 multiplies the V characters, not the T B places. A row of that table is looked up;
 *     backward its gradient is summed by character.
 *   - At level 3 the factors of products are bfloat16, two at a time. Sums, gates, states and all
 *     that is kept stay float32.
 *   - Threads take rows of the batch, outside the time loop. For sums over rows they take outputs.
 *     They meet between such parts, not in the loop.
 *
 * The parts: training.h has the structures. training.inc.h is the vector part, compiled for each
 * LEVEL: packing.inc.h and products.inc.h matrix products, recurrence.inc.h a layer forward,
 * gradients.inc.h a layer backward, scores.inc.h the next character's.
 *
 * Shapes: T time, B batch, K inputs, V characters, H hidden size, G the cell's gates.
 */
#define _POSIX_C_SOURCE 200112L
#include <math.h>
#include <stdlib.h>

#include "training.h"

#define LEVEL 0
#include "training.inc.h"
#if defined(__x86_64__)
#undef LEVEL
#define LEVEL 1
#include "training.inc.h"
#undef LEVEL
#define LEVEL 2
#include "training.inc.h"
#ifdef BFLOAT16
#undef LEVEL
#define LEVEL 3
#include "training.inc.h"
#endif
#endif

/* The functions of each level. Each is one thread's part of a call. */
static const struct {
    void (*forward)(Work *, int number);
    void (*backward)(Work *, int number);
    void (*multiply)(Work *, int number);
    void (*score)(Work *, int number);
} at_level[] = {
    [0] = {.forward = forward_0, .backward = backward_0, .multiply = multiply_0, .score = score_0},
#if defined(__x86_64__)
    [1] = {.forward = forward_1, .backward = backward_1, .multiply = multiply_1, .score = score_1},
    [2] = {.forward = forward_2, .backward = backward_2, .multiply = multiply_2, .score = score_2},
#ifdef BFLOAT16
    [3] = {.forward = forward_3, .backward = backward_3, .multiply = multiply_3, .score = score_2},
#endif
#endif
};

static void forward_part(void *argument, int number) {
    Work *work = argument;
    at_level[work->sequence->level].forward(work, number);
}

static void backward_part(void *argument, int number) {
    Work *work = argument;
    at_level[work->sequence->level].backward(work, number);
}

static void product_part(void *argument, int number) {
    Work *work = argument;
    at_level[work->product->level].multiply(work, number);
}

static void scores_part(void *argument, int number) {
    Work *work = argument;
    at_level[work->scores->level].score(work, number);
}

/* ---- threads ---- */

static OpenMP lent;

static void count_part(void *counts, int number) {
    if (number >= 0 && number < 2) __atomic_add_fetch((int *)counts + number, 1, __ATOMIC_ACQ_REL);
}

/* Compute on the threads of this OpenMP (team.h) from now on. Returns 0, and changes nothing, if it
 * does not do what it should.
 */
int charrnn_use_openmp(ParallelFunction *parallel, int (*count)(void), int (*number)(void)) {
    const OpenMP offered = {.parallel = parallel, .count = count, .number = number};
    int counts[2] = {0, 0}; /* how often threads 0 and 1 ran */
    Meeting place;
    run_team(&offered, &place, 2, count_part, counts);
    if (place.threads < 1 || place.threads > 2) return 0;
    if (counts[0] != 1 || counts[1] != place.threads - 1) return 0;
    lent = offered;
    return 1;
}

/* ---- memory ---- */

/* Room for the padding of the arrays that one call takes, in floats. */
#define MARGIN(arrays) (((arrays) + 1) * UNITS)

/* A block of memory for that many floats in so many arrays, of which `at` is the first; or null. */
static void *allocate(int64_t floats, int64_t arrays, char **at) {
    void *memory = malloc((size_t)(floats + MARGIN(arrays)) * sizeof(float));
    *at = (char *)(((uintptr_t)memory + 63) / 64 * 64);
    return memory;
}

/* The next n floats of a block of memory, at a multiple of 64 bytes. */
static float *take(char **at, int64_t n) {
    char *place = *at;
    *at += (n * (int64_t)sizeof(float) + 63) / 64 * 64;
    return (float *)place;
}

/* ---- what Python calls ---- */

/* Run `part` on all threads. scratch_size: floats of scratch for every thread; scratch_row: more of
 * them for every row of the batch, however many threads come.
 */
static int run_layer(const Sequence *s, TeamPart *part, int64_t scratch_size, int64_t scratch_row) {
    const int64_t columns = gates_of(s->cell) * s->hidden;
    const int64_t recurrent = columns * s->hidden;
    const int64_t input = columns * (s->inputs + UNITS); /* backward the inputs are padded */
    const int64_t table = columns * s->vocabulary;
    Work work = {
        .sequence = s,
        .scratch_size = padded(scratch_size),
        .scratch_row = padded(scratch_row),
    };
    const int64_t scratch = s->threads * work.scratch_size + s->batch * work.scratch_row;
    if (s->level == 3) {
        const int64_t longest = larger_of(larger_of(columns, s->inputs), BLOCK_INPUTS);
        work.pairs_size = BLOCK_ROWS * (longest / 2 + 1);
    }
    const int64_t pairs = s->threads * work.pairs_size;

    char *at;
    work.memory = allocate(recurrent + input + table + columns + scratch + pairs, 6, &at);
    if (!work.memory) return NO_MEMORY;
    work.recurrent = take(&at, recurrent);
    work.candidate = work.recurrent + 2 * s->hidden * s->hidden; /* gru-before: after r and z */
    work.input = take(&at, input);
    work.table = take(&at, table);
    work.bias = take(&at, columns);
    work.scratch = take(&at, scratch);
    work.pairs = take(&at, pairs);
    run_team(&lent, &work.place, (int)s->threads, part, &work);
    free(work.memory);
    return 0;
}

/* x, weights, hs[0], cs[0] -> hs, cs, saved. Returns 0, NO_MEMORY, or BAD_ID. */
int charrnn_layer_forward(const Sequence *s) {
    for (int64_t i = 0; s->ids && i < s->time * s->batch; i++)
        if (s->ids[i] < 0 || s->ids[i] >= s->vocabulary) return BAD_ID;
    const int64_t columns = gates_of(s->cell) * s->hidden;
    /* A row: its input products, what gru-before keeps of a step, a pointer, its operands. */
    const int64_t a_row = columns + saved_of(s->cell) * s->hidden + 2 + s->hidden / 2;
    return run_layer(s, forward_part, BLOCK_ROWS * columns, a_row);
}

/* What forward left, and d_out, d_c -> d_x, d_h, d_c and the weights' gradients. Returns 0, or
 * NO_MEMORY.
 */
int charrnn_layer_backward(const Sequence *s) {
    const int64_t columns = gates_of(s->cell) * s->hidden;
    const int64_t packed = BLOCK_INPUTS * (larger_of(s->inputs, s->hidden) + UNITS);
    return run_layer(s, backward_part, packed + columns, s->hidden);
}

/* Returns 0, or NO_MEMORY. */
int charrnn_product(const Product *p) {
    Work work = {.product = p};
    if (p->level == 3) work.pairs_size = BLOCK_ROWS * (BLOCK_INPUTS / 2);
    const int64_t input = BLOCK_INPUTS * (p->columns + UNITS);
    const int64_t pairs = p->threads * work.pairs_size;
    char *at;
    work.memory = allocate(input + pairs, 2, &at);
    if (!work.memory) return NO_MEMORY;
    work.input = take(&at, input);
    work.pairs = take(&at, pairs);
    run_team(&lent, &work.place, (int)p->threads, product_part, &work);
    free(work.memory);
    return 0;
}

/* Returns 0, NO_MEMORY, or BAD_ID. */
int charrnn_scores(const Scores *q) {
    for (int64_t i = 0; i < q->rows; i++) {
        const int64_t target = q->targets[i];
        if (target == IGNORED) continue;
        if (target < 0 || target >= q->vocabulary) return BAD_ID;
    }
    const int64_t width = padded(q->vocabulary);
    Work work = {.scores = q, .scratch_size = SCORED_ROWS * width};
    const int64_t input = q->inputs * width;
    const int64_t scratch = q->threads * work.scratch_size;
    char *at;
    work.memory = allocate(input + scratch, 2, &at);
    if (!work.memory) return NO_MEMORY;
    work.input = take(&at, input);
    work.scratch = take(&at, scratch);
    run_team(&lent, &work.place, (int)q->threads, scores_part, &work);
    free(work.memory);
    return 0;
}
