/* A power of a linear function: y = (scale * x + shift)**power. */

#include "mocha.cuh"

static __device__ inline REAL raised(REAL x, REAL power) {
    if (power == 0) return 1;
    if (power == 1) return x;
    if (power == 2) return x * x;
    return pow(x, power);
}

KERNEL(power_forward)(const REAL *x, REAL *y, int n, double scale, double shift, double power) {
    FOR_EACH(i, n) y[i] = raised((REAL)scale * x[i] + (REAL)shift, (REAL)power);
}

/* dx = dy * power * scale * (scale * x + shift)**(power - 1). A constant has no gradient, even if the formula gives
   zero times infinity. */
KERNEL(power_backward)
(const REAL *dy, const REAL *x, REAL *dx, int n, double scale, double shift, double power, int add) {
    const REAL factor = (REAL)(power * scale);
    FOR_EACH(i, n) {
        const REAL base = (REAL)scale * x[i] + (REAL)shift;
        give(dx + i, factor == 0 ? 0 : dy[i] * factor * raised(base, (REAL)power - 1), add);
    }
}
