/* Groups of `lanes` neighbouring threads, a power of 2 and at most a warp. Each group has an item at a time. */

#pragma once

#include "mocha.cuh"

/* All threads of a block take the same number of turns, because they meet in shuffles. In the last turn `item` may be
   too large. */
#define FOR_EACH_GROUP(item, items, lanes) \
    for (long long first_##item = (long long)blockIdx.x * (THREADS / (lanes)), \
                   item = first_##item + threadIdx.x / (lanes); \
         first_##item < (items); first_##item += (long long)gridDim.x * (THREADS / (lanes)), \
                   item += (long long)gridDim.x * (THREADS / (lanes)))

/* Where the classes of an item begin in a blob (rows, classes, positions). An item is a row at a position; its classes
   are `positions` apart. An `item` that is too large counts as the last one. */
static __device__ inline int item_begin(long long item, int items, int classes, int positions) {
    const int there = (int)min(item, items - 1LL);
    return there / positions * classes * positions + there % positions;
}

/* The number of rows that count. */
static __device__ inline int counted(const int *valid_rows, int rows) { return max(0, min(*valid_rows, rows)); }
