/* Sampling: the structures that Python fills, and what one call works with.
 *
 * charrnn/sampling describes Matrix, Layer, Model and Job to ctypes, field by field. A change here
 * needs the same change there, and another version in library.c and library.py.
 *
 * Shapes: V characters, E embedding, H hidden size, L layers, R rows, G the cell's gates times H'.
 * H' and V' are H and V padded to a multiple of UNITS. A state h has D layers: the last of L + 1
 * holds the newest P ids in its first P floats, the newest first, each plus 1; 0 is no character.
 */
#ifndef CHARRNN_SAMPLING_H
#define CHARRNN_SAMPLING_H

#include <stdint.h>

#include "level.h"
#include "team.h"

#define MAX_PANEL 96 /* the outputs of a panel: 64, or 96 with three gates */
#define WINDOW    64 /* characters that the repetition penalty looks back on */

/* Skip connections: from each layer to the next and to the head. */
enum { NONE, RESIDUAL, DENSE };
/* Why charrnn_write returned. */
enum { DONE, STARVED, PAUSED, WRITTEN_FULL, OUT_FULL, NO_MEMORY = -1 };

/* A packed matrix. Its outputs lie in panels of neighbours, input after input, so that a product
 * reads it once and in order. With K inputs and panels of 64:
 *
 *     panel 0   w[0][0..63]    w[1][0..63]    ...  w[K-1][0..63]
 *     panel 1   w[0][64..127]  w[1][64..127]  ...  w[K-1][64..127]
 *
 * The recurrent matrix of a cell with several gates has its columns in another order, so that a
 * panel holds all gates of its units. They are finished while the panel's sums are at hand:
 *
 *                 |<------------- one input, 64 columns ------------->|
 *     LSTM         i 0..15     | f 0..15    | o 0..15    | g 0..15
 *     GRU (96)     r 0..15     | z 0..15    | n 0..15    | r 16..31   | z 16..31   | n 16..31
 *     gru-before   r 0..15     | z 0..15    | r 16..31   | z 16..31       (n: `candidate`)
 */
typedef struct {
    const void *weights; /* float, or IEEE half precision where Model.half is set */
    const float *bias;   /* (columns) */
    int64_t inputs;
    int64_t columns;
    int64_t panel; /* columns of a panel; the last panel may have fewer */
} Matrix;

typedef struct {
    Matrix input;     /* above the first layer: (G, inputs) */
    Matrix recurrent; /* (G, H'); gru-before: (2 H', H'), the gates r and z */
    Matrix candidate; /* gru-before: (H', H'), n */
} Layer;

/* A context of the n-grams beside a network (text/contexts.py). */
typedef struct {
    int32_t first;  /* of its children, which end where the next node's begin */
    int32_t suffix; /* the node without its first character */
    int32_t best;   /* the likeliest character */
    float back;     /* what it leaves to its suffix */
    float lean;     /* what it adds to the gate's sum */
} Node;

/* The n-grams beside a network, and the gate between both. C nodes, M n-grams; n-gram g is node
 * g + 1, unless it is one of the longest.
 */
typedef struct {
    const Node *node;         /* (C + 1): the last one only ends the children */
    const int32_t *character; /* (M): that an n-gram ends with; ascending in each node */
    const float *gain;        /* (M) */
    int64_t full;             /* from this node on, contexts are as long as they can be */
    int64_t boundary;         /* the id before a line: of a label, which counting does not know */
    double theta[4];          /* of entropy, largest ln P, ln P of `best`, agreement */
} Ally;

/* How rare characters are written as bytes (text/spelling.py). S states; below 0: may not follow.
 */
typedef struct {
    const int32_t *after; /* (I): the state after an id between characters */
    const int32_t *table; /* (S, 64): the state after each byte that goes on with a character */
    int64_t first;        /* the id of byte 0x80; those of all other bytes follow */
} Spelling;

typedef struct {
    int32_t cell;
    int32_t skip;
    int32_t half;
    int32_t level;
    int64_t vocabulary; /* V, the ids that are written */
    int64_t inputs;     /* I, the ids that are read: V, and then those of labels */
    int64_t embedding_size;
    int64_t hidden_size;
    int64_t layers;
    int64_t depth;            /* D, layers of the state: L, or L + 1 with `past` */
    int64_t past;             /* P, the earlier characters that a convolution sees */
    int64_t width;            /* what the head reads */
    const float *embedding;   /* (I, E), for skip connections */
    const float *table;       /* (I, G): layer 0's input product with all folded biases */
    const float *past_tables; /* (P, I + 1, G): of the earlier characters; row 0: none */
    Matrix head;              /* (V', width) */
    const Layer *layer;       /* (L) */
    const Ally *ally;         /* null: the network stands alone */
    const Spelling *spelling; /* null: every id is a character */
} Model;

