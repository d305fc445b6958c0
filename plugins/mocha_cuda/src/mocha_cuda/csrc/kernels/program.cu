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

/* A state or statistic that a minibatch changes, how it was before, and the blocks that copy it. */
struct lasting {
    int *now, *before;
    long long ints, first_block, blocks;
};

/* The row of a table whose blocks this one is among, or NULL if the table's begin later. */
template <class T> static __device__ inline const T *of_block(const unsigned long long *table, int rows) {
    const T *row = reinterpret_cast<const T *>(table);
    if (rows == 0 || row->first_block > blockIdx.x) return NULL;
    row += rows - 1;
    while (row->first_block > blockIdx.x) row--;
    return row;
}

/* Before a minibatch, each in blocks of its own: cells get their values; what lasts is kept, or as it was before if the
   minibatch is repeated; and rows are gathered, for which nobody has to wait for the cell with their numbers.
   columns: (n, 3), lasts: (l, 5), parts: (m, 10), as 64-bit numbers, whose blocks follow each other; progress:
   minibatches that came to their ends, iterations done, whether the last minibatch had a fault. The status may change
   meanwhile, so that is not asked. */
KERNEL(begin_minibatch)
(const unsigned long long *columns, int n, const unsigned long long *lasts, int l, const unsigned long long *parts,
 int m, int *status, const int *progress) {
    const struct column *column = reinterpret_cast<const struct column *>(columns);
    const long long minibatch = progress[0];
    if ((int)blockIdx.x < n) {
        const struct column c = column[blockIdx.x];
        for (long long i = threadIdx.x; i < c.ints; i += THREADS) c.cell[i] = c.values[minibatch * c.ints + i];
    } else if (const struct part *part = of_block<struct part>(parts, m)) {
        const struct column rows = column[part->column];
        gather(part->gathering, reinterpret_cast<const long long *>(rows.values + minibatch * rows.ints), status,
               (blockIdx.x - part->first_block) * THREADS + threadIdx.x, part->blocks * THREADS);
    } else if (const struct lasting *state = of_block<struct lasting>(lasts, l)) {
        const int *from = progress[2] ? state->before : state->now;
        int *to = progress[2] ? state->now : state->before;
        const long long first = (blockIdx.x - state->first_block) * THREADS + threadIdx.x;
        for (long long i = first; i < state->ints; i += state->blocks * THREADS) to[i] = from[i];
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
