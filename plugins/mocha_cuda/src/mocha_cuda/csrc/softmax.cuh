/* Softmax of an item, by a group of threads. */

#pragma once

#include "groups.cuh"

struct softmax {
    REAL most, total;
    __device__ REAL of(REAL x) const { return exp(x - most) / total; }
};

/* The softmax of `classes` numbers that are `stride` apart. NaN makes the total NaN, and so all probabilities. */
static __device__ inline struct softmax softmax_of(const REAL *x, int classes, int stride, int lanes) {
    struct softmax found = {x[0], 0};
    for (int c = threadIdx.x % lanes; c < classes; c += lanes) found.most = max(found.most, x[c * stride]);
    for (int distance = lanes / 2; distance; distance /= 2)
        found.most = max(found.most, __shfl_xor_sync(0xffffffffu, found.most, distance));
    for (int c = threadIdx.x % lanes; c < classes; c += lanes) found.total += exp(x[c * stride] - found.most);
    for (int distance = lanes / 2; distance; distance /= 2)
        found.total += __shfl_xor_sync(0xffffffffu, found.total, distance);
    return found;
}
