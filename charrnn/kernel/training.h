/* Training: the structures that Python fills, and what one call works with.
 *
 * charrnn/model/kernel_layer.py describes Sequence to ctypes, kernel_scores.py Product and Scores,
 * field by field. A change here needs the same change there, and another version in library.c and
 * library.py.
 *
 * Shapes: T time, B batch, K inputs, V characters, H hidden size (a multiple of UNITS), and in
 * multiples of H: G gates (rnn 1, lstm 4, else 3), S saved (rnn 0, else 4), D slopes of gates (rnn
 * 1, gru-before 3, else 4). All arrays are float32, dense and time-major.
 */
#ifndef CHARRNN_TRAINING_H
#define CHARRNN_TRAINING_H

#include <stdint.h>

#include "level.h"
#include "team.h"

#define BLOCK_ROWS   256  /* rows of input products made ahead: they stay in the L2 cache */
#define BLOCK_INPUTS 256  /* inputs of a product that are summed before the next are packed */
#define IGNORED      -100 /* a target that counts for nothing, as in PyTorch */
enum { NO_MEMORY = -1, BAD_ID = -2 };

/* A layer over time. */
typedef struct {
    int32_t cell;
    int32_t level;
    int64_t threads;
    int64_t time;
    int64_t batch;
    int64_t hidden;
    int64_t inputs;
    int64_t vocabulary;
    const int64_t *ids;     /* (T, B), or null */
    const float *x;         /* (T, B, K); with ids (V, K), of which place (t, b) reads ids[t, b] */
    const float *weight_ih; /* (G H, K): gate order i, f, g, o and r, z, n */
    const float *weight_hh; /* (G H, H) */
    const float *bias_ih;   /* (G H) */
    const float *bias_hh;   /* (G H) */
    float *hs;              /* (T + 1, B, H): h before the first step, then the outputs */
    float *cs;              /* lstm: (T + 1, B, H); without `saved` (B, H), in place */
    float *saved;           /* (T, B, S H), see below; null: no backward pass will follow */

    /* backward */
    const float *d_out; /* (T, B, H) */
    float *d_h;         /* (B, H): in zero, out the gradient of the first h */
    float *d_c;         /* (B, H): in the gradient of the last c, out that of the first */
    float *d_gates;     /* (T, B, D H), see below: scratch */
    float *d_x;         /* as x, or null */
    float *d_weight_ih; /* (G H, K) */
    float *d_weight_hh; /* (G H, H) */
    float *d_bias_ih;   /* (G H) */
    float *d_bias_hh;   /* (G H) */
} Sequence;

/* What a place (t, b) keeps of its gates, and the slopes backward makes of them. Each word is H
 * floats wide:
 *
 *     cell         weight_ih's rows   saved                      d_gates
 *     lstm         i  f  g  o         i  f  g  o                 i  f  g  o
 *     gru          r  z  n            r  z  n  W_hn h + b_hn     n  r  z  (W_hn h + b_hn)
 *     gru-before   r  z  n            r  z  n  r h               r  z  n
 *     rnn          h                                             h
 *
 * gru has n's slope twice: with what comes from x, n; with what comes from h, W_hn h + b_hn. Either
 * way the slopes of three gates lie side by side.
 */
static inline int64_t saved_of(int cell) { return cell == RNN ? 0 : 4; }
static inline int64_t slopes_of(int cell) {
    if (cell == RNN) return 1;
    return cell == GRU_BEFORE ? 3 : 4;
}

/* Where d_gates has the slopes of weight_ih's rows, in multiples of H: those of the first `early`
 * rows from column `shift` on, the others from column 0 on. Only gru's order differs.
 */
static inline int64_t early_of(int cell) { return cell == GRU ? 2 : gates_of(cell); }
static inline int64_t shift_of(int cell) { return cell == GRU ? 1 : 0; }

/* c = or += a b [+ bias], c (rows, columns), a (rows, inner), b (inner, columns). */
typedef struct {
    int32_t level;
    int32_t adds; /* +=, not = */
    int64_t threads;
    int64_t rows;
    int64_t columns;
    int64_t inner;
    const float *a; /* a(i, k) = a[i a_row + k a_inner] */
    int64_t a_row;
    int64_t a_inner;
    const float *b; /* b(k, j) = b[k b_inner + j b_column] */
    int64_t b_inner;
    int64_t b_column;
    const float *bias; /* (columns), or null */
    float *c;          /* c(i, j) = c[i c_row + j] */
    int64_t c_row;
} Product;

/* Scores of the next character: rows of x against weight and bias. */
typedef struct {
    int32_t level;
    int64_t threads;
    int64_t rows;
    int64_t inputs;
    int64_t vocabulary;
    const float *x;         /* (rows, K) */
    const float *weight;    /* (V, K) */
    const float *bias;      /* (V) */
    const int64_t *targets; /* (rows): ids, or IGNORED */
    double *nats;           /* (rows), out: -ln of the target's probability */
    float *slopes;          /* (rows, V), out: d nats / d logits; or null */
} Scores;

/* The factors of a product and its result, in the functions of the vector part. */
typedef struct {
    const float *at; /* a(i, k) = at[i row + k inner]; one of the strides is 1 */
    int64_t row;
    int64_t inner;
} Left;

typedef struct {
    const float *at; /* b(k, j) = at[k inner + j column]; one of the strides is 1 */
    int64_t inner;
    int64_t column;
} Right;

typedef struct {
    float *at; /* c(i, j) = at[i row + j] */
    int64_t row;
    int adds;          /* +=, not = */
    const float *bias; /* (columns) to start from, unless `adds`; or null */
} Result;

/* What one step of a layer reads and writes. Row r of an array is r strides further. */
typedef struct {
    const float *const *x; /* (B) pointers to input products (G H): the table's rows lie anywhere */
    const float *h;        /* (B, H) */
    const float *c;        /* lstm: (B, H) */
    const float *bias_hn;  /* gru: (H) */
    float *h_next;         /* (B, H) */
    float *c_next;         /* lstm: (B, H) */
    float *saved;          /* (B, S H), or null; never null with gru-before */
    int64_t hidden;
    int64_t saved_row;
    float *pairs; /* level 3: where `left` is made */
    Left left;    /* (B, H), what is multiplied: h, or gru-before's r h */
} Stage;

/* What one call needs beside its structure. Packed weights have their inputs as OPERANDS. */
typedef struct {
    const Sequence *sequence; /* one of the three */
    const Product *product;
    const Scores *scores;
    Meeting place;
    float *recurrent; /* (G H, H) packed; gru-before: of r and z */
    float *candidate; /* gru-before: (H, H) packed, of n */
    float *input;     /* (G H, K) packed, or a product's b, or the head */
    float *table;     /* with ids: (V, G H) input products; backward: their slopes, summed */
    float *bias;      /* (G H): both biases; gru: without n's part of bias_hh */
    float *scratch; /* (threads, scratch_size), and with it scratch_row for each row of the batch */
    float *pairs;   /* (threads, pairs_size): level 3, rows as its products read them */
    int64_t scratch_size;
    int64_t scratch_row;
    int64_t pairs_size;
    void *memory;
} Work;

#endif
