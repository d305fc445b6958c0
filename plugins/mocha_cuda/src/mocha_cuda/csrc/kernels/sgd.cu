/* The update of stochastic gradient descent with momentum, of any number of parameters in one launch. */

#include "update.cuh"

/* A row of the table, of 64-bit numbers: a parameter. */
struct update {
    REAL *w;
    const REAL *g;
    REAL *velocity;
    double multiplier, decay, sparsity;
    long long elements, fault, first_block;
};

/* velocity = momentum * velocity + rate * multiplier * (g + penalty); w -= velocity. table: (n, 9); the grid has the
   blocks of all parameters. A value that is not finite is not written, and sets the status. A finite value is written,
   unless its thread already sees the status. */
KERNEL(sgd_forward)(const unsigned long long *table, int n, const REAL *rate, const REAL *momentum, int *status) {
    if (*status) return;
    const struct update u = row_of_block<struct update>(table, n);
    const REAL step = (REAL)(*rate * u.multiplier), kept = *momentum;
    FOR_EACH_OF_ROW(i, u) {
        const REAL w = u.w[i], gradient = regularized(u.g[i], w, u.decay, u.sparsity);
        const REAL velocity = kept * u.velocity[i] + step * gradient, moved = w - velocity;
        if (u.fault && !isfinite(moved)) {
            report(status, (int)u.fault);
        } else {
            u.w[i] = moved;
            u.velocity[i] = velocity;
        }
    }
}
