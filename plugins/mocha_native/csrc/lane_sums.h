/* The sums over the lanes of LANES vectors, as one vector. Half of the lanes of two vectors are added to their other
   half, and the results interleaved in one vector; then the same with the vectors so made, until one is left. */

#ifndef MOCHA_LANE_SUMS_H
#define MOCHA_LANE_SUMS_H

#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (IVEC){__VA_ARGS__})
#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#undef SHUFFLE
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#endif
#endif

#endif

#undef INTERLEAVED_LOW
#undef INTERLEAVED_HIGH
#if LANE_BYTES / REAL_BYTES == 2
#define INTERLEAVED_LOW 0, 2
#define INTERLEAVED_HIGH 1, 3
#elif LANE_BYTES / REAL_BYTES == 4
#define INTERLEAVED_LOW 0, 4, 1, 5
#define INTERLEAVED_HIGH 2, 6, 3, 7
#elif LANE_BYTES / REAL_BYTES == 8
#define INTERLEAVED_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define INTERLEAVED_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define INTERLEAVED_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define INTERLEAVED_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif

static inline __attribute__((always_inline)) VEC TYPED(lane_sums)(VEC *v) {
#pragma GCC unroll 8
    for (int n = LANES / 2; n > 0; n /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < n; i++)
            v[i] = SHUFFLE(v[i], v[i + n], INTERLEAVED_LOW) + SHUFFLE(v[i], v[i + n], INTERLEAVED_HIGH);
    return v[0];
}
