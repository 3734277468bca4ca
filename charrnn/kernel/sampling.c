/* The sampler's inner loop: characters in, characters out, about as fast as weights can be read.
 *
 * A plain C99 library without Python in it. kernel/library.py loads it, charrnn/sampling packs the
 * weights and calls the functions charrnn_... below. sampling/network.py and sampling/decode.py do
 * the same in numpy and are the reference.
 *
 * How it is fast
 *   - Layer 0 is a table: V characters have V input products, and a row is looked up.
 *   - A matrix is packed in panels, which hold all gates of their units (drawing: sampling.h). One
 *     pass reads it once, in order, and finishes the units while their sums are at hand.
 *   - Many rows share a panel, six at a time, from the first-level cache.
 *
 * The parts: sampling.h has the structures, decoding.h random numbers and filters, following.h
 * what an id leads to beside the network. sampling.inc.h is the vector part, compiled for each
 * LEVEL: panels.inc.h products, step.inc.h the cells and a step, choice.inc.h the next character,
 * mixing.inc.h the n-grams beside a network.
 *
 * Nothing is checked here that the callers have checked: shapes, finite weights, ids below V.
 *
 * Shapes: V characters, H hidden size, D layers of the state, R rows; H' and V' are padded to UNITS.
 */
#define _POSIX_C_SOURCE 200112L
#include <stdlib.h>
#include <time.h>

#include "sampling.h"
#include "decoding.h"
#include "following.h"

#define LEVEL 0
#include "sampling.inc.h"
#if defined(__x86_64__)
#undef LEVEL
#define LEVEL 1
#include "sampling.inc.h"
#undef LEVEL
#define LEVEL 2
#include "sampling.inc.h"
#endif

/* The functions of each level, by Model.level. */
static const struct {
    void (*step)(Work *, int number);
    double (*surprise)(const float *logits, int64_t vocabulary, int32_t id, double *scores,
                       double *weights);
    int32_t (*choose)(Work *, const Job *, const float *logits, const int32_t *recent, double u,
                      double *nats);
    void (*mix)(Work *, int32_t node, float *logits);
} at_level[] = {
    [0] = {.step = step_0, .surprise = surprise_0, .choose = choose_0, .mix = mix_0},
#if defined(__x86_64__)
    [1] = {.step = step_1, .surprise = surprise_1, .choose = choose_1, .mix = mix_1},
    [2] = {.step = step_2, .surprise = surprise_2, .choose = choose_2, .mix = mix_2},
#endif
};

static double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- memory and threads of one call ---- */

typedef struct {
    Work *work;
    int number;
} Member;

/* What the other threads run: every step, until they are told to quit. */
static void *follow(void *argument) {
    const Member *self = argument;
    Work *work = self->work;
    for (;;) {
        meet(&work->place);
        if (work->quit) return 0;
        at_level[work->model->level].step(work, self->number);
    }
}

/* The next `bytes` of a block of memory, at a multiple of 64. */
static void *part(char **at, int64_t bytes) {
    void *place = *at;
    *at += (bytes + 63) / 64 * 64;
    return place;
}

