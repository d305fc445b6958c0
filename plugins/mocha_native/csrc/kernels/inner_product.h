/* Inner product: y = x w' + b, dx = dy w, dw = dy' x, db = sum of dy over the rows.

   All three products are one: C(m, c) = sum over r of A(m, r) * B(r, c), each matrix with strides of its own.

     for every panel of columns, PANEL_VECTORS vectors wide
       for every chunk of at most PANEL_ROWS rows r
         pack B's chunk: its rows one after the other, padded with zeros to whole vectors
         for every tile of TILE_ROWS rows m: sums in registers over all r of the chunk, then into C

   A's elements are broadcast. B is packed by whoever needs it, in memory of the thread's own. Threads share the
   (panel, tile) pairs; an element of C is computed in the same order whoever does it. A B whose columns lie side by
   side is copied by rows; one that is transposed, as x is in forward, by squares.
   A batch that would leave most lanes of the forward product empty is computed with lanes along the features. */

#ifndef MOCHA_INNER_PRODUCT_H
#define MOCHA_INNER_PRODUCT_H

/* Sums of a tile, a row of the panel and a broadcast element have to fit into the registers. */
#if LANE_BYTES >= 64
#define PANEL_VECTORS 4
#else
#define PANEL_VECTORS 2
#endif
#define TILE_ROWS 6
#define PANEL_ROWS 1024
/* Up to so many samples, forward has lanes along the features. */
#define FEW_ROWS 4
#define DOT_OUTPUTS 4

