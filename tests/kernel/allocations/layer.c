/* Every allocation of the layer's kernel fails once, and the call after it succeeds.
 *
 * A GRU of zeros: T 2, B 3, K 5, H 16, V 7.
 */
#include "counting.h"
#include "training.h"

int charrnn_layer_forward(const Sequence *);
int charrnn_layer_backward(const Sequence *);
int charrnn_product(const Product *);
int charrnn_scores(const Scores *);

enum { T = 2, B = 3, K = 5, H = 16, V = 7, G = 3, S = 4, D = 4, THREADS = 3 };

static const int64_t ids[T * B] = {6, 0, 2, 2, 1, 5};
static const int64_t targets[B] = {6, IGNORED, 2};
static float zeros[G * H * H + V * K];
static float hs[(T + 1) * B * H];
static float saved[T * B * S * H];
static float d_h[B * H];
static float d_gates[T * B * D * H];
static float d_x[V * K];
static float d_weight_ih[G * H * K];
static float d_weight_hh[G * H * H];
static float d_bias_ih[G * H];
static float d_bias_hh[G * H];
static float c[B * V];
static float slopes[B * V];
static double nats[B];

static const Sequence sequence = {
    .cell = GRU,
    .threads = THREADS,
    .time = T,
    .batch = B,
    .hidden = H,
    .inputs = K,
    .vocabulary = V,
    .ids = ids,
    .x = zeros,
    .weight_ih = zeros,
    .weight_hh = zeros,
    .bias_ih = zeros,
    .bias_hh = zeros,
    .hs = hs,
    .saved = saved,
    .d_out = zeros,
    .d_h = d_h,
    .d_gates = d_gates,
    .d_x = d_x,
    .d_weight_ih = d_weight_ih,
    .d_weight_hh = d_weight_hh,
    .d_bias_ih = d_bias_ih,
    .d_bias_hh = d_bias_hh,
};

static long forward(void) { return charrnn_layer_forward(&sequence); }
static long backward(void) { return charrnn_layer_backward(&sequence); }

static long product(void) {
    const Product job = {
        .threads = THREADS,
        .rows = B,
        .columns = V,
        .inner = K,
        .a = zeros,
        .a_row = K,
        .a_inner = 1,
        .b = zeros,
        .b_inner = V,
        .b_column = 1,
        .c = c,
        .c_row = V,
    };
    return charrnn_product(&job);
}

static long scores(void) {
    const Scores job = {
        .threads = THREADS,
        .rows = B,
        .inputs = K,
        .vocabulary = V,
        .x = zeros,
        .weight = zeros,
        .bias = zeros,
        .targets = targets,
        .nats = nats,
        .slopes = slopes,
    };
    return charrnn_scores(&job);
}

int main(void) {
    return every_allocation_fails("charrnn_layer_forward", forward, NO_MEMORY, 0)
           || every_allocation_fails("charrnn_layer_backward", backward, NO_MEMORY, 0)
           || every_allocation_fails("charrnn_product", product, NO_MEMORY, 0)
           || every_allocation_fails("charrnn_scores", scores, NO_MEMORY, 0);
}
