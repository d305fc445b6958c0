/* The update of stochastic gradient descent with momentum: one pass over w, g and the velocity.

   for every block: new values, and whether all are finite, which decides whether the block is written.
   A block that is not finite keeps the others from nothing, so that what is written depends on no thread. */

#ifndef MOCHA_SGD_H
#define MOCHA_SGD_H

#define UPDATE_BLOCK 1024
#define KERNELS(K) K(sgd_forward)

#endif

#include "sgd_block.h"

/* buffers: w, g, velocity, learning rate, momentum, status; sizes: elements, fault (0: no check); numbers: the learning
   rate's multiplier, decay, sparsity. */
KERNEL(sgd_forward) {
    REAL *w = args->buffers[0], *velocity = args->buffers[2];
    const REAL *g = args->buffers[1];
    int32_t *status = args->buffers[5];
    const TYPED(sgd_rule) rule = TYPED(sgd_rule_of)(args->buffers[3], args->buffers[4], args->numbers);
    const int32_t fault = (int32_t)args->sizes[1];
    const int valid = *status == 0;
    int64_t first, last;
    /* Nobody sets the status before everybody has read it. */
    mocha_meet(team);
    if (!valid) return;
    mocha_share(args->sizes[0], UPDATE_BLOCK, team, &first, &last);
    for (int64_t at = first; at < last; at += UPDATE_BLOCK) {
        const int64_t n = mocha_min(UPDATE_BLOCK, last - at);
        if (!TYPED(sgd_block)(rule, UPDATE_BLOCK, n, w + at, g + at, velocity + at, fault != 0))
            __atomic_store_n(status, fault, __ATOMIC_RELAXED);
    }
}
