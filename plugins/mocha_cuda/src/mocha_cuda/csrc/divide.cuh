/* Division by a number that is known before the launch: two instructions instead of twenty. */

#pragma once

/* floor(n / d) for 0 <= n < 2^31; `by` is the result of `mocha_cuda.divide.by` for d. */
static __device__ inline int quotient(int n, unsigned long long by) {
    return (int)((unsigned long long)(unsigned)n * (unsigned)by >> (int)(by >> 32));
}
