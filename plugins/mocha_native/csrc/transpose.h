/* Between LANES rows, each contiguous, and vectors that hold one feature of all of them, for REAL.

   A square of LANES x LANES is transposed in registers: stage d of log2(LANES) swaps, within each pair of rows that are
   d apart, the elements whose place has bit d. Features that fill no square go one by one. */

#ifndef MOCHA_TRANSPOSE_H
#define MOCHA_TRANSPOSE_H

/* Place e of the pair's first row after stage d, and of the second, as places in the two rows one after the other. */
#define FROM_FIRST(n, d, e) ((e) & (d) ? (n) + (e) - (d) : (e))
#define FROM_SECOND(n, d, e) ((e) & (d) ? (n) + (e) : (e) + (d))
#define PLACES_2(F, n, d, e) F(n, d, e), F(n, d, e + 1)
#define PLACES_4(F, n, d, e) PLACES_2(F, n, d, e), PLACES_2(F, n, d, e + 2)
#define PLACES_8(F, n, d, e) PLACES_4(F, n, d, e), PLACES_4(F, n, d, e + 4)
#define PLACES_16(F, n, d, e) PLACES_8(F, n, d, e), PLACES_8(F, n, d, e + 8)
#define SWAP_STAGE(n, d) \
    _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++) { \
        if (i & (d)) continue; \
        const VEC a = rows[i], b = rows[i + (d)]; \
        rows[i] = __builtin_shufflevector(a, b, PLACES_##n(FROM_FIRST, n, d, 0)); \
        rows[i + (d)] = __builtin_shufflevector(a, b, PLACES_##n(FROM_SECOND, n, d, 0)); \
    }

#ifndef __has_builtin
#define __has_builtin(name) 0
#endif

#endif

/* In place. */
ALWAYS_INLINE void TYPED(transpose)(VEC rows[]) {
#if !__has_builtin(__builtin_shufflevector)
    for (int i = 0; i < LANES; i++)
        for (int k = 0; k < i; k++) {
            const REAL swapped = rows[i][k];
            rows[i][k] = rows[k][i];
            rows[k][i] = swapped;
        }
#elif LANE_BYTES / REAL_BYTES == 16
    SWAP_STAGE(16, 8) SWAP_STAGE(16, 4) SWAP_STAGE(16, 2) SWAP_STAGE(16, 1)
#elif LANE_BYTES / REAL_BYTES == 8
    SWAP_STAGE(8, 4) SWAP_STAGE(8, 2) SWAP_STAGE(8, 1)
#elif LANE_BYTES / REAL_BYTES == 4
    SWAP_STAGE(4, 2) SWAP_STAGE(4, 1)
#else
    SWAP_STAGE(2, 1)
#endif
}

/* Of LANES rows, `rows` exist, `stride` elements apart. Missing rows are copies of the last one, or zeros.
   `features` of each become as many vectors, or are added to them. */
static inline void
TYPED(interleave)(const REAL *plain, int64_t rows, int64_t stride, int64_t features, int zeros, int add,
                              REAL *packed) {
    int64_t f = 0;
    for (; f + LANES <= features; f += LANES) {
        VEC square[LANE_BYTES / REAL_BYTES];
        const REAL *from = plain + f;
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            square[i] = i < rows || !zeros ? TYPED(load)(from) : (VEC){0};
            if (i + 1 < rows) from += stride;
        }
        TYPED(transpose)(square);
        REAL *to = packed + f * LANES;
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (add) square[i] += TYPED(load)(to + i * LANES);
            TYPED(store)(to + i * LANES, square[i]);
        }
    }
    for (; f < features; f++)
        for (int64_t i = 0; i < LANES; i++) {
            const REAL value = i < rows || !zeros ? plain[mocha_min(i, rows - 1) * stride + f] : 0;
            packed[f * LANES + i] = add ? packed[f * LANES + i] + value : value;
        }
}

/* The way back, for the rows that exist. */
static inline void TYPED(deinterleave)(const REAL *packed, int64_t features, int64_t rows, int64_t stride, int add,
                                REAL *plain) {
    int64_t f = 0;
    for (; f + LANES <= features; f += LANES) {
        VEC square[LANE_BYTES / REAL_BYTES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) square[i] = TYPED(load)(packed + (f + i) * LANES);
        TYPED(transpose)(square);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i >= rows) break;
            REAL *to = plain + i * stride + f;
            TYPED(store)(to, add ? square[i] + TYPED(load)(to) : square[i]);
        }
    }
    for (; f < features; f++)
        for (int64_t i = 0; i < mocha_min(rows, LANES); i++) {
            REAL *to = plain + i * stride + f;
            *to = packed[f * LANES + i] + (add ? *to : 0);
        }
}