/* Arrays and threads for one call, or null: no memory. Only one row is shared by threads. */
static Work *begin_work(const Model *m, int64_t rows, int64_t threads) {
    enum { PARTS = 20 }; /* at least the calls of part() below: each may leave 63 bytes unused */
    const int64_t f = sizeof(float);
    const int64_t hidden = padded(m->hidden_size);
    const int64_t gates = gates_of(m->cell) * hidden;
    const int64_t n = padded(m->vocabulary);
    if (threads < 1 || rows > 1) threads = 1;

    /* 1. One block of memory. */
    const int64_t a_row = (gates + m->width + 2 * hidden + MAX_PANEL + 1) * f;
    const int64_t a_character = 3 * (int64_t)sizeof(double) + 4;
    const int64_t a_thread = MAX_PANEL * f + (int64_t)(sizeof(pthread_t) + sizeof(Member));
    const int64_t bytes =
        (int64_t)sizeof(Work) + rows * a_row + n * a_character + threads * a_thread + PARTS * 64;
    void *memory = malloc((size_t)bytes);
    if (!memory) return 0;
    char *at = (char *)(((uintptr_t)memory + 63) / 64 * 64);
    Work *work = part(&at, sizeof(Work));
    *work = (Work){.model = m, .rows = rows, .memory = memory, .place = {.threads = (int)threads}};
    work->x = part(&at, rows * gates * f);
    work->below = part(&at, rows * m->width * f);
    work->reset = part(&at, rows * hidden * f);
    work->update = part(&at, rows * hidden * f);
    work->tile = part(&at, (rows + threads) * MAX_PANEL * f);
    work->scores = part(&at, n * 8);
    work->weights = part(&at, n * 8);
    work->sums = part(&at, n * 8);
    work->heap = part(&at, n * 4);
    work->order = part(&at, rows * 4);
    for (int64_t r = 0; r < rows; r++)
        work->order[r] = (int32_t)r;

    /* 2. The team. */
    work->team = part(&at, threads * (int64_t)sizeof(pthread_t));
    Member *members = part(&at, threads * (int64_t)sizeof(Member));
    for (int i = 1; i < threads; i++) {
        members[i] = (Member){.work = work, .number = i};
        if (pthread_create(&work->team[i], 0, follow, &members[i])) {
            /* The system gave fewer than asked. Those that wait see the smaller number; nobody has
             * computed yet. */
            __atomic_store_n(&work->place.threads, i, __ATOMIC_RELEASE);
            break;
        }
    }
    return work;
}

static void end_work(Work *work) {
    work->quit = 1;
    meet(&work->place);
    for (int i = 1; i < work->place.threads; i++)
        pthread_join(work->team[i], 0);
    free(work->memory);
}

/* One step of the whole team: ids (active), state h, c, node, spelled -> h_next, c, node, spelled;
 * logits (active, V') unless null. h, h_next, c (D, R, H'), node, spelled (R).
 */
static void advance(Work *work, int64_t active, const int32_t *ids, const float *h, float *h_next,
                    float *c, int32_t *node, int32_t *spelled, float *logits) {
    const Model *m = work->model;
    work->active = active;
    work->ids = ids;
    work->h = h;
    work->h_next = h_next;
    work->c = c;
    work->logits = logits;
    meet(&work->place);
    at_level[m->level].step(work, 0);
    if (!m->ally && !m->spelling) return;
    for (int64_t row = 0; row < active; row++) {
        float *scores = logits ? logits + row * padded(m->vocabulary) : 0;
        if (m->spelling) spelled[row] = next_state(m->spelling, spelled[row], ids[row]);
        if (m->spelling && scores) forbid(m->spelling, m->vocabulary, spelled[row], scores);
        if (!m->ally) continue;
        const int32_t id = ids[row] < m->vocabulary ? ids[row] : (int32_t)m->ally->boundary;
        node[row] = next_node(m->ally, node[row], id);
        if (scores) at_level[m->level].mix(work, node[row], scores);
        /* The mixture is never smaller than a float can be. */
        if (m->spelling && scores) forbid(m->spelling, m->vocabulary, spelled[row], scores);
    }
}

/* ---- one step, and reading ---- */

/* ids (R), state h, c (D, R, H'), node, spelled (R) -> the state after them, in place, and logits
 * (R, V'). Returns 0, or NO_MEMORY.
 */
int charrnn_step(const Model *m, int64_t rows, const int32_t *ids, float *h, float *c,
                 int32_t *node, int32_t *spelled, float *logits) {
    const size_t size = (size_t)(m->depth * rows * padded(m->hidden_size)) * sizeof(float);
    Work *work = begin_work(m, rows, 1);
    float *h_next = malloc(size + 1); /* (D, R, H') */
    const int has_memory = work && h_next;
    if (has_memory) {
        advance(work, rows, ids, h, h_next, c, node, spelled, logits);
        memcpy(h, h_next, size);
    }
    free(h_next);
    if (work) end_work(work);
    return has_memory ? 0 : NO_MEMORY;
}

/* Read ids (n) in one row, for about `seconds`; state and logits as in charrnn_step. Adds to *nats,
 * unless null, what each id cost: the first one too where the call goes on with a text, and
 * `logits` predict it. Returns how many were read, at least one, or NO_MEMORY.
 */
