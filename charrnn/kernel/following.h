/* Sampling: where an id leads to beside the network, and what may not follow there.
 *
 * text/contexts.py and text/spelling.py do the same in numpy and are the reference. V characters.
 */
#ifndef CHARRNN_FOLLOWING_H
#define CHARRNN_FOLLOWING_H

#include <math.h>

#include "sampling.h"

#define CONTINUATIONS 64 /* the bytes 0x80 ... 0xBF, which go on with a character */

/* The node that id leads to: the longest known context that ends with it. */
static int32_t next_node(const Ally *ally, int32_t node, int32_t id) {
    if (!ally->full) return 0;
    /* A context of full length forgets its first character before it takes one more. */
    if (node >= ally->full) node = ally->node[node].suffix;
    for (;;) {
        int32_t low = ally->node[node].first;
        int32_t high = ally->node[node + 1].first;
        const int32_t stop = high;
        while (low < high) {
            const int32_t middle = low + (high - low) / 2;
            if (ally->character[middle] < id)
                low = middle + 1;
            else
                high = middle;
        }
        if (low < stop && ally->character[low] == id) return low + 1;
        if (!node) return 0;
        node = ally->node[node].suffix;
    }
}

/* The state of the spelling after id; 0: a character ends with it. */
static int32_t next_state(const Spelling *spelling, int32_t state, int32_t id) {
    const int64_t byte = id - spelling->first;
    const int is_inside = byte >= 0 && byte < CONTINUATIONS;
    const int32_t next =
        is_inside ? spelling->table[state * CONTINUATIONS + byte] : spelling->after[id];
    return next > 0 ? next : 0;
}

/* logits (V) of what may not follow in a state become -inf. */
static void forbid(const Spelling *spelling, int64_t vocabulary, int32_t state, float *logits) {
    const int64_t first = spelling->first;
    if (!state) {
        for (int64_t i = first; i < vocabulary; i++)
            if (spelling->after[i] < 0) logits[i] = -INFINITY;
        return;
    }
    const int32_t *row = spelling->table + (int64_t)state * CONTINUATIONS;
    for (int64_t i = 0; i < first; i++)
        logits[i] = -INFINITY;
    for (int64_t i = 0; i < CONTINUATIONS; i++)
        if (row[i] < 0) logits[first + i] = -INFINITY;
    for (int64_t i = first + CONTINUATIONS; i < vocabulary; i++)
        logits[i] = -INFINITY;
}

#endif
