/* What a program does between its kernels: nothing of it asks the host. */

#include "rows.cuh"

/* A cell, its values for each minibatch side by side, and the ints (4 bytes) of one. A cell without such values has
   itself for them, and 0 ints. */
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

/* A fault stands in the status cell. What comes after it repeats the minibatch that it was found in and counts for
   nothing, so that the host finds that minibatch's values when it looks. Without a status cell there are no faults. */
static __device__ inline bool failed(const int *status) { return status && *status; }

/* A state or statistic that a minibatch changes, and how it was before. */
struct lasting {
    int *now, *before;
    long long ints;
};

/* Before a minibatch, each in blocks of its own: cells get their values; what lasts is kept, or as it was before if the
   minibatch is repeated; and rows are gathered, for which nobody has to wait for the cell with their numbers.
   columns: (n, 3), lasts: (l, 3), parts: (m, 10), as 64-bit numbers; progress: minibatches that came to their ends,
   iterations done, whether the last minibatch had a fault. The status may change meanwhile, so that is not asked. */
KERNEL(begin_minibatch)
(const unsigned long long *columns, int n, const unsigned long long *lasts, int l, const unsigned long long *parts,
 int m, int *status, const int *progress) {
    const struct column *column = reinterpret_cast<const struct column *>(columns);
    const long long block = blockIdx.x, minibatch = progress[0];
    if (block < n) {
        const struct column c = column[block];
        for (long long i = threadIdx.x; i < c.ints; i += THREADS) c.cell[i] = c.values[minibatch * c.ints + i];
    } else if (block < n + l) {
        const struct lasting state = reinterpret_cast<const struct lasting *>(lasts)[block - n];
        int *from = progress[2] ? state.before : state.now, *to = progress[2] ? state.now : state.before;
        for (long long i = threadIdx.x; i < state.ints; i += THREADS) to[i] = from[i];
    } else if (m > 0) {
        const struct part *part = reinterpret_cast<const struct part *>(parts) + m - 1;
        while (part->first_block > block) part--;
        const struct column rows = column[part->column];
        gather(part->gathering, reinterpret_cast<const long long *>(rows.values + minibatch * rows.ints), status,
               (block - part->first_block) * THREADS + threadIdx.x, part->blocks * THREADS);
    }
}

/* After a minibatch, or after the update that follows an iteration's last one: its objective, if there is one, goes into
   the ring. One thread. */
KERNEL(end_minibatch)(const REAL *objective, double *objectives, const int *status, int *progress, int iterations) {
    if (threadIdx.x || blockIdx.x) return;
    if (objective) objectives[progress[0]] = *objective;
    progress[2] = failed(status);
    if (progress[2]) return;
    progress[0]++;
    progress[1] += iterations;
}

/* An upload that has arrived beside its target, as ints (4 bytes). */
KERNEL(copy_unless_failed)(const int *status, const int *source, int *target, int ints) {
    if (failed(status)) return;
    FOR_EACH(i, ints) target[i] = source[i];
}
