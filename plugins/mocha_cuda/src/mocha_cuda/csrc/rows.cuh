/* Rows of a data set that stays on the device, and class indices. */

#pragma once

#include "mocha.cuh"

/* A class index. A label that is not a whole number of that size is a fault, and gives 0. */
static __device__ inline int label_of(REAL x, int *status, int fault) {
    /* False for NaN as well; a number of this size can be cast. */
    const bool small = x > (REAL)-2147483648.0 && x < (REAL)2147483648.0;
    const int label = small ? (int)x : 0;
    const bool whole = small && (REAL)label == x;
    if (!whole) report(status, fault);
    return whole ? label : 0;
}

/* `elements` of y, in rows of `size`, from a table that has `there` rows; also as class indices, if there are `labels`.
   Rows beyond the table are 0. */
struct gathering {
    const REAL *table;
    REAL *y;
    int *labels;
    long long elements, size, there, fault;
};

/* The share of thread `first` of `stride`. */
static __device__ inline void gather(const struct gathering &g, const long long *rows, int *status, long long first,
                                     long long stride) {
    const int size = (int)g.size;
    for (long long i = first; i < g.elements; i += stride) {
        const long long row = rows[(int)i / size];
        const REAL x = row >= 0 && row < g.there ? g.table[row * size + (int)i % size] : 0;
        g.y[i] = x;
        if (g.labels) g.labels[i] = label_of(x, status, (int)g.fault);
    }
}
