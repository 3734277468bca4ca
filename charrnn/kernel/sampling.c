/* The sampler's inner loop: characters in, characters out, about as fast as the weights can be read.
 *
 * A plain C99 library without Python in it. kernel/library.py loads it through ctypes, compiled.py packs the weights, rows.py
 * calls the loop; the functions they call stand at the end of the first part. network.py does the same in numpy and is
 * the reference.
 *
 * How it is fast
 *   - Layer 0 is a table: V characters have V input products, and a row is looked up.
 *   - A matrix lies in panels of neighbouring outputs, input after input, so that one pass reads it once, in order:
 *         panel 0: w[0][0..63] w[1][0..63] ... w[K-1][0..63]   panel 1: w[0][64..127] ...
 *     A panel holds all gates of its units (LSTM: 16 units x i, f, o, g), which are finished while it is at hand.
 *   - Many rows share a panel, six at a time, from the first-level cache.
 *   - Every output is one sum in the order of its inputs (of a small alphabet's scores: four sums, then added), whatever the number of rows and threads: a sample is the same
 *     to the last bit alone or in a crowd.
 *
 * One library serves all processors of an architecture: the file includes itself once per instruction set (LEVEL, the
 * second part), and the caller names the level, at most charrnn_level().
 *
 * Nothing is checked here that the callers have checked: shapes, finite weights, ids below V.
 */
#ifndef LEVEL /* --------------------------------------------------------------- once: types, draws, decoding, threads */

#define _POSIX_C_SOURCE 200112L
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "level.h"
#include "team.h"

#define MAX_PANEL 96    /* a panel has at most so many outputs: 64; with three gates 96 */
#define WINDOW 64       /* characters that the repetition penalty looks back on */
#define NARROW 128      /* a head with at most so many outputs takes four partial sums, else it waits for each product */
#define LARGEST 1e300   /* stands for infinity where weights have grown beyond float32 */
enum { NONE, RESIDUAL, DENSE };
enum { DONE, STARVED, PAUSED, WRITTEN_FULL, OUT_FULL, NO_MEMORY = -1 }; /* why charrnn_write returned */

/* A packed matrix: panels of `panel` columns, then one of columns % panel. bias: (columns). */
typedef struct {
    const void *weights; /* float, or IEEE half precision if model.half */
    const float *bias;
    int64_t inputs, columns, panel;
} matrix;

typedef struct {
    matrix input;      /* of the layers above the first */
    matrix recurrent;  /* gru-before: the gates r and z; else all */
    matrix candidate;  /* gru-before: n */
} layer;

typedef struct {
    int32_t cell, skip, half, level;
    int64_t vocabulary, embedding_size, hidden_size, layers, width; /* width: what the head reads */
    const float *embedding; /* (V, E), for skips */
    const float *table;     /* (V, columns of x): layer 0's input product with all folded biases */
    matrix head;
    const layer *layer;
} model;

/* Rows that write side by side, and the samples they still have to write. Lives in arrays of the caller's. */
typedef struct {
    /* how to draw */
    double temperature, top_p, min_p, penalty;
    int64_t top_k;
    uint64_t seed;
    /* when to stop: after length characters, after newline (-1: never), after the text `until` */
    int64_t length;
    const int32_t *until, *overlap; /* overlap[i]: the longest proper border of until[0..i] (Knuth, Morris & Pratt 1977) */
    int64_t until_length;
    int32_t newline, want_nats;
    /* the samples to begin: next ... stop - 1, each from this state. last: no more will come */
    int64_t next, stop, last;
    const float *first_h, *first_c, *first_logits; /* (L, H'), (L, H'), (V'); H', V' padded to UNITS */
    /* rows 0 ... active - 1 write sample index[r], which has position[r] characters */
    int64_t rows, active;
    int64_t *index, *position, *matched; /* (rows); matched: characters of `until` just written */
    double *nats;                        /* (rows) */
    float *h, *h_next, *c;               /* (L, rows, H') */
    float *logits;                       /* (rows, V') of the next character */
    int32_t *recent;                     /* (rows, WINDOW) */
    int32_t *written;                    /* (rows, capacity): characters from `base` on */
    int64_t capacity, base;
    /* finished samples: (index, characters, place in out) and nats; records are at least rows */
    int64_t *record;      /* (max_records, 3) */
    double *record_nats;  /* (max_records) */
    int32_t *out;         /* (out_capacity): their characters */
    int64_t records, max_records, out_used, out_capacity;
    double seconds; /* return about then */
    int64_t threads;
} job;

/* ------------------------------------------------------------------------------------------------------------ threads */

static double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* What one call needs beside the model and the rows. */
typedef struct {
    const model *m;
    int64_t rows;           /* of the state arrays */
    float *x;               /* (rows, columns of x): input products above layer 0 */
    float *below;           /* (rows, width): with skips, what the next layer reads */
    float *reset, *update;  /* (rows, H'): gru-before's r * h, and 1 / z */
    float *tile;            /* (rows, MAX_PANEL), or (MAX_PANEL) for each thread of one row: sums on their way into the gates */
    double *scores, *weights, *sums; /* (V') */
    int32_t *heap;          /* (V') */
    int32_t *order;         /* (rows): 0, 1, 2 ... */
    meeting place;
    pthread_t *team;
    /* the step that the team computes */
    int64_t active;
    const int32_t *ids;
    const float *h;
    float *h_next, *c, *logits;
    int quit;
    void *memory;
} work;

