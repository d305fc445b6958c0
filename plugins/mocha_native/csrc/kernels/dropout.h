/* Dropout with the random numbers of mocha_core.random: Philox4x32-10, one counter for four neighbouring features.
   The mask has 1 where an element is kept, and serves backward. */

#ifndef MOCHA_DROPOUT_H
#define MOCHA_DROPOUT_H

#define KERNELS(K) K(dropout_forward) K(dropout_backward)

/* Counters computed side by side. */
#define COUNTERS 16

/* Words [word][i] of the counters (group + i, row, stream, iteration). */
static void philox(uint32_t group, uint32_t row, uint32_t stream, uint32_t iteration, uint32_t key0, uint32_t key1,
                   uint32_t words[4][COUNTERS]) {
    uint32_t *c0 = words[0], *c1 = words[1], *c2 = words[2], *c3 = words[3];
    for (uint32_t i = 0; i < COUNTERS; i++) {
        c0[i] = group + i;
        c1[i] = row;
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

/* Threads share the rows. buffers: x, iteration, first_row, y, mask; sizes: rows, features, the key's two words,
   stream, and the largest word that drops; numbers: factor. */
KERNEL(dropout_forward) {
    const REAL *x = args->buffers[0], factor = (REAL)args->numbers[0];
    const uint32_t iteration = (uint32_t) * (const int64_t *)args->buffers[1];
    const uint32_t first_row = (uint32_t) * (const int64_t *)args->buffers[2];
    REAL *y = args->buffers[3];
    int8_t *mask = args->buffers[4];
    const int64_t features = args->sizes[1];
    const uint32_t key0 = (uint32_t)args->sizes[2], key1 = (uint32_t)args->sizes[3], stream = (uint32_t)args->sizes[4];
    const uint32_t dropped = (uint32_t)args->sizes[5];
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t n = first; n < last; n++)
        for (int64_t f = 0; f < features; f += 4 * COUNTERS) {
            uint32_t words[4][COUNTERS];
            philox((uint32_t)(f / 4), first_row + (uint32_t)n, stream, iteration, key0, key1, words);
            const int64_t at = n * features + f, some = mocha_min(4 * COUNTERS, features - f);
            for (int64_t i = 0; i < some; i++) mask[at + i] = words[i % 4][i / 4] > dropped;
            for (int64_t i = 0; i < some; i++) y[at + i] = mask[at + i] ? x[at + i] * factor : 0;
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
