/* The update of stochastic gradient descent with momentum, of any number of parameters in one launch. */

#include "tables.cuh"

/* The number of elements of a parameter that a block updates. */
#define TILE (4 * THREADS)

/* A row of the table, of 64-bit numbers: a parameter. Its penalty's gradient is decay * w (L2) or sparsity * sign(w)
   (L1). Its first block follows the last one of the parameter before. Fault 0: new values are not checked. */
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
    const REAL decay = (REAL)u.decay, sparsity = (REAL)u.sparsity;
    const long long begin = (blockIdx.x - u.first_block) * TILE, end = min(begin + TILE, u.elements);
    for (long long i = begin + threadIdx.x; i < end; i += THREADS) {
        const REAL w = u.w[i];
        /* NaN has itself as its sign, as in NumPy. */
        const REAL sign = w > 0 ? 1 : w < 0 ? -1 : w;
        REAL gradient = u.g[i];
        if (decay != 0) gradient += decay * w;
        if (sparsity != 0) gradient += sparsity * sign;
        const REAL velocity = kept * u.velocity[i] + step * gradient, moved = w - velocity;
        if (u.fault && !isfinite(moved)) {
            report(status, (int)u.fault);
        } else {
            u.w[i] = moved;
            u.velocity[i] = velocity;
        }
    }
}
