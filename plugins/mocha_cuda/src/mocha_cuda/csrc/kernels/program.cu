/* The kernels of a program before and after its minibatches. None of them waits for the host. */

#include "rows.cuh"

/* A cell, its values for all minibatches side by side, and the number of ints (4 bytes) of one value. For a cell
   without such values, they are the cell itself, and the number is 0. */
struct column {
    int *cell;
    const int *values;
    long long ints;
};

/* Rows that a minibatch begins with. Their numbers are in a column. `blocks` of the grid gather them, from number
   `first_block` on. */
struct part {
    struct gathering gathering;
    long long column, first_block, blocks;
};

/* Whether there is a fault in the status cell. After a fault the device repeats its minibatch without counting it, so
   that the host finds the values of that minibatch. Without a status cell there are no faults. */
static __device__ inline bool failed(const int *status) { return status && *status; }

/* Runs before a minibatch. Some blocks set cells to their values; the others gather rows, and read the numbers of the
   rows from their column, so that they need not wait for the cell. columns: (n, 3), parts: (m, 10), of 64-bit numbers,
   whose blocks follow each other; progress: minibatches that came to their ends, iterations done. It does not read the
   status, which may change meanwhile. */
KERNEL(begin_minibatch)
(const unsigned long long *columns, int n, const unsigned long long *parts, int m, int *status, const int *progress) {
    const struct column *column = reinterpret_cast<const struct column *>(columns);
    const long long minibatch = progress[0];
    if ((int)blockIdx.x < n) {
        const struct column c = column[blockIdx.x];
        for (long long i = threadIdx.x; i < c.ints; i += THREADS) c.cell[i] = c.values[minibatch * c.ints + i];
    } else if (const struct part *part = of_block<struct part>(parts, m)) {
        const struct column rows = column[part->column];
        gather(part->gathering, reinterpret_cast<const long long *>(rows.values + minibatch * rows.ints), status,
               (blockIdx.x - part->first_block) * THREADS + threadIdx.x, part->blocks * THREADS);
    }
}

/* After a minibatch, or after the update that follows an iteration's last one: its objective, if there is one, goes into
   the ring. One thread. */
KERNEL(end_minibatch)(const REAL *objective, double *objectives, const int *status, int *progress, int iterations) {
    if (threadIdx.x || blockIdx.x) return;
    if (objective) objectives[progress[0]] = *objective;
    if (failed(status)) return;
    progress[0]++;
    progress[1] += iterations;
}

/* An upload that has arrived beside its target, as ints (4 bytes). */
KERNEL(copy_unless_failed)(const int *status, const int *source, int *target, int ints) {
    if (failed(status)) return;
    FOR_EACH(i, ints) target[i] = source[i];
}
