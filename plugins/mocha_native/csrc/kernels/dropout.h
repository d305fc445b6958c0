/* Dropout with the random numbers of mocha_core.api.uniform: Philox4x32-10, one counter for four neighbouring features.
   The mask has 1 where an element is kept, and serves backward. */

#ifndef MOCHA_DROPOUT_H
#define MOCHA_DROPOUT_H

#define KERNELS(K) \
    K(dropout_forward) \
    K(dropout_lanes_forward) \
    K(dropout_backward)

/* The number of counters that are computed side by side: the lanes of the widest vector. */
#define COUNTERS 16

/* The words of the counters (words[0][i], words[1][i], stream, iteration). */
static void philox(uint32_t words[4][COUNTERS], uint32_t stream, uint32_t iteration, uint32_t key0, uint32_t key1) {
    uint32_t *c0 = words[0], *c1 = words[1], *c2 = words[2], *c3 = words[3];
    for (int i = 0; i < COUNTERS; i++) {
        c2[i] = stream;
        c3[i] = iteration;
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < COUNTERS; i++) {
            const uint64_t p0 = (uint64_t)c0[i] * 0xD2511F53u, p1 = (uint64_t)c2[i] * 0xCD9E8D57u;
            c0[i] = (uint32_t)(p1 >> 32) ^ c1[i] ^ key0;
            c1[i] = (uint32_t)p1;
            c2[i] = (uint32_t)(p0 >> 32) ^ c3[i] ^ key1;
            c3[i] = (uint32_t)p0;
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

#endif

/* Counters are for `lanes` neighbouring rows from `row` on and as many groups of features as there is room for, from
   feature f on. Of `features`, element (feature f + i, lane) is at (f + i) * lanes + lane in x, y and mask. */
ALWAYS_INLINE void TYPED(drop)(const mocha_args *args, const int lanes, uint32_t row, int64_t f, int64_t features,
                        const REAL *x, REAL *y, int8_t *mask) {
    const REAL factor = (REAL)args->numbers[0];
    const uint32_t iteration = (uint32_t)*(const int64_t *)args->buffers[1];
    const uint32_t first_row = (uint32_t)*(const int64_t *)args->buffers[2];
    const uint32_t key0 = (uint32_t)args->sizes[2], key1 = (uint32_t)args->sizes[3], stream = (uint32_t)args->sizes[4];
    const uint32_t dropped = (uint32_t)args->sizes[5];
    uint32_t words[4][COUNTERS];
    for (int i = 0; i < COUNTERS; i++) {
        words[0][i] = (uint32_t)(f / 4) + (uint32_t)(i / lanes);
        words[1][i] = first_row + row + (uint32_t)(i % lanes);
    }
    philox(words, stream, iteration, key0, key1);
    const int64_t some = mocha_min(4 * COUNTERS / lanes, features - f), at = f * lanes;
    for (int64_t i = 0; i < some; i++)
        for (int lane = 0; lane < lanes; lane++)
            mask[at + i * lanes + lane] = words[i % 4][i / 4 * lanes + lane] > dropped;
    for (int64_t i = 0; i < some * lanes; i++) y[at + i] = mask[at + i] ? x[at + i] * factor : 0;
}

/* Of a plain blob; threads share the rows. buffers: x, iteration, first_row, y, mask; sizes: rows, features, the key's
   two words, stream, and the largest word that drops; numbers: factor. */
KERNEL(dropout_forward) {
    const int64_t features = args->sizes[1];
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t n = first; n < last; n++)
        for (int64_t f = 0; f < features; f += 4 * COUNTERS)
            TYPED(drop)(args, 1, (uint32_t)n, f, features, (const REAL *)args->buffers[0] + n * features,
                 (REAL *)args->buffers[3] + n * features, (int8_t *)args->buffers[4] + n * features);
}

/* As dropout_forward, of a blob with lanes; sizes: blocks, and so on. Threads share pieces of blocks. */
KERNEL(dropout_lanes_forward) {
    enum { FEATURES = 4 * COUNTERS / (LANE_BYTES / sizeof(REAL)) };
    const int64_t features = args->sizes[1], pieces = (features + FEATURES - 1) / FEATURES;
    int64_t first, last;
    mocha_share(args->sizes[0] * pieces, 1, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t block = i / pieces, at = block * features * LANES;
        TYPED(
            drop)(args, LANES, (uint32_t)(block * LANES), i % pieces * FEATURES, features,
             (const REAL *)args->buffers[0] + at, (REAL *)args->buffers[3] + at, (int8_t *)args->buffers[4] + at);
    }
}

/* buffers: dy, mask, dx; sizes: elements, whether it is added; numbers: factor. */
KERNEL(dropout_backward) {
    const REAL *dy = args->buffers[0], factor = (REAL)args->numbers[0];
    const int8_t *mask = args->buffers[1];
    REAL *dx = args->buffers[2];
    int64_t first, last;
    mocha_share(args->sizes[0], GRAIN, team, &first, &last);
    for (int64_t i = first; i < last; i++) dx[i] = (mask[i] ? dy[i] * factor : 0) + (args->sizes[1] ? dx[i] : 0);
}
