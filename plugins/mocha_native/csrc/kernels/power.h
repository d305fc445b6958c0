/* A power of a linear function. */

#ifndef MOCHA_POWER_H
#define MOCHA_POWER_H

#define KERNELS(K) \
    K(power_forward) \
    K(power_backward)

#endif

static inline REAL TYPED(raised)(REAL x, REAL power) {
    if (power == 0) return 1;
    if (power == 1) return x;
    if (power == 2) return x * x;
    return POW(x, power);
}

/* buffers: x, y; sizes: elements; numbers: scale, shift, power. */
KERNEL(power_forward) {
    const REAL *x = args->buffers[0];
    REAL *y = args->buffers[1];
    const REAL scale = (REAL)args->numbers[0], shift = (REAL)args->numbers[1], power = (REAL)args->numbers[2];
    int64_t first, last;
    mocha_share(args->sizes[0], GRAIN, team, &first, &last);
    for (int64_t i = first; i < last; i++) y[i] = TYPED(raised)(scale * x[i] + shift, power);
}

/* buffers: dy, x, dx; sizes: elements, whether it is added; numbers: as in forward. A constant has no gradient, even
   where the formula would say zero times infinity. */
KERNEL(power_backward) {
    const REAL *dy = args->buffers[0], *x = args->buffers[1];
    REAL *dx = args->buffers[2];
    const REAL scale = (REAL)args->numbers[0], shift = (REAL)args->numbers[1], power = (REAL)args->numbers[2];
    const REAL factor = (REAL)(args->numbers[2] * args->numbers[0]);
    int64_t first, last;
    mocha_share(args->sizes[0], GRAIN, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const REAL slope = factor == 0 ? 0 : dy[i] * factor * TYPED(raised)(scale * x[i] + shift, power - 1);
        dx[i] = slope + (args->sizes[1] ? dx[i] : 0);
    }
}
