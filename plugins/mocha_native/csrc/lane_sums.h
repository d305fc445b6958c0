/* The sums over the lanes of LANES vectors, as one vector. Of two neighbouring vectors, the elements at even and at odd
   places are added, which makes one vector of half sums of both; then the same with the vectors so made, until one is
   left. Processors shuffle within pieces of 16 bytes fastest: first the places are those in a piece, until each has
   whole sums, then those of pieces. */

#ifndef MOCHA_LANE_SUMS_H
#define MOCHA_LANE_SUMS_H

#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (IVEC){__VA_ARGS__})
#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#undef SHUFFLE
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#endif
#endif

/* Elements of a piece; of every piece of two vectors, each second element from `first` on; every second piece. */
#define PIECE_LANES (16 / REAL_BYTES)
#if LANE_BYTES == 64
#define IN_PIECES(first) PLACES(0, first), PLACES(1, first), PLACES(2, first), PLACES(3, first)
#define EVEN_PIECES PIECE_AT(0), PIECE_AT(2), PIECE_AT(4), PIECE_AT(6)
#define ODD_PIECES PIECE_AT(1), PIECE_AT(3), PIECE_AT(5), PIECE_AT(7)
#elif LANE_BYTES == 32
#define IN_PIECES(first) PLACES(0, first), PLACES(1, first)
#define EVEN_PIECES PIECE_AT(0), PIECE_AT(2)
#define ODD_PIECES PIECE_AT(1), PIECE_AT(3)
#else
#define IN_PIECES(first) PLACES(0, first)
#define EVEN_PIECES PIECE_AT(0)
#define ODD_PIECES PIECE_AT(1)
#endif

#endif

#undef PLACES
#undef PIECE_AT
#if REAL_BYTES == 4
#define PLACES(p, first) 4 * (p) + first, 4 * (p) + first + 2, LANES + 4 * (p) + first, LANES + 4 * (p) + first + 2
#define PIECE_AT(p) 4 * (p), 4 * (p) + 1, 4 * (p) + 2, 4 * (p) + 3
#else
#define PLACES(p, first) 2 * (p) + first, LANES + 2 * (p) + first
#define PIECE_AT(p) 2 * (p), 2 * (p) + 1
#endif

ALWAYS_INLINE VEC TYPED(half_sums)(const int n, VEC a, VEC b) {
    if (n >= LANES / PIECE_LANES) return SHUFFLE(a, b, IN_PIECES(0)) + SHUFFLE(a, b, IN_PIECES(1));
    return SHUFFLE(a, b, EVEN_PIECES) + SHUFFLE(a, b, ODD_PIECES);
}

ALWAYS_INLINE VEC TYPED(lane_sums)(VEC *v) {
#define SUMS_2(i) TYPED(half_sums)(LANES / 2, v[i], v[i + 1])
#define SUMS_4(i) TYPED(half_sums)(LANES / 4, SUMS_2(i), SUMS_2(i + 2))
#define SUMS_8(i) TYPED(half_sums)(LANES / 8, SUMS_4(i), SUMS_4(i + 4))
    if (LANES == 2) return SUMS_2(0);
    if (LANES == 4) return SUMS_4(0);
    if (LANES == 8) return SUMS_8(0);
    return TYPED(half_sums)(LANES / 16, SUMS_8(0), SUMS_8(8));
}
