/* Adam and Swish as mocha-native would have them in C: the yardstick of benchmarks/traced.py. They are compiled as
   families of csrc/kernels are, with their vectors and flags. */

#ifndef TRACED_KERNELS_H
#define TRACED_KERNELS_H

#define KERNELS(K) \
    K(adam) \
    K(swish_forward) \
    K(swish_backward)

#endif

/* buffers: w, g, mean, square, learning rate, iteration, status; sizes: elements, fault; numbers: beta1, beta2, epsilon.
   As in sgd.h, an element that is not finite is not written. */
KERNEL(adam) {
    REAL *w = args->buffers[0], *mean = args->buffers[2], *square = args->buffers[3];
    const REAL *g = args->buffers[1];
    if (*(const int32_t *)args->buffers[6] != 0) return;
    const double t = (double)*(const int64_t *)args->buffers[5] + 1, beta1 = args->numbers[0], beta2 = args->numbers[1];
    const REAL rate = (REAL)(*(const REAL *)args->buffers[4] / (1 - pow(beta1, t)));
    const REAL root = (REAL)(1 / (1 - pow(beta2, t))), epsilon = (REAL)args->numbers[2];
    const REAL b1 = (REAL)beta1, c1 = (REAL)(1 - beta1), b2 = (REAL)beta2, c2 = (REAL)(1 - beta2);
    int64_t first, last;
    mocha_share(args->sizes[0], GRAIN, team, &first, &last);
    VEC poison = {0};
    for (int64_t i = first; i < last; i += LANES) {
        const int64_t some = last - i;
        const VEC slope = TYPED(load_some)(g + i, some), old = TYPED(load_some)(w + i, some);
        const VEC m = TYPED(load_some)(mean + i, some), v = TYPED(load_some)(square + i, some);
        VEC new_m = b1 * m + c1 * slope, new_v = b2 * v + c2 * slope * slope, roots = new_v * root;
        REAL parts[LANES];
        TYPED(store)(parts, roots);
        for (int k = 0; k < LANES; k++) parts[k] = SQRT(parts[k]);
        VEC new_w = old - rate * new_m / (TYPED(load)(parts) + epsilon);
        const VEC bad = new_w * 0 + new_m * 0 + new_v * 0;
        poison += bad;
        TYPED(store_some)(w + i, TYPED(choose)(bad == 0, new_w, old), some);
        TYPED(store_some)(mean + i, TYPED(choose)(bad == 0, new_m, m), some);
        TYPED(store_some)(square + i, TYPED(choose)(bad == 0, new_v, v), some);
    }
    if (!(TYPED(sum)(poison) == 0)) __atomic_store_n((int32_t *)args->buffers[6], (int32_t)args->sizes[1], __ATOMIC_RELAXED);
}

/* buffers: x, y; sizes: elements; numbers: beta. */
KERNEL(swish_forward) {
    const REAL *x = args->buffers[0], beta = (REAL)args->numbers[0];
    REAL *y = args->buffers[1];
    int64_t first, last;
    mocha_share(args->sizes[0], GRAIN, team, &first, &last);
    for (int64_t i = first; i < last; i += LANES) {
        const VEC v = TYPED(load_some)(x + i, last - i);
        TYPED(store_some)(y + i, v / (1 + TYPED(exponential)(-beta * v)), last - i);
    }
}

/* buffers: dy, x, dx; sizes: elements; numbers: beta. */
KERNEL(swish_backward) {
    const REAL *dy = args->buffers[0], *x = args->buffers[1], beta = (REAL)args->numbers[0];
    REAL *dx = args->buffers[2];
    int64_t first, last;
    mocha_share(args->sizes[0], GRAIN, team, &first, &last);
    for (int64_t i = first; i < last; i += LANES) {
        const VEC v = TYPED(load_some)(x + i, last - i), s = 1 / (1 + TYPED(exponential)(-beta * v));
        const VEC slope = s + beta * v * s * (1 - s);
        TYPED(store_some)(dx + i, TYPED(load_some)(dy + i, last - i) * slope, last - i);
    }
}
