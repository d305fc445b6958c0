/* The update of stochastic gradient descent with momentum: one pass over w, g and the velocity.

   for every block: compute new values, and write them if all are finite.
   A block that is not finite does not stop the other blocks, so that the result does not depend on the threads. */

#ifndef MOCHA_SGD_H
#define MOCHA_SGD_H

#define KERNELS(K) \
    K(sgd_status) \
    K(sgd_forward)

#endif

#include "sgd_block.h"

/* Copies the status before an update may set it. buffers: status, its copy. */
KERNEL(sgd_status) {
    UNUSED(team);
    *(int32_t *)args->buffers[1] = *(const int32_t *)args->buffers[0];
}

/* buffers: w, g, velocity, learning rate, momentum, status, and the status before; sizes: elements, fault (0: no
   check); numbers: the learning rate's multiplier, decay, sparsity. */
KERNEL(sgd_forward) {
    if (*(const int32_t *)args->buffers[6] != 0) return;
    REAL *w = args->buffers[0], *velocity = args->buffers[2];
    const REAL *g = args->buffers[1];
    const TYPED(sgd_rule) rule = TYPED(sgd_rule_of)(args->buffers[3], args->buffers[4], args->numbers);
    const int32_t fault = (int32_t)args->sizes[1];
    int64_t first, last;
    mocha_share(args->sizes[0], SGD_BLOCK, team, &first, &last);
    for (int64_t at = first; at < last; at += SGD_BLOCK) {
        const int64_t n = mocha_min(SGD_BLOCK, last - at);
        if (!TYPED(sgd_block)(rule, 1, n, 0, w + at, velocity + at, g + at, SGD_BLOCK, fault != 0))
            __atomic_store_n((int32_t *)args->buffers[5], fault, __ATOMIC_RELAXED);
    }
}
