/* Sampling: the n-grams beside a network. Part of sampling.inc.h, for each LEVEL.
 *
 * text/gate.py and sampling/mixed.py do the same in numpy and are the reference. V characters, V'
 * padded to UNITS.
 */

#define STEEPEST 30.0   /* of the gate's sum */
#define LEAST_LN -30.0  /* of what enters it */
#define EXCLUDED -1e290 /* scores below are those of what may not follow */

/* sums (V) = P by counting at a node: the children of the node and of all its ends, each weighed by
 * what the longer contexts leave.
 */
INLINE void NAME(counted)(const Ally *ally, int32_t node, double *sums, int64_t vocabulary) {
    for (int64_t i = 0; i < vocabulary; i++)
        sums[i] = 0;
    double scale = 1;
    for (;;) {
        const Node *at = ally->node + node;
        for (int32_t child = at->first; child < at[1].first; child++)
            sums[ally->character[child]] += scale * (double)ally->gain[child];
        scale *= (double)at->back;
        if (!node) break;
        node = at->suffix;
    }
    const double rest = scale / (double)vocabulary;
    for (int64_t i = 0; i < vocabulary; i++)
        sums[i] += rest;
}

/* logits (V') of the network -> ln P of the mixture, in place. */
static void NAME(mix)(Work *work, int32_t node, float *logits) {
    const int64_t vocabulary = work->model->vocabulary;
    const int64_t n = padded(vocabulary);
    const Ally *ally = work->model->ally;
    const Node *at = ally->node + node;
    double *scores = work->scores;   /* (V') */
    double *weights = work->weights; /* (V') */
    double *sums = work->sums;       /* (V') */

    /* 1. What the network says. */
    const double largest = NAME(scores)(logits, scores, n);
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        scores[i] -= largest;
    NAME(weigh)(scores, weights, vocabulary, n);
    double total = 0;
    double spread = 0;
    for (int64_t i = 0; i < vocabulary; i++) {
        total += weights[i];
        spread += weights[i] * scores[i];
    }
    const double ln_total = log(total);
    const double ln_best = scores[at->best] - ln_total;

    /* 2. The gate. */
    const double *theta = ally->theta;
    double z = (double)at->lean + theta[0] * (ln_total - spread / total) - theta[1] * ln_total;
    z += theta[2] * (ln_best > LEAST_LN ? ln_best : LEAST_LN);
    z += theta[3] * (scores[at->best] >= 0);
    z = z > STEEPEST ? STEEPEST : z;
    z = z < -STEEPEST ? -STEEPEST : z;
    const double w = 1 / (1 + exp(-z));

    /* 3. The mixture. */
    NAME(counted)(ally, node, sums, vocabulary);
    if (work->model->spelling) { /* what may not follow gets nothing here either */
        double kept = 0;
        for (int64_t i = 0; i < vocabulary; i++) {
            sums[i] = scores[i] < EXCLUDED ? 0 : sums[i];
            kept += sums[i];
        }
        for (int64_t i = 0; i < vocabulary; i++)
            sums[i] /= kept;
    }
    const double share = (1 - w) / total;
    for (int64_t i = 0; i < vocabulary; i++) {
        const float p = (float)(share * weights[i] + w * sums[i]);
        logits[i] = logf(p > FLT_MIN ? p : FLT_MIN);
    }
}

#undef STEEPEST
#undef LEAST_LN
#undef EXCLUDED