int64_t charrnn_read(const Model *m, const int32_t *ids, int64_t n, float *h, float *c,
                     int32_t *node, int32_t *spelled, float *logits, double *nats, int goes_on,
                     double seconds, int64_t threads) {
    const size_t size = (size_t)(m->depth * padded(m->hidden_size)) * sizeof(float);
    Work *work = begin_work(m, 1, threads);
    float *h_next = malloc(size + 1); /* (D, 1, H') */
    int64_t count = work && h_next ? 0 : NO_MEMORY;
    const double end = now_s() + seconds;
    while (count >= 0 && count < n) {
        if (nats && (count || goes_on))
            *nats += at_level[m->level].surprise(logits, m->vocabulary, ids[count], work->scores,
                                                 work->weights);
        const int is_last = count == n - 1 || now_s() > end;
        float *wanted = nats || is_last ? logits : 0;
        advance(work, 1, ids + count, h, h_next, c, node, spelled, wanted);
        memcpy(h, h_next, size);
        count++;
        if (is_last) break;
    }
    free(h_next);
    if (work) end_work(work);
    return count;
}

/* ---- writing: samples that come and go in the rows of a job ---- */

/* A row without a sample begins the next one. */
static void begin_sample(const Model *m, Job *job, int64_t row) {
    const int64_t hidden = padded(m->hidden_size);
    const int64_t n = padded(m->vocabulary);
    const size_t bytes = (size_t)hidden * sizeof(float);
    for (int64_t k = 0; k < m->depth; k++) {
        const int64_t at = (k * job->rows + row) * hidden;
        memcpy(job->h + at, job->first_h + k * hidden, bytes);
        if (m->cell == LSTM) memcpy(job->c + at, job->first_c + k * hidden, bytes);
    }
    memcpy(job->logits + row * n, job->first_logits, (size_t)n * sizeof(float));
    for (int i = 0; i < WINDOW; i++)
        job->recent[row * WINDOW + i] = -1;
    job->node[row] = (int32_t)job->first_node;
    job->spelled[row] = (int32_t)job->first_spelled;
    job->index[row] = job->next;
    job->next++;
    job->position[row] = 0;
    job->chars[row] = 0;
    job->matched[row] = 0;
    job->nats[row] = 0;
}

/* Move what a row has finished to `out`. The caller has made sure that it fits. */
static void finish_sample(Job *job, int64_t row) {
    const int64_t count = job->position[row] - job->base;
    const int32_t *written = job->written + row * job->capacity;
    memcpy(job->out + job->out_used, written, (size_t)count * sizeof(int32_t));
    int64_t *record = job->record + 3 * job->records;
    record[0] = job->index[row];
    record[1] = count;
    record[2] = job->out_used;
    job->record_nats[job->records] = job->nats[row];
    job->records++;
    job->out_used += count;
}

static void move_row(const Model *m, Job *job, int64_t to, int64_t from) {
    const int64_t hidden = padded(m->hidden_size);
    const int64_t n = padded(m->vocabulary);
    const size_t bytes = (size_t)hidden * sizeof(float);
    for (int64_t k = 0; k < m->depth; k++) {
        const int64_t target = (k * job->rows + to) * hidden;
        const int64_t source = (k * job->rows + from) * hidden;
        memcpy(job->h + target, job->h + source, bytes);
        if (m->cell == LSTM) memcpy(job->c + target, job->c + source, bytes);
    }
    const size_t count = (size_t)(job->position[from] - job->base);
    memcpy(job->logits + to * n, job->logits + from * n, (size_t)n * sizeof(float));
    memcpy(job->recent + to * WINDOW, job->recent + from * WINDOW, WINDOW * sizeof(int32_t));
    memcpy(job->written + to * job->capacity, job->written + from * job->capacity,
           count * sizeof(int32_t));
    job->node[to] = job->node[from];
    job->spelled[to] = job->spelled[from];
    job->index[to] = job->index[from];
    job->position[to] = job->position[from];
    job->chars[to] = job->chars[from];
    job->matched[to] = job->matched[from];
    job->nats[to] = job->nats[from];
}

/* Whether this row, which just wrote id, has come to its end. Keeps `matched` up to date (Knuth,
 * Morris & Pratt 1977).
 */
