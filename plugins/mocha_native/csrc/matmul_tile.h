/* The tiles of matrix products: sums of a few rows and a few vectors of columns, in registers. See matmul.h. */

#ifndef MOCHA_MATMUL_TILE_H
#define MOCHA_MATMUL_TILE_H

/* Sums of a tile, a row of the panel and a broadcast element have to fit into the registers. There have to be enough
   sums that a multiply-add need not wait for the one before. Where A is packed, tiles are tall, so that few vectors are
   loaded for each sum; where it is not, they are wide, since each row takes a register for its address. */
#define UP_TO_6(T, V) T(1, V) T(2, V) T(3, V) T(4, V) T(5, V) T(6, V)
#define UP_TO_12(T, V) UP_TO_6(T, V) T(7, V) T(8, V) T(9, V) T(10, V) T(11, V) T(12, V)
#if LANE_BYTES >= 64 || defined(__aarch64__)
#define PANEL_VECTORS 4
#define TILES(T) UP_TO_12(T, 1) UP_TO_12(T, 2) UP_TO_6(T, 4)
#define WIDE_TILES(T) T(8, 1) T(8, 2) T(8, 3) T(6, 1) T(6, 2) T(6, 3) T(6, 4)
#define HEIGHTS {12, 12, 12, 6}
#define WIDE_HEIGHTS {8, 8, 8, 6}
#else
#define PANEL_VECTORS 2
#define TILES(T) UP_TO_12(T, 1) UP_TO_6(T, 2)
#define WIDE_TILES(T) T(8, 1) T(6, 1) T(6, 2)
#define HEIGHTS {12, 6}
#define WIDE_HEIGHTS {8, 6}
#endif
#define TILE_VECTORS 2
#define TILE_ROWS 12

/* The height of tiles with this number of vectors. */
static const int tile_heights[PANEL_VECTORS] = HEIGHTS, wide_tile_heights[PANEL_VECTORS] = WIDE_HEIGHTS;

#endif

/* Row m of A is at a[m * a_row], its terms adjacent; if a_row is 0, the rows of a term are adjacent, and terms a_term
   apart. Vector v of term r of B is at b[r * b_row + v * b_vector], and so is the tile of C. */
typedef struct {
    const REAL *a, *b;
    int64_t a_row, a_term, b_row, b_vector;
    REAL *c;
    int64_t c_row, c_vector;
    int add; /* to what is in C */
} TYPED(tile_run);

ALWAYS_INLINE void
TYPED(tile_of)(const int M, const int V, const int across, int64_t depth, const TYPED(tile_run) *run) {
    VEC sum[TILE_ROWS][PANEL_VECTORS];
#pragma GCC unroll 16
    for (int m = 0; m < M; m++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) sum[m][v] = (VEC){0};
    const REAL *a = run->a, *b = run->b;
    const int64_t a_row = across ? 1 : run->a_row, a_term = across ? run->a_term : 1, b_row = run->b_row,
                  b_vector = run->b_vector;
    for (; depth > 0; depth--) {
        VEC in[PANEL_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) in[v] = TYPED(load)(b + v * b_vector);
#pragma GCC unroll 16
        for (int m = 0; m < M; m++) {
            const VEC times = TYPED(splat)(a[m * a_row]);
#pragma GCC unroll 8
            for (int v = 0; v < V; v++) sum[m][v] += times * in[v];
        }
        b += b_row;
        a += a_term;
    }
    REAL *c = run->c;
#pragma GCC unroll 16
    for (int m = 0; m < M; m++, c += run->c_row)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) {
            REAL *at = c + v * run->c_vector;
            TYPED(store)(at, run->add ? TYPED(load)(at) + sum[m][v] : sum[m][v]);
        }
}

typedef void (*TYPED(tile))(int64_t, const TYPED(tile_run) *);

#define TILE(M, V) \
    static void TYPED(tile_##M##x##V)(int64_t depth, const TYPED(tile_run) * run) { \
        TYPED(tile_of)(M, V, 1, depth, run); \
    }
#define WIDE_TILE(M, V) \
    static void TYPED(wide_tile_##M##x##V)(int64_t depth, const TYPED(tile_run) * run) { \
        TYPED(tile_of)(M, V, 0, depth, run); \
    }
#define TILE_AT(M, V) [V - 1][M - 1] = TYPED(tile_##M##x##V),
#define WIDE_TILE_AT(M, V) [M == 8][V - 1] = TYPED(wide_tile_##M##x##V),
TILES(TILE)
WIDE_TILES(WIDE_TILE)
/* clang-format off */
static const TYPED(tile) TYPED(tiles)[PANEL_VECTORS][TILE_ROWS] = {TILES(TILE_AT)};
static const TYPED(tile) TYPED(wide_tiles)[2][PANEL_VECTORS] = {WIDE_TILES(WIDE_TILE_AT)};
/* clang-format on */
