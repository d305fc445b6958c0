/* What a program does between its kernels: nothing of it asks the host. */

#include "mocha.cuh"

/* A cell, its values for each minibatch side by side, and the ints (4 bytes) of one. */
struct column {
    int *cell;
    const int *values;
    long long ints;
};

/* A fault stands in the status cell. What comes after it repeats the minibatch that it was found in and counts for
   nothing, so that the host finds that minibatch's values when it looks. Without a status cell there are no faults. */
static __device__ inline bool failed(const int *status) { return status && *status; }

/* Before a minibatch: every scheduled cell gets its value. One block. columns: (n, 3) as 64-bit numbers;
   progress: minibatches begun, iterations done. */
KERNEL(begin_minibatch)(const unsigned long long *columns, int n, const int *status, const int *progress) {
    const struct column *column = reinterpret_cast<const struct column *>(columns);
    if (failed(status)) return;
    for (int c = 0; c < n; c++)
        for (long long i = threadIdx.x; i < column[c].ints; i += blockDim.x)
            column[c].cell[i] = column[c].values[progress[0] * column[c].ints + i];
}

/* After a minibatch: its objective, if there is one, goes into the ring. One thread. */
KERNEL(end_minibatch)(const REAL *objective, double *objectives, const int *status, int *progress) {
    if (threadIdx.x || blockIdx.x) return;
    if (objective) objectives[progress[0]] = *objective;
    if (!failed(status)) progress[0]++;
}

/* After an iteration. One thread. */
KERNEL(end_iteration)(const int *status, int *progress) {
    if (threadIdx.x == 0 && blockIdx.x == 0 && !failed(status)) progress[1]++;
}

/* An upload that has arrived beside its target, as ints (4 bytes). */
KERNEL(copy_unless_failed)(const int *status, const int *source, int *target, int ints) {
    if (failed(status)) return;
    FOR_EACH(i, ints) target[i] = source[i];
}