typedef struct {
    work *w;
    int number;
} member;

/* ------------------------------------------------------------------------------------------------ draws and decoding */

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* decode.uniforms: SplitMix64 (Steele, Lea & Flood 2014) of a stream that is itself an output of SplitMix64. */
static double uniform(uint64_t seed, int64_t stream, int64_t position) {
    const uint64_t golden = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t state = mix(seed + ((uint64_t)stream + 1) * golden);
    return (double)(mix(state + ((uint64_t)position + 1) * golden) >> 11) * 0x1p-53;
}

static double tamed(double score) { /* without infinities; NaN becomes the smallest */
    return fabs(score) <= DBL_MAX ? score : score > 0 ? LARGEST : -LARGEST;
}

/* The k-th largest of n values, 1 <= k <= n, which are reordered (Hoare 1961). */
static double kth_largest(double *values, int64_t n, int64_t k) {
    int64_t low = 0, high = n - 1, place = k - 1;
    while (low < high) {
        double pivot = values[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (values[i] > pivot) i++;
            while (values[j] < pivot) j--;
            if (i <= j) {
                double value = values[i];
                values[i++] = values[j];
                values[j--] = value;
            }
        }
        if (place <= j) high = j;
        else if (place >= i) low = i;
        else break;
    }
    return values[place];
}

/* Keep the k likeliest; where scores tie, the lowest ids. */
static void keep_largest(double *weights, const double *scores, double *scratch, int64_t n, int64_t k) {
    memcpy(scratch, scores, (size_t)n * sizeof(double));
    double least = kth_largest(scratch, n, k);
    int64_t tied = k;
    for (int64_t i = 0; i < n; i++) tied -= scores[i] > least;
    for (int64_t i = 0; i < n; i++)
        if (scores[i] < least || (scores[i] == least && tied-- <= 0)) weights[i] = 0;
}

static int heavier(const double *weights, int32_t a, int32_t b) {
    return weights[a] > weights[b] || (weights[a] == weights[b] && a < b);
}

static void sink(const double *weights, int32_t *heap, int64_t size, int64_t at) {
    for (int64_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && heavier(weights, heap[child + 1], heap[child])) child++;
        if (!heavier(weights, heap[child], heap[at])) return;
        int32_t id = heap[at];
        heap[at] = heap[child];
        heap[child] = id;
    }
}

/* Keep the smallest set of largest weights whose sum reaches p of the whole (Holtzman et al. 2020). */
static void keep_nucleus(double *weights, double *scratch, int32_t *heap, int64_t n, double p) {
    double total = 0, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        total += weights[i];
        heap[i] = (int32_t)i;
        scratch[i] = 0;
    }
    for (int64_t at = n / 2 - 1; at >= 0; at--) sink(weights, heap, n, at);
    for (int64_t size = n; size > 0 && sum < p * total;) {
        sum += weights[heap[0]];
        scratch[heap[0]] = weights[heap[0]];
        heap[0] = heap[--size];
        sink(weights, heap, size, 0);
    }
    memcpy(weights, scratch, (size_t)n * sizeof(double));
}

/* The vector part, once for each instruction set. */
#define LEVEL 0
#include "sampling.c"
#if defined(__x86_64__)
#undef LEVEL
#define LEVEL 1
#include "sampling.c"
#undef LEVEL
#define LEVEL 2
#include "sampling.c"
#endif

/* -------------------------------------------------------------------------------------------------------- the library */

static void *part(char **at, int64_t bytes) {
    void *place = *at;
    *at += (bytes + 63) / 64 * 64;
    return place;
}

static int64_t padded(int64_t n) { return (n + UNITS - 1) / UNITS * UNITS; }

static void *follow(void *argument);

/* Arrays and threads for one call; 0 if there is no memory. */
static work *begin_work(const model *m, int64_t rows, int64_t threads) {
    int64_t hidden = padded(m->hidden_size), gates = m->cell == RNN ? 1 : m->cell == LSTM ? 4 : 3;
    int64_t n = padded(m->vocabulary), f = sizeof(float);
    if (threads < 1 || rows > 1) threads = 1;
    int64_t bytes = (int64_t)sizeof(work) + rows * (gates * hidden + m->width + 2 * hidden + MAX_PANEL + 1) * f + threads * MAX_PANEL * f
                    + n * (3 * (int64_t)sizeof(double) + 4) + threads * (int64_t)(sizeof(pthread_t) + sizeof(member))
                    + 20 * 64;
    void *memory = malloc((size_t)bytes);
    if (!memory) return 0;
    char *at = (char *)(((uintptr_t)memory + 63) / 64 * 64);
    work *w = part(&at, sizeof(work));
    memset(w, 0, sizeof(work));
    w->memory = memory;
    w->m = m;
    w->rows = rows;
    w->x = part(&at, rows * gates * hidden * f);
    w->below = part(&at, rows * m->width * f);
    w->reset = part(&at, rows * hidden * f);
    w->update = part(&at, rows * hidden * f);
    w->tile = part(&at, (rows + threads) * MAX_PANEL * f);
    w->scores = part(&at, n * 8);
    w->weights = part(&at, n * 8);
    w->sums = part(&at, n * 8);
    w->heap = part(&at, n * 4);
    w->order = part(&at, rows * 4);
    for (int64_t r = 0; r < rows; r++) w->order[r] = (int32_t)r;
    w->team = part(&at, threads * (int64_t)sizeof(pthread_t));
    member *members = part(&at, threads * (int64_t)sizeof(member));
    w->place.threads = (int)threads;
    for (int i = 1; i < threads; i++) {
        members[i].w = w;
        members[i].number = i;
        if (pthread_create(&w->team[i], 0, follow, &members[i])) {
            /* Fewer threads than asked: those that wait are told by the smaller number; nobody has computed yet. */
            __atomic_store_n(&w->place.threads, i, __ATOMIC_RELEASE);
            break;
        }
    }
    return w;
}

