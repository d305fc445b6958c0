/* Gathers minibatches of a data set on the device, if the program does not do so in program.cu. */

#include "rows.cuh"

KERNEL(gather_forward)
(const REAL *table, const long long *rows, REAL *y, int *labels, int *status, int n, int size, int there, int fault) {
    const struct gathering g = {table, y, labels, n, size, there, fault};
    gather(g, rows, status, (long long)blockIdx.x * THREADS + threadIdx.x, (long long)gridDim.x * THREADS);
}
