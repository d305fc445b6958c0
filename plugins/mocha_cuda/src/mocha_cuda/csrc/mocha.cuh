/* Definitions that all kernels share. They are compiled once for each dtype: REAL is float or double.

   Conventions. An array that may be absent is NULL. Sizes are ints below 2^31, and so is the number of all elements;
   numbers come as doubles. Where threads stride over elements (FOR_EACH), any grid is right; other kernels say what a
   block does. Blocks have THREADS threads; a barrier or a shuffle is reached by all of them. Nothing is summed by
   atomics: results do not depend on timing. Several threads may write the status cell, by `report`, and the tickets
   that count blocks (block_sums.cuh); no other. */

#pragma once

#ifndef REAL
#define REAL float
#endif

#define THREADS 256
#define WARP 32
#define KERNEL(name) extern "C" __global__ void __launch_bounds__(THREADS) name

#define FOR_EACH(i, n) \
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < (n); i += (long long)gridDim.x * THREADS)

/* Overwrites, or adds. */
static __device__ inline void give(REAL *out, REAL value, int add) { *out = add ? *out + value : value; }

/* Puts a fault into the status cell; the first wins. */
static __device__ inline void report(int *status, int fault) { atomicCAS(status, 0, fault); }

/* What `combine` makes of the values of a block's threads, in a fixed order; all of them get it. */
template <class T, class F> static __device__ inline T block_reduced(T value, F combine) {
    __shared__ T parts[THREADS / WARP];
    for (int distance = WARP / 2; distance; distance /= 2)
        value = combine(value, __shfl_xor_sync(0xffffffffu, value, distance));
    __syncthreads(); /* the last reduction has been read */
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = value;
    __syncthreads();
    T total = parts[0];
    for (int i = 1; i < THREADS / WARP; i++) total = combine(total, parts[i]);
    return total;
}

template <class T> static __device__ inline T block_sum(T value) {
    return block_reduced(value, [](T a, T b) { return a + b; });
}

/* The row of a table to which this block belongs, or NULL if the blocks of the table begin later. */
template <class T> static __device__ inline const T *of_block(const unsigned long long *table, int rows) {
    const T *row = reinterpret_cast<const T *>(table);
    if (rows == 0 || row->first_block > blockIdx.x) return NULL;
    row += rows - 1;
    while (row->first_block > blockIdx.x) row--;
    return row;
}