static void end_work(work *w) {
    w->quit = 1;
    meet(&w->place);
    for (int i = 1; i < w->place.threads; i++) pthread_join(w->team[i], 0);
    free(w->memory);
}

/* One step of `active` rows, by the whole team: ids (active) -> h_next, c; logits (active, V') unless null. */
static void advance(work *w, int64_t active, const int32_t *ids, const float *h, float *h_next, float *c, float *logits) {
    w->active = active;
    w->ids = ids;
    w->h = h;
    w->h_next = h_next;
    w->c = c;
    w->logits = logits;
    meet(&w->place);
    DISPATCH(step, w->m->level)(w, 0);
}

static void *follow(void *argument) {
    member *self = argument;
    work *w = self->w;
    for (;;) {
        meet(&w->place);
        if (w->quit) return 0;
        DISPATCH(step, w->m->level)(w, self->number);
    }
}

/* ids (rows), state h, c (L, rows, H') -> the state after them, in place, and logits (rows, V'). 0, or NO_MEMORY. */
int charrnn_step(const model *m, int64_t rows, const int32_t *ids, float *h, float *c, float *logits) {
    size_t size = (size_t)(m->layers * rows * padded(m->hidden_size)) * sizeof(float);
    work *w = begin_work(m, rows, 1);
    float *h_next = malloc(size + 1);
    if (w && h_next) {
        advance(w, rows, ids, h, h_next, c, logits);
        memcpy(h, h_next, size);
    }
    int result = w && h_next ? 0 : NO_MEMORY;
    free(h_next);
    if (w) end_work(w);
    return result;
}

/* Read ids (n) in one row, for about `seconds`; state and logits as in charrnn_step. Adds to *nats what each id but the
 * first of this call cost, if nats is not null. Returns how many were read, at least one, or NO_MEMORY. */
int64_t charrnn_read(const model *m, const int32_t *ids, int64_t n, float *h, float *c, float *logits, double *nats,
                     double seconds, int64_t threads) {
    size_t size = (size_t)(m->layers * padded(m->hidden_size)) * sizeof(float);
    work *w = begin_work(m, 1, threads);
    float *h_next = malloc(size + 1);
    int64_t at = 0;
    if (!w || !h_next) at = NO_MEMORY;
    for (double end = now_s() + seconds; at >= 0 && at < n;) {
        if (nats && at) *nats += DISPATCH(surprise, m->level)(logits, m->vocabulary, ids[at], w->scores, w->weights);
        int last = at == n - 1 || now_s() > end;
        advance(w, 1, ids + at, h, h_next, c, nats || last ? logits : 0);
        memcpy(h, h_next, size);
        at++;
        if (last) break;
    }
    free(h_next);
    if (w) end_work(w);
    return at;
}

/* A row without a sample begins the next one. */
static void begin_sample(const model *m, job *j, int64_t row) {
    int64_t hidden = padded(m->hidden_size), n = padded(m->vocabulary);
    for (int64_t k = 0; k < m->layers; k++) {
        memcpy(j->h + (k * j->rows + row) * hidden, j->first_h + k * hidden, (size_t)hidden * sizeof(float));
        if (m->cell == LSTM)
            memcpy(j->c + (k * j->rows + row) * hidden, j->first_c + k * hidden, (size_t)hidden * sizeof(float));
    }
    memcpy(j->logits + row * n, j->first_logits, (size_t)n * sizeof(float));
    for (int i = 0; i < WINDOW; i++) j->recent[row * WINDOW + i] = -1;
    j->index[row] = j->next++;
    j->position[row] = j->matched[row] = 0;
    j->nats[row] = 0;
}

/* What one row has finished goes to `out`. The caller has made sure that it fits. */
static void finish_sample(job *j, int64_t row) {
    int64_t count = j->position[row] - j->base, *record = j->record + 3 * j->records;
    memcpy(j->out + j->out_used, j->written + row * j->capacity, (size_t)count * sizeof(int32_t));
    record[0] = j->index[row];
    record[1] = count;
    record[2] = j->out_used;
    j->record_nats[j->records++] = j->nats[row];
    j->out_used += count;
}