static int has_ended(Job *job, int64_t row, int32_t id) {
    if (job->until_length) {
        int64_t matched = job->matched[row];
        while (matched > 0 && job->until[matched] != id)
            matched = job->overlap[matched - 1];
        matched += job->until[matched] == id;
        if (matched == job->until_length) return 1;
        job->matched[row] = matched;
    }
    return id == job->newline || job->chars[row] >= job->length;
}

/* Begin samples in free rows. Returns why the job cannot go on, or PAUSED: it can. */
static int prepare(const Model *m, Job *job) {
    while (job->active < job->rows && job->next < job->stop) {
        begin_sample(m, job, job->active);
        job->active++;
    }
    const int has_free_row = job->active < job->rows;
    if (has_free_row && !job->last) return STARVED;
    if (!job->active) return DONE;

    int64_t longest = 0;
    for (int64_t row = 0; row < job->active; row++)
        longest = larger_of(longest, job->position[row]);
    longest -= job->base;
    if (longest >= job->capacity) return WRITTEN_FULL;
    const int has_room = job->out_used + job->active * (longest + 1) <= job->out_capacity;
    const int has_records = job->records + job->active <= job->max_records;
    return has_room && has_records ? PAUSED : OUT_FULL;
}

/* Each row chooses its next character: ids (active). Rows that end make room for others. */
static void write_characters(Work *work, Job *job, int32_t *ids) {
    const Model *m = work->model;
    const int64_t n = padded(m->vocabulary);
    for (int64_t row = 0; row < job->active; row++) {
        const int64_t position = job->position[row];
        const float *logits = job->logits + row * n;
        int32_t *recent = job->recent + row * WINDOW;
        double u = 0;
        if (job->temperature != 0) u = uniform(job->seed, job->index[row], position);
        int32_t id = at_level[m->level].choose(work, job, logits, recent, u, &job->nats[row]);
        if (id >= m->vocabulary) id = 0; /* cannot be; but what follows trusts it */
        ids[row] = id;
        job->written[row * job->capacity + position - job->base] = id;
        job->position[row]++;
        const Spelling *spelling = m->spelling;
        if (spelling && next_state(spelling, job->spelled[row], id)) continue;
        /* The penalty is for frequent characters. */
        recent[job->chars[row] % WINDOW] = spelling && id >= spelling->first ? -1 : id;
        job->chars[row]++;
    }
    /* From the end: the row that moves down has been looked at. */
    for (int64_t row = job->active - 1; row >= 0; row--) {
        if (!has_ended(job, row, ids[row])) continue;
        finish_sample(job, row);
        job->active--;
        if (row == job->active) continue;
        move_row(m, job, row, job->active);
        ids[row] = ids[job->active];
    }
}

/* Write until all samples are done (DONE), a row has none and `last` is not set (STARVED), about
 * `seconds` are over (PAUSED), a row of `written` is full (WRITTEN_FULL) or `out` may not hold what
 * could end now (OUT_FULL). The caller removes the cause and calls again, and it goes on.
 */
int charrnn_write(const Model *m, Job *job) {
    if (job->rows < 1) return DONE;
    /* Steps between two looks at the clock. */
    const int64_t work_a_step = m->width * m->hidden_size + 16 * job->rows * padded(m->vocabulary);
    const int64_t often = work_a_step < 1 << 16 ? 16 : 1;
    Work *work = begin_work(m, job->rows, job->threads);
    int32_t *ids = malloc((size_t)job->rows * sizeof(int32_t)); /* (R) */
    float *const h = job->h;
    float *const h_next = job->h_next;
    const double end = now_s() + job->seconds;
    int result = work && ids ? PAUSED : NO_MEMORY;

    for (int64_t step = 1; result == PAUSED; step++) {
        result = prepare(m, job);
        if (result != PAUSED) break;
        if (step % often == 0 && now_s() > end) break;
        write_characters(work, job, ids);
        if (!job->active) continue;
        advance(work, job->active, ids, job->h, job->h_next, job->c, job->node, job->spelled,
                job->logits);
        float *swap = job->h;
        job->h = job->h_next;
        job->h_next = swap;
    }
    if (job->h != h) { /* the caller knows h, not the swaps */
        const int64_t size = m->depth * job->rows * padded(m->hidden_size);
        memcpy(h, job->h, (size_t)size * sizeof(float));
        job->h = h;
        job->h_next = h_next;
    }
    free(ids);
    if (work) end_work(work);
    return result;
}
