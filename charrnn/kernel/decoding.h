/* Random numbers, and the filters of a distribution (top-k, top-p), in double precision.
 *
 * sampling/decode.py does the same in numpy and is the reference. n is the number of characters.
 */
#ifndef CHARRNN_DECODING_H
#define CHARRNN_DECODING_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LARGEST 1e300 /* stands for infinity where weights have grown beyond float32 */

static inline uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* A number in [0, 1): SplitMix64 (Steele, Lea & Flood 2014), whose seed is itself an output of
 * SplitMix64. decode.uniforms gives the same numbers.
 */
static inline double uniform(uint64_t seed, int64_t stream, int64_t position) {
    const uint64_t golden = UINT64_C(0x9E3779B97F4A7C15);
    const uint64_t state = mix(seed + ((uint64_t)stream + 1) * golden);
    return (double)(mix(state + ((uint64_t)position + 1) * golden) >> 11) * 0x1p-53;
}

/* The score without infinities. NaN becomes the smallest. */
static inline double tamed(double score) {
    if (fabs(score) <= DBL_MAX) return score;
    return score > 0 ? LARGEST : -LARGEST;
}

/* The k-th largest of n values, 1 <= k <= n. Reorders them (Hoare 1961). */
static double kth_largest(double *values, int64_t n, int64_t k) {
    const int64_t place = k - 1;
    int64_t low = 0;
    int64_t high = n - 1;
    while (low < high) {
        const double pivot = values[low + (high - low) / 2];
        int64_t i = low;
        int64_t j = high;
        while (i <= j) {
            while (values[i] > pivot)
                i++;
            while (values[j] < pivot)
                j--;
            if (i <= j) {
                const double value = values[i];
                values[i] = values[j];
                values[j] = value;
                i++;
                j--;
            }
        }
        if (place <= j)
            high = j;
        else if (place >= i)
            low = i;
        else
            break;
    }
    return values[place];
}

/* Keep the k likeliest. Where scores tie, the lowest ids stay. scratch (n). */
static void keep_largest(double *weights, const double *scores, double *scratch, int64_t n,
                         int64_t k) {
    memcpy(scratch, scores, (size_t)n * sizeof(double));
    const double least = kth_largest(scratch, n, k);
    int64_t tied = k; /* how many with the least score stay */
    for (int64_t i = 0; i < n; i++)
        tied -= scores[i] > least;
    for (int64_t i = 0; i < n; i++) {
        if (scores[i] > least) continue;
        if (scores[i] == least && tied > 0)
            tied--;
        else
            weights[i] = 0;
    }
}

static int is_heavier(const double *weights, int32_t a, int32_t b) {
    return weights[a] > weights[b] || (weights[a] == weights[b] && a < b);
}

/* Restore the heap, heaviest first, of which only the id at `at` may be out of place. */
static void sink(const double *weights, int32_t *heap, int64_t size, int64_t at) {
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= size) return;
        if (child + 1 < size && is_heavier(weights, heap[child + 1], heap[child])) child++;
        if (!is_heavier(weights, heap[child], heap[at])) return;
        const int32_t id = heap[at];
        heap[at] = heap[child];
        heap[child] = id;
        at = child;
    }
}

/* Keep the smallest set of largest weights whose sum reaches p of the whole (Holtzman et al. 2020).
 * scratch, heap (n).
 */
static void keep_nucleus(double *weights, double *scratch, int32_t *heap, int64_t n, double p) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        total += weights[i];
        heap[i] = (int32_t)i;
        scratch[i] = 0;
    }
    for (int64_t at = n / 2 - 1; at >= 0; at--)
        sink(weights, heap, n, at);

    double sum = 0;
    int64_t size = n;
    while (size > 0 && sum < p * total) {
        const int32_t heaviest = heap[0];
        sum += weights[heaviest];
        scratch[heaviest] = weights[heaviest];
        size--;
        heap[0] = heap[size];
        sink(weights, heap, size, 0);
    }
    memcpy(weights, scratch, (size_t)n * sizeof(double));
}

#endif
