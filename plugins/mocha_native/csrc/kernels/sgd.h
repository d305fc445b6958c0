/* The update of stochastic gradient descent with momentum: one pass over w, g and the velocity. A value that is not
   finite does not stop the others, so that the result does not depend on the threads. */

#ifndef MOCHA_SGD_H
#define MOCHA_SGD_H

#define KERNELS(K) \
    K(update_status) \
    K(sgd_forward)

#endif

/* Copies the status before an update may set it. buffers: status, its copy. */
KERNEL(update_status) {
    UNUSED(team);
    *(int32_t *)args->buffers[1] = *(const int32_t *)args->buffers[0];
}

/* The penalty's gradient is decay * w for L2, and sparsity * sign(w) for L1; the other number is 0. */
typedef struct {
    REAL rate, momentum, decay, sparsity;
    int32_t fault;
} TYPED(sgd_rule);

/* Updates the first `some` elements of a vector, but if there is a fault none that is not finite. The result is 0 where
   the new value is finite, else NaN. */
ALWAYS_INLINE VEC TYPED(sgd_vector)(const TYPED(sgd_rule) *rule, REAL *w, const REAL *g, REAL *velocity, int64_t some) {
    const VEC old = TYPED(load_some)(w, some), before = TYPED(load_some)(velocity, some);
    VEC gradient = TYPED(load_some)(g, some) + rule->decay * old;
    if (rule->sparsity != 0) {
        const VEC sign = TYPED(choose)(old > 0, TYPED(splat)(1), TYPED(choose)(old < 0, TYPED(splat)(-1), old));
        gradient += rule->sparsity * sign;
    }
    VEC after = rule->momentum * before + rule->rate * gradient, moved = old - after;
    const VEC poison = moved * 0;
    if (rule->fault) {
        after = TYPED(choose)(poison == 0, after, before);
        moved = TYPED(choose)(poison == 0, moved, old);
    }
    TYPED(store_some)(velocity, after, some);
    TYPED(store_some)(w, moved, some);
    return poison;
}

/* buffers: w, g, velocity, learning rate, momentum, status, and the status before; sizes: rows, columns, elements from
   a row of w to the next, and of g, fault (0: no check); numbers: the learning rate's multiplier, decay, sparsity. */
KERNEL(sgd_forward) {
    if (*(const int32_t *)args->buffers[6] != 0) return;
    const double *numbers = args->numbers;
    const REAL rate = (REAL)((double)*(const REAL *)args->buffers[3] * numbers[0]);
    const TYPED(sgd_rule) rule = {rate, *(const REAL *)args->buffers[4], (REAL)numbers[1], (REAL)numbers[2],
                           (int32_t)args->sizes[4]};
    int64_t first = 0, last = args->sizes[1];
    if (team->size > 1) mocha_share(last, GRAIN, team, &first, &last);
    const int64_t rows = args->sizes[0], row = args->sizes[2], g_row = args->sizes[3];
    REAL *w = args->buffers[0], *velocity = args->buffers[2];
    const REAL *g = args->buffers[1];
    VEC poison = (VEC){0};
    for (int64_t r = 0; r < rows; r++, w += row, velocity += row, g += g_row) {
        int64_t i = first;
        for (; i + LANES <= last; i += LANES) poison += TYPED(sgd_vector)(&rule, w + i, g + i, velocity + i, LANES);
        if (i < last) poison += TYPED(sgd_vector)(&rule, w + i, g + i, velocity + i, last - i);
    }
    if (rule.fault && !(TYPED(sum)(poison) == 0)) __atomic_store_n((int32_t *)args->buffers[5], rule.fault, __ATOMIC_RELAXED);
}