static void move_row(const model *m, job *j, int64_t to, int64_t from) {
    int64_t hidden = padded(m->hidden_size), n = padded(m->vocabulary);
    for (int64_t k = 0; k < m->layers; k++) {
        memcpy(j->h + (k * j->rows + to) * hidden, j->h + (k * j->rows + from) * hidden, (size_t)hidden * sizeof(float));
        if (m->cell == LSTM)
            memcpy(j->c + (k * j->rows + to) * hidden, j->c + (k * j->rows + from) * hidden, (size_t)hidden * sizeof(float));
    }
    memcpy(j->logits + to * n, j->logits + from * n, (size_t)n * sizeof(float));
    memcpy(j->recent + to * WINDOW, j->recent + from * WINDOW, WINDOW * sizeof(int32_t));
    memcpy(j->written + to * j->capacity, j->written + from * j->capacity,
           (size_t)(j->position[from] - j->base) * sizeof(int32_t));
    j->index[to] = j->index[from];
    j->position[to] = j->position[from];
    j->matched[to] = j->matched[from];
    j->nats[to] = j->nats[from];
}

/* Has this row, which just wrote id, come to its end? Keeps `matched` (Knuth, Morris & Pratt 1977). */
static int has_ended(job *j, int64_t row, int32_t id) {
    int64_t matched = j->matched[row];
    if (j->until_length) {
        while (matched > 0 && j->until[matched] != id) matched = j->overlap[matched - 1];
        matched += j->until[matched] == id;
        if (matched == j->until_length) return 1;
        j->matched[row] = matched;
    }
    return id == j->newline || j->position[row] >= j->length;
}

/* Write until all samples are done (DONE), a row has none and `last` is not set (STARVED), about `seconds` are over
 * (PAUSED), a row of `written` is full (WRITTEN_FULL) or `out` may not hold what could end now (OUT_FULL). Call again
 * with the cause removed, and it goes on. */
int charrnn_write(const model *m, job *j) {
    if (j->rows < 1) return DONE;
    int64_t n = padded(m->vocabulary), hidden = padded(m->hidden_size);
    int64_t often = m->width * m->hidden_size + 16 * j->rows * n < 1 << 16 ? 16 : 1; /* steps between two looks at the clock */
    work *w = begin_work(m, j->rows, j->threads);
    int32_t *ids = malloc((size_t)j->rows * sizeof(int32_t));
    float *h = j->h, *h_next = j->h_next;
    int result = w && ids ? PAUSED : NO_MEMORY;
    double end = now_s() + j->seconds;
    for (int64_t step = 1; result != NO_MEMORY; step++) {
        while (j->active < j->rows && j->next < j->stop) begin_sample(m, j, j->active++);
        if (!j->active || (j->active < j->rows && !j->last)) {
            result = j->last ? DONE : STARVED;
            break;
        }
        int64_t longest = 0;
        for (int64_t row = 0; row < j->active; row++)
            if (j->position[row] > longest) longest = j->position[row];
        longest -= j->base;
        if (longest >= j->capacity) {
            result = WRITTEN_FULL;
            break;
        }
        if (j->out_used + j->active * (longest + 1) > j->out_capacity || j->records + j->active > j->max_records) {
            result = OUT_FULL;
            break;
        }
        if (step % often == 0 && now_s() > end) break;
        for (int64_t row = 0; row < j->active; row++) {
            int32_t *recent = j->recent + row * WINDOW;
            double u = j->temperature == 0 ? 0 : uniform(j->seed, j->index[row], j->position[row]);
            ids[row] = DISPATCH(choose, m->level)(w, j, j->logits + row * n, recent, u, &j->nats[row]);
            if (ids[row] >= m->vocabulary) ids[row] = 0; /* cannot be; but what follows trusts it */
            recent[j->position[row] % WINDOW] = ids[row];
            j->written[row * j->capacity + j->position[row]++ - j->base] = ids[row];
        }
        for (int64_t row = j->active - 1; row >= 0; row--) /* from the end: what moves down has been looked at */
            if (has_ended(j, row, ids[row])) {
                finish_sample(j, row);
                if (row != --j->active) {
                    move_row(m, j, row, j->active);
                    ids[row] = ids[j->active];
                }
            }
        if (!j->active) continue;
        advance(w, j->active, ids, j->h, j->h_next, j->c, j->logits);
        float *swap = j->h;
        j->h = j->h_next;
        j->h_next = swap;
    }
    if (j->h != h && w && ids) { /* the caller knows h, not the swaps */
        memcpy(h, j->h, (size_t)(m->layers * j->rows * hidden) * sizeof(float));
        j->h = h;
        j->h_next = h_next;
    }
    free(ids);
    if (w) end_work(w);
    return result;
}

#else /* ------------------------------------------------------------------ for each instruction set: the vector part */

#include "level.h" /* begins the level */

