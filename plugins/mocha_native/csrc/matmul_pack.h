/* Copies of operands for matrix products, as panels: the elements of a term in a panel are adjacent, and terms lie one
   after the other. A gap after each panel takes what is written after its last term, and keeps those that begin at a
   multiple of a power of two out of each other's way in the cache. See matmul.h. */

#include "transpose.h"

#ifndef MOCHA_MATMUL_PACK_H
#define MOCHA_MATMUL_PACK_H

#define MATMUL_GAP_BYTES 64

#endif

/* The elements from a panel to the next. */
static inline int64_t TYPED(panel_elements)(int64_t wide, int64_t terms) {
    return wide * terms + MATMUL_GAP_BYTES / (int64_t)sizeof(REAL);
}

/* Terms of adjacent elements, `row` apart, of which `count` may be read; the others are zeros. */
static void TYPED(pack_copies)(const REAL *from, int64_t row, int64_t count, int64_t all, int64_t wide, int64_t terms,
                        REAL *to) {
    const int64_t step = TYPED(panel_elements)(wide, terms), most = (wide + LANES - 1) / LANES * LANES;
    const int64_t whole = mocha_min(all, count) - most;
    for (int64_t r = 0; r < terms; r++, from += row) {
        REAL *panel = to;
        int64_t first = 0;
        for (; first <= whole; first += wide, panel += step)
            for (int64_t i = 0; i < most; i += LANES) TYPED(store)(panel + r * wide + i, TYPED(load)(from + first + i));
        for (; first < all; first += wide, panel += step) {
            const int64_t some = mocha_min(wide, all - first);
            REAL *at = panel + r * some;
            for (int64_t i = 0; i < some; i += LANES)
                TYPED(store)(at + i, TYPED(load_some)(from + first + i, mocha_max(0, count - first - i)));
        }
    }
}

/* One panel. Terms are adjacent; elements, `apart` from each other; `count` exist, the others are zeros. */
static void
TYPED(pack_transposed)(const REAL *from, int64_t apart, int64_t count, int64_t wide, int64_t terms, REAL *to) {
    for (int64_t r = 0; r < terms; r += LANES) {
        const int64_t some = mocha_min(LANES, terms - r);
        /* From the last vector to the first: what it writes after the end of a term is written anew. */
        for (int64_t i = (wide - 1) / LANES * LANES; i >= 0; i -= LANES) {
            const int64_t there = mocha_min(mocha_min(count, wide) - i, LANES);
            VEC square[LANE_BYTES / REAL_BYTES];
            if (some == LANES) {
                const REAL *at = from + i * apart + r;
#pragma GCC unroll 16
                for (int k = 0; k < LANES; k++) square[k] = k < there ? TYPED(load)(at + k * apart) : (VEC){0};
            } else {
                for (int k = 0; k < LANES; k++)
                    square[k] = k < there ? TYPED(load_some)(from + (i + k) * apart + r, some) : (VEC){0};
            }
            TYPED(transpose)(square);
            REAL *at = to + r * wide + i;
            if (some == LANES) {
#pragma GCC unroll 16
                for (int k = 0; k < LANES; k++) TYPED(store)(at + k * wide, square[k]);
            } else {
                for (int k = 0; k < some; k++) TYPED(store)(at + k * wide, square[k]);
            }
        }
    }
}

/* Packs `all` elements of each term into panels of `wide`; the last may be narrower. Element i of term r is at
   from[i * apart + r * row], where one of the strides is 1; `count` elements may be read, which may be more than `all`;
   zeros take the place of those that are missing. */
static void
TYPED(pack)(const REAL *from, int64_t apart, int64_t row, int64_t count, int64_t all, int64_t wide, int64_t terms,
                 REAL *to) {
    if (apart == 1) {
        TYPED(pack_copies)(from, row, count, all, wide, terms, to);
        return;
    }
    for (int64_t i = 0; i < all; i += wide, to += TYPED(panel_elements)(wide, terms))
        TYPED(pack_transposed)(from + i * apart, apart, count - i, mocha_min(wide, all - i), terms, to);
}
