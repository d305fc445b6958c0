/* Sums over several blocks in one launch. Each block leaves its part and takes a ticket; the one that takes the last
   ticket adds the parts, always in the same order, whichever block it is. */

#pragma once

#include "mocha.cuh"

/* Whether this block is the last of `blocks` that come here, when thread 0 of each of the others has written its part.
   All threads come, once a launch. The ticket is 0 before, and again after the last: launches that share one must not
   overlap, as those of one bound kernel, in one stream, never do. */
static __device__ inline bool comes_last(unsigned *ticket, unsigned blocks) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        __threadfence(); /* a release: who sees this ticket taken sees the part, which this thread has written */
        last = atomicInc(ticket, blocks - 1) == blocks - 1; /* the last one makes it 0 */
        __threadfence(); /* an acquire: what others wrote before theirs; the barrier passes it on to this block */
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
    /* Volatile: read here and not sooner, and from where all multiprocessors write to, not from this one's cache. */
    const volatile T *written = parts;
    value = 0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) value += written[i];
    value = block_sum(value);
    return true;
}