/* VEC weights from `at`, in elements. */
INLINE vec NAME(load)(const void *weights, int64_t at, const int half) {
    if (!half) return *(const loose *)((const float *)weights + at);
    const uint16_t *from = (const uint16_t *)weights + at;
#if LEVEL == 2
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif LEVEL == 1
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
    /* Exponent and mantissa in place, then times 2^112: exact, for subnormal numbers too. No infinities come here. */
    float out[VEC];
    for (int i = 0; i < VEC; i++) {
        uint32_t bits = (uint32_t)(from[i] & 0x7FFF) << 13, sign = (uint32_t)(from[i] & 0x8000) << 16;
        float value;
        memcpy(&value, &bits, 4);
        value *= 0x1p112f;
        memcpy(&bits, &value, 4);
        bits |= sign;
        memcpy(&out[i], &bits, 4);
    }
    return *(const loose *)out;
#endif
}

/* rows x vectors sums at once, over all inputs. Row r begins at init + pick[r] init_stride and reads x + r x_stride;
 * `width` elements lie between the weights of one input and the next. rows, vectors and half are constants. */
INLINE void NAME(tile)(const int rows, const int vectors, const int half, const void *weights, int64_t first, int64_t width,
                       int64_t inputs, const float *x, int64_t x_stride, const float *init, int64_t init_stride,
                       const int32_t *pick, float *out, int64_t out_stride) {
    vec sums[6][8];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = *(const loose *)(init + pick[r] * init_stride + v * VEC);
    for (int64_t k = 0; k < inputs; k++, first += width)
        UNROLL for (int v = 0; v < vectors; v++) {
            vec weight = NAME(load)(weights, first + v * VEC, half);
            UNROLL for (int r = 0; r < rows; r++) sums[r][v] += x[r * x_stride + k] * weight;
        }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) *(loose *)(out + r * out_stride + v * VEC) = sums[r][v];
}

/* One panel: out (rows, width) = init + x (rows, inputs) times its weights, which begin at `first`. */
INLINE void NAME(panel)(const int half, const matrix *m, int64_t first, int64_t width, int64_t rows, const float *x,
                        int64_t x_stride, const float *init, int64_t init_stride, const int32_t *pick, float *out,
                        int64_t out_stride) {
    int64_t at = 0;
#define TILE(rows, vectors)                                                                                            \
    NAME(tile)(rows, vectors, half, m->weights, first + at, width, m->inputs, x + r * x_stride, x_stride,              \
               init + at, init_stride, pick + r, out + r * out_stride + at, out_stride)
#define TILES(vectors)                                                                                                 \
    for (; at + vectors * VEC <= width; at += vectors * VEC) {                                                         \
        int64_t r = 0;                                                                                                 \
        for (; r + 6 <= rows; r += 6) TILE(6, vectors);                                                                \
        if (r + 4 <= rows) { TILE(4, vectors); r += 4; }                                                               \
        if (r + 2 <= rows) { TILE(2, vectors); r += 2; }                                                               \
        if (r < rows) TILE(1, vectors);                                                                                \
    }
    if (rows == 1) { /* as many sums as registers hold */
        const int64_t r = 0;
        for (; at + 8 * VEC <= width; at += 8 * VEC) TILE(1, 8);
        if (at + 6 * VEC <= width) { TILE(1, 6); at += 6 * VEC; }
        if (at + 4 * VEC <= width) { TILE(1, 4); at += 4 * VEC; }
        if (at + 3 * VEC <= width) { TILE(1, 3); at += 3 * VEC; }
        if (at + 2 * VEC <= width) { TILE(1, 2); at += 2 * VEC; }
        if (at < width) TILE(1, 1);
    } else if (VEC == 16 && width % (3 * VEC) == 0) {
        TILES(3)
    } else {
        if (VEC == 16) TILES(4) /* 32 registers */
        TILES(2)
        TILES(1)
    }
#undef TILES
#undef TILE
}

/* out (rows, columns of panels begin ... end - 1) = init + x times the weights. */
static void NAME(products)(const work *w, const matrix *m, int64_t begin, int64_t end, const float *x, int64_t x_stride,
                           const float *init, int64_t init_stride, const int32_t *pick, float *out, int64_t out_stride) {
    for (int64_t column = begin * m->panel; column < end * m->panel && column < m->columns; column += m->panel) {
        const int64_t left = m->columns - column, width = left < m->panel ? left : m->panel, at = column - begin * m->panel;
        const int64_t first = column * m->inputs;
        if (w->m->half)
            NAME(panel)(1, m, first, width, w->active, x, x_stride, init + column, init_stride, pick, out + at, out_stride);
        else
            NAME(panel)(0, m, first, width, w->active, x, x_stride, init + column, init_stride, pick, out + at, out_stride);
    }
}

/* A narrow head: few sums, so four partial ones each, over inputs 4 i, 4 i + 1 ..., else every product would wait for
 * the one before. */
INLINE void NAME(narrow_tile)(const int vectors, const int half, const void *weights, int64_t first, int64_t width,
                              int64_t inputs, const float *x, const float *bias, float *out) {
    vec sums[4][4] = {{{0}}};
    int64_t k = 0;
    for (; k + 4 <= inputs; k += 4)
        UNROLL for (int chain = 0; chain < 4; chain++)
            UNROLL for (int v = 0; v < vectors; v++)
                sums[chain][v] += x[k + chain] * NAME(load)(weights, first + (k + chain) * width + v * VEC, half);
    for (; k < inputs; k++)
        UNROLL for (int v = 0; v < vectors; v++) sums[0][v] += x[k] * NAME(load)(weights, first + k * width + v * VEC, half);
    UNROLL for (int v = 0; v < vectors; v++)
        *(loose *)(out + v * VEC) = ((sums[0][v] + sums[1][v]) + (sums[2][v] + sums[3][v])) + *(const loose *)(bias + v * VEC);
}

