/* The ops of the core: they move, sum and check values. */

#include "mocha.cuh"

/* A row of the table of an objective, of 64-bit numbers. */
struct term {
    REAL *loss; /* backward: its gradient, or NULL */
    double weight;
    long long add;
};

/* The weighted sum of the losses, and its gradients. One thread. table: (n, 3). */
KERNEL(objective_forward)(const unsigned long long *table, int n, REAL *objective) {
    const struct term *term = reinterpret_cast<const struct term *>(table);
    if (threadIdx.x || blockIdx.x) return;
    REAL sum = 0;
    for (int i = 0; i < n; i++) sum += *term[i].loss * (REAL)term[i].weight;
    *objective = sum;
}

KERNEL(objective_backward)(const REAL *dy, const unsigned long long *table, int n) {
    const struct term *term = reinterpret_cast<const struct term *>(table);
    if (threadIdx.x || blockIdx.x) return;
    for (int i = 0; i < n; i++)
        if (term[i].loss) give(term[i].loss, *dy * (REAL)term[i].weight, term[i].add != 0);
}

KERNEL(check_finite_forward)(const REAL *x, int *status, int n, int fault) {
    FOR_EACH(i, n) if (!isfinite(x[i])) report(status, fault);
}

/* The source and target of a copy, its ints (4 bytes), and its blocks, from number `first_block` on. */
struct copied {
    const int *source;
    int *target;
    long long ints, first_block, blocks;
};

/* Copies values into others, unless there is a status and it is not 0. table: (n, 5), of 64-bit numbers, whose
   blocks follow each other. */
KERNEL(commit_forward)(const int *status, const unsigned long long *table, int n) {
    if (status && *status) return;
    const struct copied *row = of_block<struct copied>(table, n);
    for (long long i = (blockIdx.x - row->first_block) * THREADS + threadIdx.x; i < row->ints;
         i += row->blocks * THREADS)
        row->target[i] = row->source[i];
}

KERNEL(fill_forward)(REAL *x, int n, double number) { FOR_EACH(i, n) x[i] = (REAL)number; }
