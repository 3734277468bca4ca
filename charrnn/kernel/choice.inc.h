/* Sampling: the next character, in double precision. Part of sampling.inc.h, for each LEVEL.
 *
 * sampling/decode.py does the same in numpy and is the reference. V characters, V' padded to UNITS.
 */

/* e^x for x <= 0, to about 2e-16 of it. 0 below e^-708, where numbers lose precision. */
INLINE double NAME(exp)(double x) {
    const double shifted = x * 1.4426950408889634 + 0x1.8p52;
    const double n = shifted - 0x1.8p52;
    const double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
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
    double scale;
    memcpy(&bits, &shifted, 8);
    bits = (bits << 52) + (UINT64_C(1023) << 52); /* the low bits of `shifted` are n */
    memcpy(&scale, &bits, 8);
    return x < -708 ? 0 : scale + scale * series;
}

/* scores (V') = logits (V') without NaN and infinities. Returns the largest. n: V'. */
INLINE double NAME(scores)(const float *restrict logits, double *restrict scores, int64_t n) {
    double largest[8];
    for (int l = 0; l < 8; l++)
        largest[l] = -LARGEST;
    for (int64_t i = 0; i < n; i += 8) {
        INDEPENDENT
        for (int l = 0; l < 8; l++) {
            const double score = tamed((double)logits[i + l]);
            scores[i + l] = score;
            largest[l] = score > largest[l] ? score : largest[l];
        }
    }
    for (int l = 1; l < 8; l++)
        largest[0] = largest[l] > largest[0] ? largest[l] : largest[0];
    return largest[0];
}

/* weights (V') = e^scores (V'). Padding weighs nothing. n: V'. */
INLINE void NAME(weigh)(const double *restrict scores, double *restrict weights, int64_t vocabulary,
                        int64_t n) {
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        weights[i] = NAME(exp)(scores[i]);
    for (int64_t i = vocabulary; i < n; i++)
        weights[i] = 0;
}

/* -ln p of an id under the model itself: temperature 1, nothing filtered. scores, weights (V') are
 * scratch.
 */
static double NAME(surprise)(const float *logits, int64_t vocabulary, int32_t id, double *scores,
                             double *weights) {
    const int64_t n = padded(vocabulary);
    const double largest = NAME(scores)(logits, scores, n);
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        scores[i] -= largest;
    NAME(weigh)(scores, weights, vocabulary, n);
    double total = 0;
    for (int64_t i = 0; i < vocabulary; i++)
        total += weights[i];
    return log(total) - scores[id];
}

/* Make the characters of `recent` (WINDOW) less likely in scores (V). Returns the largest score. */
INLINE double NAME(penalise)(double *scores, int64_t vocabulary, const float *logits,
                             const int32_t *recent, double penalty) {
    for (int i = 0; i < WINDOW; i++) {
        if (recent[i] < 0) continue;
        /* From the logit, so that a character that came twice is penalised once. */
        const double score = tamed((double)logits[recent[i]]);
        scores[recent[i]] = tamed(score > 0 ? score / penalty : score * penalty);
    }
    double largest = scores[0]; /* a penalised score may lie below -LARGEST */
    for (int64_t i = 1; i < vocabulary; i++)
        largest = scores[i] > largest ? scores[i] : largest;
    return largest;
}

/* decode.distribution and decode.draw at u in [0, 1), for one row with logits (V') and recent
 * (WINDOW). Returns the id, and adds to *nats what it cost under the model itself.
 */
static int32_t NAME(choose)(Work *work, const Job *job, const float *logits, const int32_t *recent,
                            double u, double *nats) {
    const int64_t vocabulary = work->model->vocabulary;
    const int64_t n = padded(vocabulary);
    double *scores = work->scores;   /* (V') */
    double *weights = work->weights; /* (V') */
    double *sums = work->sums;       /* (V') */

    /* 1. Scores, and the likeliest character at temperature 0. */
    double largest = NAME(scores)(logits, scores, n);
    if (job->penalty != 1)
        largest = NAME(penalise)(scores, vocabulary, logits, recent, job->penalty);
    if (job->temperature == 0) {
        int32_t id = 0;
        while (scores[id] < largest)
            id++;
        if (job->want_nats) *nats += NAME(surprise)(logits, vocabulary, id, scores, weights);
        return id;
    }

    /* 2. Weights, of which the filters set some to 0. */
    if (job->temperature == 1) {
        INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            scores[i] -= largest;
    } else {
        INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            scores[i] = (scores[i] - largest) / job->temperature;
    }
    NAME(weigh)(scores, weights, vocabulary, n);
    /* Then the weights, before any filter, are the model's own. */
    const int is_plain = job->temperature == 1 && job->penalty == 1;
    const int has_top_k = job->top_k > 0 && job->top_k < vocabulary;
    const int is_filtered = has_top_k || job->top_p < 1 || job->min_p > 0;
    double unfiltered = 0;
    if (is_filtered && is_plain && job->want_nats) {
        for (int64_t i = 0; i < vocabulary; i++)
            unfiltered += weights[i];
    }
    if (has_top_k) keep_largest(weights, scores, sums, vocabulary, job->top_k);
    if (job->top_p < 1) keep_nucleus(weights, sums, work->heap, vocabulary, job->top_p);
    if (job->min_p > 0) {
        for (int64_t i = 0; i < vocabulary; i++)
            weights[i] = weights[i] >= job->min_p ? weights[i] : 0;
    }

    /* 3. The draw: the first id whose running sum is above u times the total. */
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        total += weights[i];
        sums[i] = total;
    }
    const double target = u * total;
    int64_t before = 0;
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        before += sums[i] <= target;
    const int32_t id = (int32_t)before;

    /* 4. What it cost. */
    if (!job->want_nats) return id;
    if (is_plain)
        *nats += log(is_filtered ? unfiltered : total) - scores[id];
    else
        *nats += NAME(surprise)(logits, vocabulary, id, scores, weights);
    return id;
}