INLINE void NAME(narrow_of)(const int half, const matrix *m, const float *x, float *out) {
    for (int64_t column = 0; column < m->columns; column += m->panel) {
        int64_t width = m->columns - column < m->panel ? m->columns - column : m->panel, at = 0;
#define TILE(vectors)                                                                                                  \
    NAME(narrow_tile)(vectors, half, m->weights, column * m->inputs + at, width, m->inputs, x,                         \
                      m->bias + column + at, out + column + at)
#if VEC == 16
        if (width == 4 * VEC) { TILE(4); continue; }
        if (width == 2 * VEC) { TILE(2); continue; }
        for (; at < width; at += VEC) TILE(1);
#else
        for (; at < width; at += 2 * VEC) TILE(2);
#endif
#undef TILE
    }
}

/* ---- the cells: x, products and states of UNITS units and their gates, in blocks ---- */

/* The cells, for UNITS units. A division costs as much as an exponential, so fractions are brought to one denominator
 * first. */
/* c' = f c + i g, h = o tanh(c'); gates i, f, o, g */
INLINE void NAME(lstm)(const float *gates, float *c, float *h) {
    EACH_VECTOR {
        const vec i = 2.0f + NAME(E)(IN(gates)), f = 2.0f + NAME(E)(IN(gates + UNITS));
        const vec o = 2.0f + NAME(E)(IN(gates + 2 * UNITS)), g = NAME(E)(IN(gates + 3 * UNITS));
        const vec ig = i * (2.0f + g), next = (IN(c) * ig - g * f) / (ig * f), e = NAME(E)(next);
        AT(c) = next;
        AT(h) = -e / ((2.0f + e) * o);
    }
}

/* n + (h - n) / z with z: 2 + E of the update gate, and e: E of n's argument */
INLINE vec NAME(blend)(vec z, vec e, vec h) { return (h * (2.0f + e) - (z - 1.0f) * e) / (z * (2.0f + e)); }

INLINE void NAME(gru)(const float *x, const float *sums, const float *h, float *h_next) {
    EACH_VECTOR {
        const vec r = 2.0f + NAME(E)(IN(x) + IN(sums)), z = 2.0f + NAME(E)(IN(x + UNITS) + IN(sums + UNITS));
        AT(h_next) = NAME(blend)(z, NAME(E)(IN(x + 2 * UNITS) + IN(sums + 2 * UNITS) / r), IN(h));
    }
}

INLINE void NAME(gru_gates)(const float *x, const float *sums, const float *h, float *reset, float *update) {
    EACH_VECTOR {
        AT(reset) = IN(h) / (2.0f + NAME(E)(IN(x) + IN(sums)));
        AT(update) = 2.0f + NAME(E)(IN(x + UNITS) + IN(sums + UNITS));
    }
}

INLINE void NAME(gru_candidate)(const float *x, const float *sums, const float *update, const float *h, float *h_next) {
    EACH_VECTOR AT(h_next) = NAME(blend)(IN(update), NAME(E)(IN(x + 2 * UNITS) + IN(sums)), IN(h));
}

INLINE void NAME(rnn)(const float *gates, float *h) {
    EACH_VECTOR {
        const vec e = NAME(E)(IN(gates));
        AT(h) = -e / (2.0f + e);
    }
}

/* The panels of member `number`. */
INLINE void NAME(share)(const matrix *m, int number, int threads, int64_t *begin, int64_t *end) {
    int64_t panels = (m->columns + m->panel - 1) / m->panel;
    *begin = panels * number / threads;
    *end = panels * (number + 1) / threads;
}

/* One layer's new h and c, a member's panels of it: sums, and at once the gates of their units. x + pick[r] x_stride:
 * row r's input products with all folded biases. */
