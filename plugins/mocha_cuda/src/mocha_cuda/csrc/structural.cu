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

/* Class indices as ints; what is not a whole number of that size is a fault, and 0. */
KERNEL(labels_forward)(const REAL *x, int *status, int *labels, int n, int fault) {
    FOR_EACH(i, n) {
        /* False for NaN as well; a number of this size can be cast. */
        const bool small = x[i] > (REAL)-2147483648.0 && x[i] < (REAL)2147483648.0;
        const int label = small ? (int)x[i] : 0;
        const bool whole = small && (REAL)label == x[i];
        labels[i] = whole ? label : 0;
        if (!whole) report(status, fault);
    }
}

KERNEL(check_finite_forward)(const REAL *x, int *status, int n, int fault) {
    FOR_EACH(i, n) if (!isfinite(x[i])) report(status, fault);
}

KERNEL(fill_forward)(REAL *x, int n, double number) {
    FOR_EACH(i, n) x[i] = (REAL)number;
}

/* Rows, of `size` elements, of a table that has `there` rows. What it does not have is zero. */
KERNEL(gather_forward)(const REAL *table, const long long *rows, REAL *y, int n, int size, int there) {
    FOR_EACH(i, n) {
        const long long row = rows[(int)i / size];
        y[i] = row >= 0 && row < there ? table[row * size + (int)i % size] : 0;
    }
}
