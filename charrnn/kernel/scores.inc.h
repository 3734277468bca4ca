/* Training: scores of the next character and their slopes. Part of training.inc.h, for each LEVEL
 * but 3: scores stay float32.
 *
 * V characters, V' padded to UNITS.
 */
#if LEVEL < 3

/* Rows whose scores are turned into probabilities while they are near. */
#define SCORED_ROWS 64

/* e^x for x <= 0, with a relative error below 2e-7. Below -87 it stays at e^-87. NaN stays NaN. */
INLINE vec NAME(exp)(vec x) {
    x = NAME(larger)((vec){0} - 87.0f, x);
    const vec shifted = x * 1.44269504f + 0x1.8p23f;
    const vec n = shifted - 0x1.8p23f;
    const vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec series = r * 1.98412698e-4f + 1.38888889e-3f;
    series = series * r + 8.33333333e-3f;
    series = series * r + 4.16666667e-2f;
    series = series * r + 1.66666667e-1f;
    series = series * r + 0.5f;
    const vec scale = NAME(power_of_two)(shifted);
    return scale + scale * (series * (r * r) + r);
}

/* logits (V') become their probabilities times a sum, which is returned. Padding must be lower than
 * any logit. *largest is the largest logit.
 */
INLINE float NAME(weigh)(float *logits, int64_t width, float *largest) {
    vec top = IN(logits);
    for (int64_t j = VEC; j < width; j += VEC)
        top = NAME(larger)(IN(logits + j), top);
    *largest = top[0];
    for (int i = 1; i < VEC; i++)
        *largest = top[i] > *largest ? top[i] : *largest;

    vec sum = (vec){0};
    for (int64_t j = 0; j < width; j += VEC) {
        const vec weight = NAME(exp)(IN(logits + j) - *largest);
        OUT(logits + j) = weight;
        sum += weight;
    }
    float total = 0;
    for (int i = 0; i < VEC; i++)
        total += sum[i];
    return total;
}

/* charrnn_scores, as thread `number`: its rows. */
static void NAME(score)(Work *work, int number) {
    const Scores *q = work->scores;
    const int threads = work->place.threads;
    const int64_t vocabulary = q->vocabulary;
    const int64_t inputs = q->inputs;
    const int64_t width = padded(vocabulary);
    const size_t bytes = (size_t)vocabulary * sizeof(float);
    float *const logits = work->scratch + number * work->scratch_size; /* (SCORED_ROWS, V') */
    const Right head = {.at = q->weight, .inner = 1, .column = inputs};
    NAME(pack)(head, inputs, vocabulary, work->input, number, threads);
    meet(&work->place);

    const Share mine = share(q->rows, number, threads);
    for (int64_t begin = mine.first; begin < mine.stop; begin += SCORED_ROWS) {
        const int64_t end = smaller_of(begin + SCORED_ROWS, mine.stop);
        const Left x = {.at = q->x + begin * inputs, .row = inputs, .inner = 1};
        const Result result = {.at = logits, .row = width, .bias = q->bias};
        NAME(times)(end - begin, x, work->input, inputs, vocabulary, result, 0);
        for (int64_t i = begin; i < end; i++) {
            float *row = logits + (i - begin) * width;
            float *slopes = q->slopes ? q->slopes + i * vocabulary : 0;
            const int64_t target = q->targets[i];
            q->nats[i] = 0;
            if (slopes) memset(slopes, 0, bytes);
            if (target == IGNORED) continue;

            for (int64_t j = vocabulary; j < width; j++)
                row[j] = -1e38f;
            const double score = row[target];
            float largest;
            const float sum = NAME(weigh)(row, width, &largest);
            q->nats[i] = log((double)sum) + (double)largest - score;
            if (!slopes) continue;
            const float inverse = 1.0f / sum;
            INDEPENDENT
            for (int64_t j = 0; j < vocabulary; j++)
                slopes[j] = row[j] * inverse;
            slopes[target] -= 1.0f;
        }
    }
}

#endif