INLINE void NAME(cell)(work *w, const layer *l, int number, const float *x, int64_t x_stride, const int32_t *pick,
                       const float *h, float *h_next, float *c) {
    const model *m = w->m;
    const matrix *recurrent = &l->recurrent, *candidate = &l->candidate;
    const int64_t rows = w->active, size = (m->hidden_size + UNITS - 1) / UNITS * UNITS;
    const int adds = m->cell == RNN || m->cell == LSTM; /* x can start the sums; GRU's reset gate comes between */
    float *tile = w->tile + number * MAX_PANEL;
    int64_t begin, end;
    NAME(share)(recurrent, number, w->place.threads, &begin, &end);
    for (int64_t p = begin; p < end; p++) {
        const int64_t column = p * recurrent->panel, left = recurrent->columns - column;
        const int64_t columns = left < recurrent->panel ? left : recurrent->panel;
        NAME(products)(w, recurrent, p, p + 1, h, size, adds ? x : recurrent->bias, adds ? x_stride : 0, pick, tile, MAX_PANEL);
        for (int64_t r = 0; r < rows; r++) {
            const float *sums = tile + r * MAX_PANEL, *from = x + pick[r] * x_stride, *old = h + r * size;
            float *new = h_next + r * size;
            if (m->cell == LSTM) {
                for (int64_t at = 0, unit = column / 4; at < columns; at += 4 * UNITS, unit += UNITS)
                    NAME(lstm)(sums + at, c + r * size + unit, new + unit);
            } else if (m->cell == RNN) {
                for (int64_t at = 0; at < columns; at += UNITS) NAME(rnn)(sums + at, new + column + at);
            } else if (m->cell == GRU) {
                for (int64_t at = 0, unit = column / 3; at < columns; at += 3 * UNITS, unit += UNITS)
                    NAME(gru)(from + column + at, sums + at, old + unit, new + unit);
            } else {
                for (int64_t at = 0, unit = column / 2; at < columns; at += 2 * UNITS, unit += UNITS)
                    NAME(gru_gates)(from + 3 * unit, sums + at, old + unit, w->reset + r * size + unit,
                                    w->update + r * size + unit);
            }
        }
    }
    if (m->cell != GRU_BEFORE) return;
    meet(&w->place);
    NAME(share)(candidate, number, w->place.threads, &begin, &end);
    for (int64_t p = begin; p < end; p++) {
        const int64_t column = p * candidate->panel, left = candidate->columns - column;
        const int64_t columns = left < candidate->panel ? left : candidate->panel;
        NAME(products)(w, candidate, p, p + 1, w->reset, size, candidate->bias, 0, pick, tile, MAX_PANEL);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t at = 0, unit = column; at < columns; at += UNITS, unit += UNITS)
                NAME(gru_candidate)(x + pick[r] * x_stride + 3 * unit, tile + r * MAX_PANEL + at, w->update + r * size + unit,
                                    h + r * size + unit, h_next + r * size + unit);
    }
}

/* The whole of a member's panels, to out (rows, columns). */
INLINE void NAME(whole)(const work *w, const matrix *m, int number, const float *x, int64_t x_stride, float *out) {
    int64_t first, last;
    NAME(share)(m, number, w->place.threads, &first, &last);
    NAME(products)(w, m, first, last, x, x_stride, m->bias, 0, w->order, out + first * m->panel, m->columns);
}

/* One step, as member `number` of the team. */
static void NAME(step)(work *w, int number) {
    const model *m = w->m;
    const int64_t rows = w->active, size = (m->hidden_size + UNITS - 1) / UNITS * UNITS;
    const int64_t x_columns = (m->cell == RNN ? 1 : m->cell == LSTM ? 4 : 3) * size;
    const int alone = number == 0; /* what is too small to share */
    float *const out = w->logits;  /* read before the last meeting: after it, the next step may be prepared */
    const float *below = 0;
    int64_t width = m->embedding_size, stride = 0; /* of what the layer reads */
    if (alone && (m->skip == DENSE || (m->skip == RESIDUAL && width == m->hidden_size)))
        for (int64_t r = 0; r < rows; r++)
            memcpy(w->below + r * m->width, m->embedding + w->ids[r] * width, (size_t)width * sizeof(float));
    for (int64_t k = 0; k < m->layers; k++) {
        const layer *l = m->layer + k;
        const float *h = w->h + k * w->rows * size;
        float *h_next = w->h_next + k * w->rows * size;
        if (k) {
            NAME(whole)(w, &l->input, number, below, stride, w->x);
            meet(&w->place);
        }
        NAME(cell)(w, l, number, k ? w->x : m->table, x_columns, k ? w->order : w->ids, h, h_next, m->cell == LSTM ? w->c + k * w->rows * size : 0);
        meet(&w->place);
        below = h_next;
        stride = size;
        if (m->skip != NONE) {
            if (alone)
                for (int64_t r = 0; r < rows; r++) {
                    float *to = w->below + r * m->width;
                    if (m->skip == DENSE)
                        memcpy(to + width, h_next + r * size, (size_t)m->hidden_size * sizeof(float));
                    else if (width != m->hidden_size)
                        memcpy(to, h_next + r * size, (size_t)m->hidden_size * sizeof(float));
                    else
                        for (int64_t j = 0; j < width; j++) to[j] += h_next[r * size + j];
                }
            meet(&w->place);
            below = w->below;
            stride = m->width;
        }
        width = m->skip == DENSE ? width + m->hidden_size : m->hidden_size;
    }
    if (!out) return;
    if (m->head.columns > NARROW) {
        NAME(whole)(w, &m->head, number, below, stride, out);
        meet(&w->place);
    } else if (alone) {
        for (int64_t r = 0; r < rows; r++) {
            if (m->half) NAME(narrow_of)(1, &m->head, below + r * stride, out + r * m->head.columns);
            else NAME(narrow_of)(0, &m->head, below + r * stride, out + r * m->head.columns);
        }
    }
}

/* ---- the next character, in double precision as decode.py ---- */

