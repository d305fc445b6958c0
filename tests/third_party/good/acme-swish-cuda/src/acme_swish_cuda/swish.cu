/* y = x s, where s = 1 / (1 + exp(-beta x)). */

#include "mocha.cuh"

static __device__ inline REAL sigmoid(REAL x) { return (REAL)0.5 + (REAL)0.5 * tanh((REAL)0.5 * x); }

KERNEL(swish_forward)(const REAL *x, REAL *y, int n, double beta) {
    FOR_EACH(i, n) y[i] = x[i] * sigmoid((REAL)beta * x[i]);
}

KERNEL(swish_backward)(const REAL *dy, const REAL *x, REAL *dx, int n, double beta, int add) {
    FOR_EACH(i, n) {
        const REAL s = sigmoid((REAL)beta * x[i]);
        give(dx + i, dy[i] * (s + (REAL)beta * x[i] * s * (1 - s)), add);
    }
}
