/* Clips any number of gradients in place, in one launch. */

#include "block_sums.cuh"
#include "tables.cuh"

/* The number of elements of a gradient in a block. */
#define TILE (16 * THREADS)

/* A row of the table, of 64-bit numbers: a gradient. */
struct gradient {
    REAL *g;
    long long elements, first_block;
};

/* The first and the last element of this block's share, for this thread. */
#define FOR_TILE(i, gradient) \
    for (long long tile = (blockIdx.x - (gradient).first_block) * TILE, i = tile + threadIdx.x; \
         i < min(tile + TILE, (gradient).elements); i += THREADS)

/* The root of the sum of all squares, in double, where the square of no float overflows. table: (n, 3); parts: one for
   each block. */
KERNEL(clip_norm_squares)(const unsigned long long *table, int n, double *norm, double *parts, unsigned *ticket) {
    const struct gradient of = row_of_block<struct gradient>(table, n);
    double squares = 0;
    FOR_TILE(i, of) squares += (double)of.g[i] * (double)of.g[i];
    if (sum_of_blocks(squares, parts, ticket, blockIdx.x, gridDim.x) && threadIdx.x == 0) *norm = sqrt(squares);
}

/* Scales all gradients by limit / norm if the norm exceeds the limit and is finite. table: (n, 3). */
KERNEL(clip_norm_forward)(const unsigned long long *table, int n, const double *norm, double limit) {
    if (!(*norm > limit) || !isfinite(*norm)) return;
    const REAL scale = (REAL)(limit / *norm);
    const struct gradient of = row_of_block<struct gradient>(table, n);
    FOR_TILE(i, of) of.g[i] *= scale;
}

/* Limits each element to [-limit, limit]; elements that are not finite stay. table: (n, 3). */
KERNEL(clip_value_forward)(const unsigned long long *table, int n, double limit) {
    const REAL top = (REAL)limit;
    const struct gradient of = row_of_block<struct gradient>(table, n);
    FOR_TILE(i, of) {
        const REAL x = of.g[i];
        if (isfinite(x)) of.g[i] = x > top ? top : x < -top ? -top : x;
    }
}
