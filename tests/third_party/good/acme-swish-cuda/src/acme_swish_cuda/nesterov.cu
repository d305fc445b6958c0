/* v' = m v + lr g; w -= (1 + m) v' - m v. */

#include "update.cuh"

struct parameter {
    REAL *w;
    const REAL *g;
    REAL *velocity;
    double multiplier, decay, sparsity;
    long long elements, fault, first_block;
};

KERNEL(nesterov_forward)(const unsigned long long *table, int n, const REAL *rate, const REAL *momentum, int *status) {
    if (*status) return;
    const struct parameter p = row_of_block<struct parameter>(table, n);
    const REAL step = (REAL)(*rate * p.multiplier), m = *momentum;
    FOR_EACH_OF_ROW(i, p) {
        const REAL g = regularized(p.g[i], p.w[i], p.decay, p.sparsity);
        const REAL velocity = m * p.velocity[i] + step * g;
        const REAL moved = p.w[i] - ((1 + m) * velocity - m * p.velocity[i]);
        if (p.fault && !(isfinite(moved) && isfinite(velocity))) {
            report(status, (int)p.fault);
        } else {
            p.w[i] = moved;
            p.velocity[i] = velocity;
        }
    }
}
