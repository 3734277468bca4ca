/* Every allocation of the sampler fails once, and the call after it succeeds.
 *
 * A network of zeros: V 17, E 3, H 5 (H' 16), L and D 2, and R 3 rows.
 */
#include <string.h>

#include "counting.h"
#include "sampling.h"

int charrnn_step(const Model *, int64_t, const int32_t *, float *, float *, int32_t *, int32_t *,
                 float *);
int64_t charrnn_read(const Model *, const int32_t *, int64_t, float *, float *, int32_t *,
                     int32_t *, float *, double *, int, double, int64_t);
int charrnn_write(const Model *, Job *);

enum { V = 17, V_PADDED = 32, E = 3, H = 5, H_PADDED = 16, L = 2, R = 3, LENGTH = 6 };

static float zeros[4 * H_PADDED * 64];
static float h[L * R * H_PADDED];
static float h_next[L * R * H_PADDED];
static float c[L * R * H_PADDED];
static float logits[R * V_PADDED];
static int32_t node[R];
static int32_t spelled[R];
static const int32_t ids[] = {3, 1, 16};

static const Matrix square = {zeros, zeros, H_PADDED, H_PADDED, 64};
static const Layer layers[] = {{square, square, square}, {square, square, square}};
static const Model model = {
    .cell = RNN,
    .vocabulary = V,
    .embedding_size = E,
    .hidden_size = H,
    .layers = L,
    .depth = L,
    .width = H,
    .embedding = zeros,
    .table = zeros,
    .head = {zeros, zeros, H, V_PADDED, 64},
    .layer = layers,
};

static long step(void) { return charrnn_step(&model, R, ids, h, c, node, spelled, logits); }

static long read_ids(void) {
    double nats = 0;
    return charrnn_read(&model, ids, 3, h, c, node, spelled, logits, &nats, 0, 1e9, 3);
}

static long write_rows(int rows, int threads) {
    static int64_t index[R], position[R], chars[R], matched[R], record[3 * R];
    static double nats[R], record_nats[R];
    static int32_t recent[R * WINDOW], written[R * LENGTH], out[R * LENGTH];
    Job job = {
        .temperature = 1,
        .top_p = 1,
        .penalty = 1,
        .length = LENGTH,
        .newline = -1,
        .stop = rows,
        .last = 1,
        .first_h = zeros,
        .first_c = zeros,
        .first_logits = zeros,
        .rows = rows,
        .index = index,
        .position = position,
        .chars = chars,
        .matched = matched,
        .nats = nats,
        .h = h,
        .node = node,
        .spelled = spelled,
        .h_next = h_next,
        .c = c,
        .logits = logits,
        .recent = recent,
        .written = written,
        .capacity = LENGTH,
        .record = record,
        .record_nats = record_nats,
        .out = out,
        .max_records = R,
        .out_capacity = R * LENGTH,
        .seconds = 1e9,
        .threads = threads,
    };
    const long result = charrnn_write(&model, &job);
    const int64_t records = result == DONE ? rows : 0;
    if (job.records != records || job.out_used != records * LENGTH) return -99;
    return result;
}

static long write_three(void) { return write_rows(R, 1); }
static long write_one(void) { return write_rows(1, 3); }

int main(void) {
    return every_allocation_fails("charrnn_step", step, NO_MEMORY, 0)
           || every_allocation_fails("charrnn_read", read_ids, NO_MEMORY, 3)
           || every_allocation_fails("charrnn_write", write_three, NO_MEMORY, DONE)
           || every_allocation_fails("charrnn_write", write_one, NO_MEMORY, DONE);
}
