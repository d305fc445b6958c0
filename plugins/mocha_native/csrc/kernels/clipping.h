/* Clips gradients in place. Threads share chunks of them, so that sums do not depend on the number of threads. */

#ifndef MOCHA_CLIPPING_H
#define MOCHA_CLIPPING_H

#define KERNELS(K) \
    K(clip_norm_squares) \
    K(clip_norm_forward) \
    K(clip_value_forward)
#define CONSTANTS(C) C(clip_chunk, CLIP_CHUNK)
#define CLIP_CHUNK 16384 /* elements, at most */
#define CLIP_SUMS 32     /* side by side */

#endif

typedef struct {
    REAL *g;
    int64_t elements;
} TYPED(clip_chunk);

/* In double, because no square of a float overflows there. */
static double TYPED(clip_squares)(const REAL *g, int64_t n) {
    double sums[CLIP_SUMS] = {0}, total = 0;
    int64_t i = 0;
    for (; i + CLIP_SUMS <= n; i += CLIP_SUMS)
        for (int64_t j = 0; j < CLIP_SUMS; j++) sums[j] += (double)g[i + j] * (double)g[i + j];
    for (int64_t j = 0; i + j < n; j++) sums[j] += (double)g[i + j] * (double)g[i + j];
    for (int64_t j = 0; j < CLIP_SUMS; j++) total += sums[j];
    return total;
}

/* buffers: chunks, their sums of squares (double); sizes: chunks. */
KERNEL(clip_norm_squares) {
    const TYPED(clip_chunk) *chunks = args->buffers[0];
    double *squares = args->buffers[1];
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t c = first; c < last; c++) squares[c] = TYPED(clip_squares)(chunks[c].g, chunks[c].elements);
}

/* Every thread adds all sums, in their order. buffers: chunks, sums of squares, norm (double); sizes: chunks;
   numbers: the limit. A norm that is not finite changes nothing. */
KERNEL(clip_norm_forward) {
    const TYPED(clip_chunk) *chunks = args->buffers[0];
    const double *squares = args->buffers[1], limit = args->numbers[0];
    double total = 0;
    for (int64_t c = 0; c < args->sizes[0]; c++) total += squares[c];
    const double norm = sqrt(total);
    if (team->rank == 0) *(double *)args->buffers[2] = norm;
    if (!(norm > limit) || norm - norm != 0) return;
    const REAL scale = (REAL)(limit / norm);
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t c = first; c < last; c++) {
        REAL *g = chunks[c].g;
        for (int64_t i = 0; i < chunks[c].elements; i++) g[i] *= scale;
    }
}

/* buffers: chunks; sizes: chunks; numbers: the limit. Elements that are not finite stay. */
KERNEL(clip_value_forward) {
    const TYPED(clip_chunk) *chunks = args->buffers[0];
    const REAL limit = (REAL)args->numbers[0];
    int64_t first, last;
    mocha_share(args->sizes[0], 1, team, &first, &last);
    for (int64_t c = first; c < last; c++) {
        REAL *g = chunks[c].g;
        for (int64_t i = 0; i < chunks[c].elements; i++) {
            const REAL x = g[i], clipped = x > limit ? limit : x < -limit ? -limit : x;
            g[i] = x - x == 0 ? clipped : x;
        }
    }
}
