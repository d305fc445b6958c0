/* Sums over several blocks in one launch. Each block leaves its part and takes a ticket; the one that takes the last
   ticket adds the parts, always in the same order, whichever block it is. */

#pragma once

#include "mocha.cuh"

/* Whether this block is the last of `blocks` that call it; thread 0 of each other block has written its part by then.
   All threads call it, once in a launch. The ticket is 0 before the first block comes and after the last has gone, so
   launches that share a ticket must not overlap. Those of one bound kernel, in one stream, never do. */
static __device__ inline bool comes_last(unsigned *ticket, unsigned blocks) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        __threadfence(); /* a release: a block that sees this ticket also sees the part that this thread wrote */
        last = atomicInc(ticket, blocks - 1) == blocks - 1; /* the last one makes it 0 */
        __threadfence(); /* an acquire: this thread sees all parts; after the barrier, its whole block does */
    }
    __syncthreads();
    return last;
}

/* The sum over all threads of `blocks` blocks, of which this is number `block`. True in one block, whose threads have
   it in `value`. Several blocks need a place for as many parts, and a ticket. */
template <class T>
static __device__ inline bool sum_of_blocks(T &value, T *parts, unsigned *ticket, int block, int blocks) {
    value = block_sum(value);
    if (blocks == 1) return true;
    if (threadIdx.x == 0) parts[block] = value;
    if (!comes_last(ticket, blocks)) return false;
    /* Volatile: the parts are read here and not sooner, and not from the cache of this multiprocessor. */
    const volatile T *written = parts;
    value = 0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) value += written[i];
    value = block_sum(value);
    return true;
}
