/* What generated kernels use (generate.py). */

#pragma once

#include "mocha.cuh"

/* Infinity: NVRTC has no math.h. */
#define LARGEST (-log((REAL)0))
#define NOT_A_NUMBER (LARGEST - LARGEST)

/* As in NumPy, NaN stays NaN. */
template <class T> static __device__ inline T larger(T a, T b) { return a > b || a != a ? a : b; }
template <class T> static __device__ inline T smaller(T a, T b) { return a < b || a != a ? a : b; }
template <class T> static __device__ inline T added(T a, T b) { return a + b; }
template <class T> static __device__ inline T sign_of(T x) { return x > 0 ? (T)1 : x < 0 ? (T)-1 : x; }

static __device__ inline void give(bool *out, bool value, int) { *out = value; }

/* A cell that several threads may set to the same number. */
static __device__ inline void put(int *cell, int value) {
    if (*cell != value) report(cell, value);
}