/* Rows that write side by side, and the samples that they still have to write. The arrays are the
 * caller's, who calls again with the same job until all is written.
 */
typedef struct {
    /* how to draw */
    double temperature;
    double top_p;
    double min_p;
    double penalty;
    int64_t top_k;
    uint64_t seed;

    /* when a sample ends: after `length` characters, after `newline`, or after the text `until` */
    int64_t length;
    const int32_t *until;   /* (until_length) */
    const int32_t *overlap; /* (until_length): the longest proper border of until[0..i] */
    int64_t until_length;
    int32_t newline; /* -1: does not end a sample */
    int32_t want_nats;

    /* the samples to begin: next ... stop - 1 */
    int64_t next;
    int64_t stop;
    int64_t last;              /* set: no samples will follow these */
    const float *first_h;      /* (D, H'): the state each sample starts from */
    const float *first_c;      /* (D, H') */
    const float *first_logits; /* (V') */
    int64_t first_node;        /* of the ally */
    int64_t first_spelled;     /* of the spelling */

    /* rows 0 ... active - 1 write sample index[r], which has position[r] ids */
    int64_t rows;
    int64_t active;
    int64_t *index;    /* (R) */
    int64_t *position; /* (R) */
    int64_t *chars;    /* (R): whole characters */
    int64_t *matched;  /* (R): ids of `until` just written */
    double *nats;      /* (R) */
    float *h;          /* (D, R, H') */
    float *h_next;     /* (D, R, H') */
    float *c;          /* (D, R, H') */
    float *logits;     /* (R, V') of the next character */
    int32_t *node;     /* (R): where each stands in the ally's graph */
    int32_t *spelled;  /* (R): where each stands in the spelling */
    int32_t *recent;   /* (R, WINDOW), a ring of characters; -1: none, or one of bytes */
    int32_t *written;  /* (R, capacity): the ids from `base` on */
    int64_t capacity;
    int64_t base;

    /* finished samples */
    int64_t *record;     /* (max_records, 3): index, number of ids, place in `out` */
    double *record_nats; /* (max_records) */
    int32_t *out;        /* (out_capacity): their ids */
    int64_t records;
    int64_t max_records; /* at least R */
    int64_t out_used;
    int64_t out_capacity;

    double seconds; /* return after about so long */
    int64_t threads;
} Job;

/* Rows times a matrix: out = start + x times the weights. The sums of row r begin with the row
 * pick[r] of `start`. A stride is the distance of two rows in floats.
 */
typedef struct {
    const float *x; /* (R, inputs) */
    int64_t x_stride;
    const float *start; /* (any, columns) */
    int64_t start_stride;
    const int32_t *pick; /* (R) */
    float *out;          /* (R, columns) */
    int64_t out_stride;
} Product;

/* What one step of one layer reads and writes. */
typedef struct {
    const float *x; /* the row pick[r] has row r's input products, with all folded biases */
    int64_t x_stride;
    const int32_t *pick; /* (R) */
    const float *h;      /* (R, H') */
    float *h_next;       /* (R, H') */
    float *c;            /* lstm: (R, H'), in place */
} Stage;

/* What one call needs beside the model and the rows: one block of memory, and a team of threads. */
typedef struct {
    const Model *model;
    int64_t rows;    /* R of the state arrays */
    float *x;        /* (R, G): input products above layer 0 */
    float *below;    /* (R, width): with skip connections, what the next layer reads */
    float *reset;    /* (R, H'): gru-before's r * h */
    float *update;   /* (R, H'): gru-before's 1 / z */
    float *tile;     /* (R or threads, MAX_PANEL): sums on their way into the gates */
    double *scores;  /* (V') */
    double *weights; /* (V') */
    double *sums;    /* (V') */
    int32_t *heap;   /* (V') */
    int32_t *order;  /* (R): 0, 1, 2 ... */
    Meeting place;
    pthread_t *team;

    /* the step that the team computes */
    int64_t active;
    const int32_t *ids; /* (active) */
    const float *h;     /* (D, R, H') */
    float *h_next;      /* (D, R, H') */
    float *c;           /* (D, R, H') */
    float *logits;      /* (active, V'), or null: not wanted */
    int quit;

    void *memory;
} Work;

#endif
