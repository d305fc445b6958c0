/* The update of stochastic gradient descent with momentum: one pass over w, g and the velocity.

   for every block: new values, and whether all are finite, which decides whether the block is written.
   A block that is not finite keeps the others from nothing, so that what is written depends on no thread. */

#ifndef MOCHA_SGD_H
#define MOCHA_SGD_H

#define UPDATE_BLOCK 1024
#define KERNELS(K) K(sgd_forward)

#endif

/* The larger is the penalty's gradient: L2's is decay * w, L1's sparsity * sign(w).
   buffers: w, g, velocity, learning rate, momentum, status; sizes: elements, fault (0: no check); numbers: the learning
   rate's multiplier, decay, sparsity. */
KERNEL(sgd_forward) {
    REAL *w = args->buffers[0], *velocity = args->buffers[2];
    const REAL *g = args->buffers[1];
    int32_t *status = args->buffers[5];
    const REAL rate = (REAL)((double)*(const REAL *)args->buffers[3] * args->numbers[0]);
    const REAL momentum = *(const REAL *)args->buffers[4];
    const REAL decay = (REAL)args->numbers[1], sparsity = (REAL)args->numbers[2];
    const int32_t fault = (int32_t)args->sizes[1];
    const int valid = *status == 0;
    int64_t first, last;
    /* Nobody sets the status before everybody has read it. */
    mocha_meet(team);
    if (!valid) return;
    mocha_share(args->sizes[0], UPDATE_BLOCK, team, &first, &last);
    for (int64_t block = first; block < last; block += UPDATE_BLOCK) {
        const int64_t n = mocha_min(UPDATE_BLOCK, last - block);
        _Alignas(64) REAL new_w[UPDATE_BLOCK], new_velocity[UPDATE_BLOCK];
        IVEC bad = (IVEC){0};
        for (int64_t i = 0; i < n; i += LANES) {
            const int64_t at = block + i, some = n - i;
            const VEC old = TYPED(load_some)(w + at, some);
            VEC gradient = TYPED(load_some)(g + at, some) + decay * old;
            if (sparsity != 0) {
                const VEC sign = TYPED(choose)(old > 0, TYPED(splat)(1), TYPED(choose)(old < 0, TYPED(splat)(-1), old));
                gradient += sparsity * sign;
            }
            const VEC v = momentum * TYPED(load_some)(velocity + at, some) + rate * gradient, next = old - v;
            TYPED(store)(new_velocity + i, v);
            TYPED(store)(new_w + i, next);
            bad |= next - next != 0;
        }
        int finite = 1;
        for (int i = 0; i < LANES; i++) finite &= bad[i] == 0;
        if (finite || fault == 0) {
            memcpy(w + block, new_w, (size_t)n * sizeof *w);
            memcpy(velocity + block, new_velocity, (size_t)n * sizeof *velocity);
        } else {
            __atomic_store_n(status, fault, __ATOMIC_RELAXED);
        }
    }
}
