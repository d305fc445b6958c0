/* What kernels use. */
#ifndef MOCHA_KERNEL_H
#define MOCHA_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#include "abi.h"

typedef struct mocha_meeting mocha_meeting;

/* The threads that run a kernel, as one of them sees them. */
struct mocha_team {
    int32_t rank;
    int32_t size;
    mocha_meeting *meeting; /* where the threads wait for each other; NULL for one thread */
};

/* This thread's share [*first, *last) of n items, in whole grains. Shares depend only on the arguments. */
static inline void mocha_share(int64_t n, int64_t grain, const mocha_team *team, int64_t *first, int64_t *last) {
    int64_t grains = (n + grain - 1) / grain;
    int64_t begin = grains * team->rank / team->size * grain, end = grains * (team->rank + 1) / team->size * grain;
    *first = begin < n ? begin : n;
    *last = end < n ? end : n;
}

/* Runs an epilogue: steps that compute elements of their operands, each from those at the same place. They are in
   `ranges` of `count` elements, the first from `first` on, and each `pitch` elements after the one before. The thread that
   wrote these elements of the first operand calls it, once for each. */
static inline void mocha_epilogue(const mocha_step *epilogue, int64_t first, int64_t count, int64_t ranges,
                                  int64_t pitch) {
    static const mocha_team alone = {0, 1, NULL};
    mocha_args args = *epilogue->args;
    args.sizes[0] = first, args.sizes[1] = count, args.sizes[2] = ranges, args.sizes[3] = pitch;
    epilogue->kernel(&args, &alone);
}

static inline int64_t mocha_min(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t mocha_max(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
