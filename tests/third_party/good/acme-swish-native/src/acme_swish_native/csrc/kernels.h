/* y = x s, where s = 1 / (1 + exp(-beta x)). */

static inline MOCHA_REAL MOCHA_NAME(sigmoid)(MOCHA_REAL x) { return (MOCHA_REAL)(0.5 + 0.5 * tanh(0.5 * (double)x)); }

/* buffers: x, y; sizes: elements; numbers: beta. */
MOCHA_KERNEL(swish_forward) {
    const MOCHA_REAL *x = args->buffers[0], beta = (MOCHA_REAL)args->numbers[0];
    MOCHA_REAL *y = args->buffers[1];
    int64_t first, last;
    mocha_share(args->sizes[0], 64, team, &first, &last);
    for (int64_t i = first; i < last; i++) y[i] = x[i] * MOCHA_NAME(sigmoid)(beta * x[i]);
}

/* buffers: dy, x, dx; sizes: elements, whether to add; numbers: beta. */
MOCHA_KERNEL(swish_backward) {
    const MOCHA_REAL *dy = args->buffers[0], *x = args->buffers[1], beta = (MOCHA_REAL)args->numbers[0];
    MOCHA_REAL *dx = args->buffers[2];
    int64_t first, last;
    mocha_share(args->sizes[0], 64, team, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const MOCHA_REAL s = MOCHA_NAME(sigmoid)(beta * x[i]), slope = s + beta * x[i] * s * (1 - s);
        dx[i] = dy[i] * slope + (args->sizes[1] ? dx[i] : 0);
    }
}
