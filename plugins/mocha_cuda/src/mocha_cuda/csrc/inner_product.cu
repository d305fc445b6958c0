/* What cuBLASLt does in the same launch as a product, for where it does not. */

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