/* With one vector, two, ...: a function for every height of tile. */
#define TILES_WIDE(V) TILE(1, V) TILE(2, V) TILE(3, V) TILE(4, V) TILE(5, V) TILE(6, V)
#define TILE_NAMES(V) \
    {TYPED(tile_1x##V), TYPED(tile_2x##V), TYPED(tile_3x##V), TYPED(tile_4x##V), TYPED(tile_5x##V), TYPED(tile_6x##V)}
#define KERNELS(K) K(inner_product_forward) K(inner_product_backward)
/* Bytes of a row of the packed operand, and how many rows are packed at once. */
#define CONSTANTS(C) C(panel_bytes, PANEL_VECTORS * LANE_BYTES) C(panel_rows, PANEL_ROWS)

#endif

/* Sums over r of a tile, written to `sums`, whose rows are PANEL_VECTORS vectors long. */
#define TILE(M, V) \
    static void TYPED(tile_##M##x##V)(int64_t rows, const REAL *a, int64_t a_row, int64_t a_column, const REAL *panel, \
                                      REAL *sums) { \
        VEC sum[M][V]; \
        for (int m = 0; m < M; m++) \
            for (int v = 0; v < V; v++) sum[m][v] = (VEC){0}; \
        for (int64_t r = 0; r < rows; r++) { \
            VEC b[V]; \
            _Pragma("GCC unroll 8") for (int v = 0; v < V; v++) b[v] = TYPED(load)(panel + v * LANES); \
            _Pragma("GCC unroll 8") for (int m = 0; m < M; m++) { \
                const VEC factor = TYPED(splat)(a[m * a_row]); \
                _Pragma("GCC unroll 8") for (int v = 0; v < V; v++) sum[m][v] += factor * b[v]; \
            } \
            panel += V * LANES; \
            a += a_column; \
        } \
        for (int m = 0; m < M; m++) \
            for (int v = 0; v < V; v++) TYPED(store)(sums + (m * PANEL_VECTORS + v) * LANES, sum[m][v]); \
    }

TILES_WIDE(1)
TILES_WIDE(2)
#if PANEL_VECTORS == 4
TILES_WIDE(3)
TILES_WIDE(4)
#endif
#undef TILE

typedef void (*TYPED(tile))(int64_t, const REAL *, int64_t, int64_t, const REAL *, REAL *);

static const TYPED(tile) TYPED(tiles)[PANEL_VECTORS][TILE_ROWS] = {
    TILE_NAMES(1), TILE_NAMES(2),
#if PANEL_VECTORS == 4
    TILE_NAMES(3), TILE_NAMES(4),
#endif
};

/* A matrix: where it is, and how far its rows and its columns are apart. */
typedef struct {
    REAL *at;
    int64_t row, column;
} TYPED(matrix);

static inline REAL *TYPED(element)(TYPED(matrix) m, int64_t row, int64_t column) {
    return m.at + row * m.row + column * m.column;
}

/* Rows [first, first + rows) of B's columns [column, column + columns), `wide` elements for each row. */
static void TYPED(pack_panel)(TYPED(matrix) b, int64_t first, int64_t rows, int64_t column, int64_t columns, int64_t wide,
                              REAL *panel) {
    enum { SQUARE = 16 };
    const REAL *from = TYPED(element)(b, first, column);
    if (columns < wide) memset(panel, 0, (size_t)(rows * wide) * sizeof *panel);
    if (b.column == 1) {
        for (int64_t r = 0; r < rows; r++) memcpy(panel + r * wide, from + r * b.row, (size_t)columns * sizeof *panel);
        return;
    }
    for (int64_t r0 = 0; r0 < rows; r0 += SQUARE) {
        const int64_t last = mocha_min(rows, r0 + SQUARE);
        for (int64_t c = 0; c < columns; c++)
            for (int64_t r = r0; r < last; r++) panel[r * wide + c] = from[r * b.row + c * b.column];
    }
}

/* A tile's sums become, or are added to, a part of C. */
static void TYPED(finish_tile)(const REAL *sums, int64_t rows, int64_t columns, TYPED(matrix) c, const REAL *bias, int add) {
    if (c.column == 1) {
        for (int64_t m = 0; m < rows; m++) {
            const REAL *s = sums + m * PANEL_VECTORS * LANES, extra = bias ? bias[m] : 0;
            REAL *out = c.at + m * c.row;
            for (int64_t i = 0; i < columns; i++) out[i] = s[i] + extra + (add ? out[i] : 0);
        }
        return;
    }
    for (int64_t i = 0; i < columns; i++) {
        for (int64_t m = 0; m < rows; m++) {
            REAL *out = TYPED(element)(c, m, i);
            *out = sums[m * PANEL_VECTORS * LANES + i] + (bias ? bias[m] : 0) + (add ? *out : 0);
        }
    }
}

/* C = A B, or C += A B; `bias`, one for each row of C, is added once. `panel` is this thread's own. */
static void TYPED(product)(int64_t rows, int64_t columns, int64_t depth, TYPED(matrix) a, TYPED(matrix) b, TYPED(matrix) c,
                           const REAL *bias, int add, REAL *panel, const mocha_team *team) {
    const int64_t width = PANEL_VECTORS * LANES, chunks = (depth + PANEL_ROWS - 1) / PANEL_ROWS;
    const int64_t chunk = (depth + chunks - 1) / chunks, tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    _Alignas(64) REAL sums[TILE_ROWS * PANEL_VECTORS * LANE_BYTES / sizeof(REAL)];
    int64_t next, end;
    mocha_share((columns + width - 1) / width * tiles, 1, team, &next, &end);
    while (next < end) {
        /* Tiles [first, last) of one panel. */
        const int64_t column = next / tiles * width, first = next % tiles;
        const int64_t last = mocha_min(tiles, first + end - next), wide = mocha_min(width, columns - column);
        const int64_t vectors = (wide + LANES - 1) / LANES;
        next += last - first;
        for (int64_t r = 0; r < depth; r += chunk) {
            const int64_t deep = mocha_min(chunk, depth - r);
            TYPED(pack_panel)(b, r, deep, column, wide, vectors * LANES, panel);
            for (int64_t t = first; t < last; t++) {
                const int64_t m = t * TILE_ROWS, high = mocha_min(TILE_ROWS, rows - m);
                TYPED(tiles)[vectors - 1][high - 1](deep, TYPED(element)(a, m, r), a.row, a.column, panel, sums);
                const TYPED(matrix) part = {TYPED(element)(c, m, column), c.row, c.column};
                TYPED(finish_tile)(sums, high, wide, part, bias && r == 0 ? bias + m : NULL, add || r > 0);
            }
        }
    }
}

/* `count` outputs of each of `rows` samples, both at most as many as a tile of sums has. */
static inline __attribute__((always_inline)) void TYPED(dots)(const int rows, const int count, int64_t depth, const REAL *x,
                                                              const REAL *w, const REAL *b, REAL *y, int64_t y_row) {
    VEC sum[DOT_OUTPUTS][FEW_ROWS];
#pragma GCC unroll 8
    for (int o = 0; o < count; o++)
#pragma GCC unroll 8
        for (int n = 0; n < rows; n++) sum[o][n] = (VEC){0};
    for (int64_t k = 0; k < depth; k += LANES) {
        const int64_t some = depth - k;
        VEC in[FEW_ROWS];
#pragma GCC unroll 8
        for (int n = 0; n < rows; n++) in[n] = TYPED(load_some)(x + n * depth + k, some);
#pragma GCC unroll 8
        for (int o = 0; o < count; o++) {
            const VEC factor = TYPED(load_some)(w + o * depth + k, some);
#pragma GCC unroll 8
            for (int n = 0; n < rows; n++) sum[o][n] += factor * in[n];
        }
    }
    for (int o = 0; o < count; o++)
        for (int n = 0; n < rows; n++) y[n * y_row + o] = TYPED(sum)(sum[o][n]) + b[o];
}

#define DOTS(N) \
    static void TYPED(dots_##N)(int64_t depth, const REAL *x, const REAL *w, const REAL *b, REAL *y, int64_t y_row, \
                                int whole) { \
        if (whole) { \
            TYPED(dots)(N, DOT_OUTPUTS, depth, x, w, b, y, y_row); \
        } else { \
            TYPED(dots)(N, 1, depth, x, w, b, y, y_row); \
        } \
    }
DOTS(1)
DOTS(2)
DOTS(3)
DOTS(4)
#undef DOTS

static void TYPED(few_rows)(int64_t rows, int64_t outputs, int64_t depth, const REAL *x, const REAL *w, const REAL *b,
                            REAL *y, const mocha_team *team) {
    void (*const dots[FEW_ROWS])(int64_t, const REAL *, const REAL *, const REAL *, REAL *, int64_t, int) = {
        TYPED(dots_1), TYPED(dots_2), TYPED(dots_3), TYPED(dots_4)};
    int64_t o, last;
    mocha_share(outputs, DOT_OUTPUTS, team, &o, &last);
    while (o < last) {
        const int whole = last - o >= DOT_OUTPUTS;
        dots[rows - 1](depth, x, w + o * depth, b + o, y + o, outputs, whole);
        o += whole ? DOT_OUTPUTS : 1;
    }
}

/* buffers: x, w, b, y, panels; sizes: rows, outputs, features, elements of each thread's panel. */
KERNEL(inner_product_forward) {
    REAL *x = args->buffers[0], *w = args->buffers[1], *b = args->buffers[2], *y = args->buffers[3];
    const int64_t rows = args->sizes[0], outputs = args->sizes[1], depth = args->sizes[2];
    if (rows <= FEW_ROWS) {
        TYPED(few_rows)(rows, outputs, depth, x, w, b, y, team);
        return;
    }
    /* C is y transposed, so that the samples are in the lanes: w is then read as it is. */
    const TYPED(matrix) weights = {w, depth, 1}, samples = {x, 1, depth}, result = {y, 1, outputs};
    TYPED(product)(outputs, rows, depth, weights, samples, result, b, 0, (REAL *)args->buffers[4] + team->rank * args->sizes[3], team);
}

/* buffers: dy, x, w, then dx, dw, db, each NULL where it is not wanted, and panels; sizes: rows, outputs, features,
   elements of each thread's panel, and for each gradient whether it is added to what is there. */
KERNEL(inner_product_backward) {
    REAL *dy = args->buffers[0], *x = args->buffers[1], *w = args->buffers[2];
    REAL *dx = args->buffers[3], *dw = args->buffers[4], *db = args->buffers[5];
    REAL *panel = (REAL *)args->buffers[6] + team->rank * args->sizes[3];
    const int64_t rows = args->sizes[0], outputs = args->sizes[1], depth = args->sizes[2];
    const int64_t *add = args->sizes + 4;
    if (dx) {
        const TYPED(matrix) top = {dy, outputs, 1}, weights = {w, depth, 1}, result = {dx, depth, 1};
        TYPED(product)(rows, depth, outputs, top, weights, result, NULL, add[0] != 0, panel, team);
    }
    if (dw) {
        const TYPED(matrix) top = {dy, 1, outputs}, bottom = {x, depth, 1}, result = {dw, depth, 1};
        TYPED(product)(outputs, depth, rows, top, bottom, result, NULL, add[1] != 0, panel, team);
    }
    if (db) {
        int64_t first, last;
        mocha_share(outputs, GRAIN, team, &first, &last);
        for (int64_t o = first; o < last; o += LANES) {
            const int64_t some = last - o;
            VEC sum = (VEC){0};
            for (int64_t n = 0; n < rows; n++) sum += TYPED(load_some)(dy + n * outputs + o, some);
            if (add[2]) sum += TYPED(load_some)(db + o, some);
            TYPED(store_some)(db + o, sum, some);
        }
    }
}
