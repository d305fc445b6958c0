/* What a program does between its kernels: nothing of it asks the host. */

#include "mocha.cuh"

/* A cell, its values for each minibatch side by side, and the ints (4 bytes) of one. */
struct column {
    int *cell;
    const int *values;
    long long ints;
};

/* Before a minibatch: every scheduled cell gets its value. One block. columns: (n, 3) as 64-bit numbers;
   progress: minibatches begun, iterations done. */
KERNEL(begin_minibatch)(const unsigned long long *columns, int n, const int *progress) {
    const struct column *column = reinterpret_cast<const struct column *>(columns);
    for (int c = 0; c < n; c++)
        for (long long i = threadIdx.x; i < column[c].ints; i += blockDim.x)
            column[c].cell[i] = column[c].values[progress[0] * column[c].ints + i];
}

/* After a minibatch: its objective, if there is one, goes into the ring. One thread. */
KERNEL(end_minibatch)(const REAL *objective, double *objectives, int *progress) {
    if (threadIdx.x == 0 && blockIdx.x == 0) {
        if (objective) objectives[progress[0]] = *objective;
        progress[0]++;
    }
}

/* After an iteration: it is done unless something reported a fault. One thread. */
KERNEL(end_iteration)(const int *status, int *progress) {
    if (threadIdx.x == 0 && blockIdx.x == 0 && !(status && *status)) progress[1]++;
}
