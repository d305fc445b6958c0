/* Swish, y = x s, where s = 1 / (1 + exp(-beta x)); and Nesterov's update, v' = m v + lr g; w -= (1 + m) v' - m v. */

static inline MOCHA_REAL MOCHA_NAME(sigmoid)(MOCHA_REAL x) { return (MOCHA_REAL)(0.5 + 0.5 * tanh(0.5 * (double)x)); }

/* buffers: x, y, epilogue or NULL; sizes: elements; numbers: beta. */
MOCHA_KERNEL(swish_forward) {
    const MOCHA_REAL *x = args->buffers[0], beta = (MOCHA_REAL)args->numbers[0];
    MOCHA_REAL *y = args->buffers[1];
    int64_t first, last;
    mocha_share(args->sizes[0], 64, team, &first, &last);
    for (int64_t i = first; i < last; i++) y[i] = x[i] * MOCHA_NAME(sigmoid)(beta * x[i]);
    if (args->buffers[2]) mocha_epilogue(args->buffers[2], first, last - first, 1, 0);
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

/* buffers: w, g, velocity, learning rate, momentum, status, and the status before; sizes: rows, columns, elements from
   a row of w to the next, and of g, fault (0: no check); numbers: the learning rate's multiplier, decay, sparsity. */
MOCHA_KERNEL(nesterov_forward) {
    if (*(const int32_t *)args->buffers[6] != 0) return;
    MOCHA_REAL *w = args->buffers[0], *velocity = args->buffers[2];
    const MOCHA_REAL *g = args->buffers[1], m = *(const MOCHA_REAL *)args->buffers[4];
    const MOCHA_REAL rate = (MOCHA_REAL)(*(const MOCHA_REAL *)args->buffers[3] * args->numbers[0]);
    const MOCHA_REAL decay = (MOCHA_REAL)args->numbers[1], sparsity = (MOCHA_REAL)args->numbers[2];
    int64_t first, last;
    mocha_share(args->sizes[1], 64, team, &first, &last);
    for (int64_t row = 0; row < args->sizes[0]; row++) {
        for (int64_t i = first; i < last; i++) {
            const int64_t at = row * args->sizes[2] + i;
            const MOCHA_REAL old = w[at], sign = (MOCHA_REAL)((old > 0) - (old < 0));
            const MOCHA_REAL gradient = g[row * args->sizes[3] + i] + decay * old + sparsity * sign;
            const MOCHA_REAL next = m * velocity[at] + rate * gradient;
            const MOCHA_REAL moved = old - ((1 + m) * next - m * velocity[at]);
            if (args->sizes[4] && !(isfinite(moved) && isfinite(next))) {
                __atomic_store_n((int32_t *)args->buffers[5], (int32_t)args->sizes[4], __ATOMIC_RELAXED);
            } else {
                w[at] = moved;
                velocity[at] = next;
            }
        }
    }
}
