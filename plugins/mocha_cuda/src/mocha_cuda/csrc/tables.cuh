/* Arrays of different lengths in one launch: rows of a table, each with blocks of its own. */

#pragma once

#include "mocha.cuh"

/* The row that this block works for: the last of n whose `first_block` is this one or before. */
template <class Row> static __device__ inline const Row &row_of_block(const unsigned long long *table, int n) {
    const Row *rows = reinterpret_cast<const Row *>(table);
    int low = 0;
    for (int high = n - 1; low < high;) {
        const int middle = (low + high + 1) / 2;
        if (rows[middle].first_block <= blockIdx.x)
            low = middle;
        else
            high = middle - 1;
    }
    return rows[low];
}