/* e^x for x <= 0, to about 2e-16 of it; 0 below e^-708, where numbers lose precision. */
INLINE double NAME(exp)(double x) {
    double shifted = x * 1.4426950408889634 + 0x1.8p52, n = shifted - 0x1.8p52, scale;
    double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    double series = 1.0 / 6227020800;
    series = series * r + 1.0 / 479001600;
    series = series * r + 1.0 / 39916800;
    series = series * r + 1.0 / 3628800;
    series = series * r + 1.0 / 362880;
    series = series * r + 1.0 / 40320;
    series = series * r + 1.0 / 5040;
    series = series * r + 1.0 / 720;
    series = series * r + 1.0 / 120;
    series = series * r + 1.0 / 24;
    series = series * r + 1.0 / 6;
    series = series * r + 0.5;
    series = series * (r * r) + r;
    uint64_t bits;
    memcpy(&bits, &shifted, 8);
    bits = (bits << 52) + (UINT64_C(1023) << 52); /* the low bits of `shifted` are n */
    memcpy(&scale, &bits, 8);
    return x < -708 ? 0 : scale + scale * series;
}

/* scores (V' = V padded) = logits without NaN and infinities; returns the largest. Padding becomes the smallest. */
INLINE double NAME(scores)(const float *restrict logits, double *restrict scores, int64_t n) {
    double most[8];
    for (int i = 0; i < 8; i++) most[i] = -LARGEST;
    for (int64_t i = 0; i < n; i += 8)
        INDEPENDENT for (int l = 0; l < 8; l++) {
            double score = tamed((double)logits[i + l]);
            scores[i + l] = score;
            most[l] = score > most[l] ? score : most[l];
        }
    for (int i = 1; i < 8; i++) most[0] = most[i] > most[0] ? most[i] : most[0];
    return most[0];
}

/* weights = e^scores; their sum, in order. Padding weighs nothing. */
INLINE void NAME(weigh)(const double *restrict scores, double *restrict weights, int64_t v, int64_t n) {
    INDEPENDENT for (int64_t i = 0; i < n; i++) weights[i] = NAME(exp)(scores[i]);
    for (int64_t i = v; i < n; i++) weights[i] = 0;
}

/* -ln p of an id under the model itself: temperature 1, nothing filtered. */
static double NAME(surprise)(const float *logits, int64_t v, int32_t id, double *scores, double *weights) {
    int64_t n = (v + UNITS - 1) / UNITS * UNITS;
    double most = NAME(scores)(logits, scores, n), total = 0;
    INDEPENDENT for (int64_t i = 0; i < n; i++) scores[i] -= most;
    NAME(weigh)(scores, weights, v, n);
    for (int64_t i = 0; i < v; i++) total += weights[i];
    return log(total) - scores[id];
}

/* decode.distribution and decode.draw at u, for one row; adds what the character cost to *nats. */
static int32_t NAME(choose)(work *w, const job *j, const float *logits, const int32_t *recent, double u, double *nats) {
    const int64_t v = w->m->vocabulary, n = (v + UNITS - 1) / UNITS * UNITS;
    double *scores = w->scores, *weights = w->weights, most = NAME(scores)(logits, scores, n), total = 0;
    const int plain = j->temperature == 1 && j->penalty == 1;
    if (j->penalty != 1) {
        for (int i = 0; i < WINDOW; i++)
            if (recent[i] >= 0) { /* from the logit, so that a character that came twice is penalised once */
                double score = tamed((double)logits[recent[i]]);
                scores[recent[i]] = tamed(score > 0 ? score / j->penalty : score * j->penalty);
            }
        most = scores[0]; /* a penalised score may lie below -LARGEST */
        for (int64_t i = 1; i < v; i++) most = scores[i] > most ? scores[i] : most;
    }
    int32_t id = 0;
    if (j->temperature == 0) {
        while (scores[id] < most) id++;
    } else {
        if (j->temperature == 1) {
            INDEPENDENT for (int64_t i = 0; i < n; i++) scores[i] -= most;
        } else {
            INDEPENDENT for (int64_t i = 0; i < n; i++) scores[i] = (scores[i] - most) / j->temperature;
        }
        NAME(weigh)(scores, weights, v, n);
        double all = 0;
        const int filtered = (j->top_k > 0 && j->top_k < v) || j->top_p < 1 || j->min_p > 0;
        if (filtered) {
            if (plain && j->want_nats)
                for (int64_t i = 0; i < v; i++) all += weights[i];
            if (j->top_k > 0 && j->top_k < v) keep_largest(weights, scores, w->sums, v, j->top_k);
            if (j->top_p < 1) keep_nucleus(weights, w->sums, w->heap, v, j->top_p);
            if (j->min_p > 0)
                for (int64_t i = 0; i < v; i++) weights[i] = weights[i] >= j->min_p ? weights[i] : 0;
        }
        for (int64_t i = 0; i < n; i++) w->sums[i] = total += weights[i];
        const double target = u * total;
        int64_t before = 0;
        INDEPENDENT for (int64_t i = 0; i < n; i++) before += w->sums[i] <= target;
        id = (int32_t)before;
        if (plain && j->want_nats) {
            *nats += log(filtered ? all : total) - scores[id];
            return id;
        }
    }
    if (j->want_nats) *nats += NAME(surprise)(logits, v, id, scores, weights);
    return id;
}

#include "level.h" /* ends it */
#endif
