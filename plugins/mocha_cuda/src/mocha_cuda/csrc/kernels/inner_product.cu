/* Replacements for epilogues that cuBLASLt does not serve, and backward of a narrow product. */

#include "mocha.cuh"

/* y (rows, outputs) = max(floor, y + bias), n elements; NaN stays NaN. */
KERNEL(add_bias)(const REAL *bias, REAL *y, int n, int outputs, double floor) {
    FOR_EACH(i, n) {
        const REAL value = y[i] + bias[i % outputs];
        y[i] = value <= (REAL)floor ? (REAL)floor : value;
    }
}

/* db (outputs) = the sum of dy's rows (rows, outputs). A block has a warp's width of outputs; each of its warps sums
   every eighth row. */
KERNEL(bias_gradient)(const REAL *dy, REAL *db, int rows, int outputs, int add) {
    __shared__ REAL sums[THREADS];
    const int warp = threadIdx.x / WARP;
    const long long output = (long long)blockIdx.x * WARP + threadIdx.x % WARP;
    REAL sum = 0;
    if (output < outputs)
        for (int row = warp; row < rows; row += THREADS / WARP) sum += dy[(long long)row * outputs + output];
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (warp == 0 && output < outputs) {
        for (int i = WARP; i < THREADS; i += WARP) sum += sums[threadIdx.x + i];
        give(db + output, sum, add);
    }
}

/* The most outputs of a narrow product, all of which an element of dx reads at once; and the outputs for which a block
   computes dw. */
#define NARROW 16
#define CHUNK 4

/* All threads of a block compute a part of dw (outputs, features) = dy' x: as many features from `column` on as a warp
   has threads, and CHUNK outputs from `output` on. A bias is the weight of one more feature, which is 1 in every row.
   Each warp sums every eighth row. */
static __device__ inline void weight_gradients(const REAL *dy, const REAL *x, REAL *dw, REAL *db, int rows,
                                               int features, int outputs, int column, int output, bool add_dw,
                                               bool add_db) {
    __shared__ REAL sums[CHUNK][THREADS];
    const int warp = threadIdx.x / WARP, last = outputs - 1;
    column += threadIdx.x % WARP;
    const bool is_weight = column < features, there = is_weight || (db && column == features);
    REAL sum[CHUNK] = {};
    if (there) {
#pragma unroll 4
        for (int row = warp; row < rows; row += THREADS / WARP) {
            const REAL value = is_weight ? x[row * features + column] : 1;
#pragma unroll
            for (int i = 0; i < CHUNK; i++) sum[i] += dy[row * outputs + min(output + i, last)] * value;
        }
    }
    __syncthreads(); /* the last sums have been read */
#pragma unroll
    for (int i = 0; i < CHUNK; i++) sums[i][threadIdx.x] = sum[i];
    __syncthreads();
    output += warp;
    if (there && warp < CHUNK && output < outputs) {
        REAL total = 0;
#pragma unroll
        for (int i = threadIdx.x % WARP; i < THREADS; i += WARP) total += sums[warp][i];
        if (is_weight)
            give(dw + output * features + column, total, add_dw);
        else
            give(db + output, total, add_db);
    }
}

/* Element i of dx (rows, features) = dy w; 0 where there is a `mask` that is not above the floor. No load depends on
   another, so that all of them are under way at once. */
static __device__ inline void data_gradient(const REAL *dy, const REAL *w, const REAL *mask, REAL *dx, int i,
                                            int features, int outputs, REAL floor, bool add) {
    const int row = i / features, column = i - row * features;
    const bool counts = !mask || mask[i] > floor;
    REAL sum = 0;
#pragma unroll
    for (int o = 0; o < NARROW; o++) {
        const REAL gradient = o < outputs ? dy[row * outputs + o] : 0;
        const REAL weight = o < outputs ? w[o * features + column] : 0;
        sum += gradient * weight;
    }
    give(dx + i, counts ? sum : 0, add);
}

/* All gradients of a product of at most NARROW outputs; unwanted ones are NULL. Each block takes one piece of
   the work after the other: first those of dw and db, which take longest, then those of dx, THREADS elements each. */
KERNEL(narrow_backward)(const REAL *__restrict__ dy, const REAL *__restrict__ x, const REAL *__restrict__ w,
                        const REAL *__restrict__ mask, REAL *__restrict__ dx, REAL *__restrict__ dw,
                        REAL *__restrict__ db, int rows, int features, int outputs, double floor, int add_dx,
                        int add_dw, int add_db) {
    const int begin = dw ? 0 : features, chunks = (outputs + CHUNK - 1) / CHUNK;
    const int of_weights = (features - begin + (db ? 1 : 0) + WARP - 1) / WARP * chunks;
    const int n = dx ? rows * features : 0, pieces = of_weights + (n + THREADS - 1) / THREADS;
    for (int piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
        if (piece < of_weights) {
            const int column = begin + piece / chunks * WARP, output = piece % chunks * CHUNK;
            weight_gradients(dy, x, dw, db, rows, features, outputs, column, output, add_dw, add_db);
        } else {
            const int i = (piece - of_weights) * THREADS + threadIdx.x;
            if (i < n) data_gradient(dy, w, mask, dx, i, features, outputs, (REAL)floor, add_dx);
        }
    }
}
