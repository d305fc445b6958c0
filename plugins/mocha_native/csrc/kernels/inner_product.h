/* Inner product: y = x w' + b, dx = dy w, dw = dy' x, db = sum of dy over the rows.

   All three products are one: C(m, c) = sum over r of A(m, r) * B(r, c), where the columns c lie in vectors:

     for every group of panels, each at most PANEL_VECTORS vectors wide
       for every chunk of rows r: the group's part of B stays in the second-level cache
         for every tile of rows m, for every panel of the group
           sums in registers over all r of the chunk, then into C

            A(m, r), broadcast   B(r, c)       C(m, c)     vectors of C
     y      w(m, r)              x(c, r)       y(c, m)     samples
     dx     w(r, m)              dy(c, r)      dx(c, m)    samples
     dw     dy(r, m)             x(r, c)       dw(m, c)    features

   Blobs with lanes, (blocks, features, lanes), are B and C of y and dx as they are. For dw, x is plain: its rows are
   copied into room of the thread's own, padded with zeros to whole vectors. Threads share the (group, tile) pairs; an
   element of C is computed in the same order whoever does it. Where w is updated by dw, that happens tile by tile.

   A batch that would leave most lanes empty is plain. Then y has lanes along the sum, and dx is

     dx     dy(m, r)             w(r, c)       dx(m, c)    features */

#ifndef MOCHA_INNER_PRODUCT_H
#define MOCHA_INNER_PRODUCT_H

/* Sums of a tile, a row of the panel and a broadcast element have to fit into the registers. There have to be
   enough sums that a multiply-add need not wait for the one before. */
#if LANE_BYTES >= 64
#define PANEL_VECTORS 4
#else
#define PANEL_VECTORS 2
#endif
#define TILE_ROWS 12
/* Bytes of B's part, which stays in the second-level cache while tiles go over it. */
#define GROUP_BYTES (256 << 10)
#define FEW_ROWS 4
#define DOT_OUTPUTS 4

#define KERNELS(K) \
    K(inner_product_lanes) \
    K(inner_product_dots) \
    K(inner_product_data) \
    K(inner_product_weight) \
    K(inner_product_bias)
#define CONSTANTS(C) C(inner_product_bytes, GROUP_BYTES) C(inner_product_rows, GROUP_BYTES / PANEL_VECTORS / LANE_BYTES)

/* The height of tiles with this number of vectors. */
static const int tile_rows[PANEL_VECTORS] = {
#if PANEL_VECTORS == 4
    12, 12, 8, 6
#else
    12, 6
#endif
};

#endif


/* A: element (m, r) is at at[m * row + r / group * far + r % group * near]; chunks begin with a group. */
typedef struct {
    const REAL *at;
    int64_t row, near, group, far;
} TYPED(factors);

/* B and C: vector v of row r is at at[r * row + v * vector]. */
typedef struct {
    REAL *at;
    int64_t row, vector;
} TYPED(matrix);

static inline int64_t TYPED(place)(TYPED(matrix) m, int64_t row, int64_t vector) { return row * m.row + vector * m.vector; }

/* The sums of a tile over the first `depth` terms. */
ALWAYS_INLINE void TYPED(tile_of)(const int M, const int V, int64_t depth, TYPED(factors) a, TYPED(matrix) b,
                                  TYPED(matrix) sums) {
    VEC sum[TILE_ROWS][PANEL_VECTORS];
#pragma GCC unroll 16
    for (int m = 0; m < M; m++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) sum[m][v] = (VEC){0};
    for (; depth > 0; depth -= a.group, a.at += a.far) {
        const REAL *factor = a.at;
        for (int64_t r = mocha_min(depth, a.group); r > 0; r--) {
            VEC in[PANEL_VECTORS];
#pragma GCC unroll 8
            for (int v = 0; v < V; v++) in[v] = TYPED(load)(b.at + v * b.vector);
#pragma GCC unroll 16
            for (int m = 0; m < M; m++) {
                const VEC times = TYPED(splat)(factor[m * a.row]);
#pragma GCC unroll 8
                for (int v = 0; v < V; v++) sum[m][v] += times * in[v];
            }
            b.at += b.row;
            factor += a.near;
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; m++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) TYPED(store)(sums.at + m * sums.row + v * sums.vector, sum[m][v]);
}

typedef void (*TYPED(tile))(int64_t, TYPED(factors), TYPED(matrix), TYPED(matrix));

#define TILE(M, V) \
    static void TYPED(tile_##M##x##V)(int64_t depth, TYPED(factors) a, TYPED(matrix) b, TYPED(matrix) sums) { \
        TYPED(tile_of)(M, V, depth, a, b, sums); \
    }
#define TILES_6(V) TILE(1, V) TILE(2, V) TILE(3, V) TILE(4, V) TILE(5, V) TILE(6, V)
#define TILES_8(V) \
    TILES_6(V) \
    TILE(7, V) TILE(8, V)
#define TILES_12(V) \
    TILES_8(V) \
    TILE(9, V) TILE(10, V) TILE(11, V) TILE(12, V)
#define NAMES_6(V) \
    TYPED(tile_1x##V), TYPED(tile_2x##V), TYPED(tile_3x##V), TYPED(tile_4x##V), TYPED(tile_5x##V), TYPED(tile_6x##V)
#define NAMES_8(V) NAMES_6(V), TYPED(tile_7x##V), TYPED(tile_8x##V)
#define NAMES_12(V) NAMES_8(V), TYPED(tile_9x##V), TYPED(tile_10x##V), TYPED(tile_11x##V), TYPED(tile_12x##V)

#if PANEL_VECTORS == 4
TILES_12(1)
TILES_12(2)
TILES_8(3)
TILES_6(4)
/* clang-format off */
static const TYPED(tile) TYPED(tiles)[PANEL_VECTORS][TILE_ROWS] = {
    {NAMES_12(1)}, {NAMES_12(2)}, {NAMES_8(3)}, {NAMES_6(4)}};
/* clang-format on */
#else
TILES_12(1)
TILES_6(2)
static const TYPED(tile) TYPED(tiles)[PANEL_VECTORS][TILE_ROWS] = {{NAMES_12(1)}, {NAMES_6(2)}};
#endif

/* How a sum is finished. All pointers but `status` point to what belongs to the first element of C; NULL leaves the step
   out. */
typedef struct {
    int add;           /* to what is there */
    const REAL *bias;  /* one for each row of C, added */
    REAL floor;        /* the least value; minus infinity: none */
    const REAL *mask;  /* as C: where it is not above `mask_floor`, the sum counts as 0 */
    REAL mask_floor;
    const mocha_step *update; /* of C, a parameter; the sum is its gradient */
    mocha_args *block;        /* room of this thread's own for the update's operands */
} TYPED(finish);

/* Updates (rows, columns) elements of C, from element `at` on, by gradients whose rows are `g_row` apart. */
ALWAYS_INLINE void
TYPED(update_block)(const TYPED(finish) *f, int64_t rows, int64_t columns, int64_t row, int64_t at, const REAL *g,
                                int64_t g_row) {
    static const mocha_team alone = {0, 1, NULL};
    void *const *whole = f->update->args->buffers;
    mocha_args *block = f->block;
    const int64_t slots = block->sizes[5];
    block->buffers[0] = (REAL *)whole[0] + at;
    block->buffers[1] = (void *)(uintptr_t)g;
    for (int64_t i = 2; i < 2 + slots; i++) block->buffers[i] = (REAL *)whole[i] + at;
    block->sizes[0] = rows, block->sizes[1] = columns, block->sizes[2] = row, block->sizes[3] = g_row;
    f->update->kernel(block, &alone);
}

/* Finishes the sums of a tile, `columns` wide, and writes them to C from row m and vector v on. */
static void TYPED(finish_tile)(const REAL *sums, int64_t rows, int64_t columns, TYPED(matrix) c, int64_t m, int64_t v,
                        const TYPED(finish) *f, int first, int last) {
    enum { WIDE = PANEL_VECTORS * LANE_BYTES / sizeof(REAL) };
    const VEC zero = (VEC){0};
    if (f->update) {
        TYPED(update_block)(f, rows, columns, c.row, TYPED(place)(c, m, v), sums, WIDE);
        return;
    }
    for (int64_t i = 0; i < rows; i++, m++, sums += WIDE)
        for (int64_t j = 0; j * LANES < columns; j++) {
            const int64_t at = TYPED(place)(c, m, v + j), some = columns - j * LANES;
            VEC sum = TYPED(load)(sums + j * LANES);
            if (f->mask) sum = TYPED(choose)(TYPED(load_some)(f->mask + at, some) > f->mask_floor, sum, zero);
            if (f->add || !first) sum += TYPED(load_some)(c.at + at, some);
            if (last) {
                if (f->bias) sum += f->bias[m];
                sum = TYPED(choose)(sum <= f->floor, zero + f->floor, sum);
            }
            TYPED(store_some)(c.at + at, sum, some);
        }
}

/* Fetches the part of a parameter, and of its slots, that a tile is about to update, while its sums are made. */
static void TYPED(fetch)(const TYPED(finish) *f, TYPED(matrix) c, int64_t rows, int64_t columns, int64_t m, int64_t v) {
    const mocha_args *update = f->update->args;
    const int64_t slots = update->sizes[5];
    const REAL *slot = slots ? update->buffers[2] : c.at;
    for (int64_t k = 2;; slot = update->buffers[k]) {
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j += 64 / (int64_t)sizeof(REAL)) {
                const int64_t at = TYPED(place)(c, m + i, v) + j;
                if (k == 2) __builtin_prefetch(c.at + at, 1);
                __builtin_prefetch(slot + at, 1);
            }
        if (++k >= 2 + slots) break;
    }
}

/* Copies rows [first, last) of B from vector `begin` on, `columns` wide, one after the other. */
static void TYPED(pack)(TYPED(matrix) b, int64_t first, int64_t last, int64_t begin, int64_t columns, REAL *panel) {
    const int64_t wide = (columns + LANES - 1) / LANES * LANES;
    if (columns < wide) memset(panel, 0, (size_t)((last - first) * wide) * sizeof *panel);
    for (int64_t r = first; r < last; r++, panel += wide)
        memcpy(panel, b.at + TYPED(place)(b, r, begin), (size_t)columns * sizeof *panel);
}

/* C = A B, finished. Where B has to be packed, `packed` is room of this thread's own for a chunk of a group, else
   NULL. */
static void TYPED(product)(int64_t rows, int64_t columns, int64_t depth, TYPED(factors) a, TYPED(matrix) b,
                           TYPED(matrix) c, const TYPED(finish) *f,
                    REAL *packed, const mocha_team *team) {
    _Alignas(64) REAL room[TILE_ROWS * PANEL_VECTORS * LANE_BYTES / sizeof(REAL)];
    const TYPED(matrix) sums = {room, PANEL_VECTORS * LANES, LANES};
    /* Whether sums need no finishing, so that whole tiles are written to C directly. */
    const int direct = !(f->add || f->bias || f->mask || f->update) && f->floor == -(REAL)INFINITY;
    /* Panels of about the same width, the widest first in `widest`. */
    const int64_t vectors = (columns + LANES - 1) / LANES, panels = (vectors + PANEL_VECTORS - 1) / PANEL_VECTORS;
    const int64_t widest = (vectors + panels - 1) / panels, tall = tile_rows[widest - 1];
    const int64_t tiles = (rows + tall - 1) / tall;
    const int64_t most = GROUP_BYTES / (widest * LANE_BYTES) / LANES * LANES, chunks = (depth + most - 1) / most;
    const int64_t chunk = ((depth + chunks - 1) / chunks + LANES - 1) / LANES * LANES;
    /* Where tiles are few, packing is a part of the work that threads should share. */
    const int64_t group = mocha_min(mocha_min(panels, most / chunk), tiles);
    int64_t next, end;
    mocha_share((panels + group - 1) / group * tiles, 1, team, &next, &end);
    while (next < end) {
        /* Tiles [low, high) of one group of panels. */
        const int64_t first = next / tiles * group, last = mocha_min(panels, first + group);
        const int64_t low = next % tiles, high = mocha_min(tiles, low + end - next);
        next += high - low;
        for (int64_t r = 0; r < depth; r += chunk) {
            const int64_t stop = mocha_min(depth, r + chunk);
            const REAL *at = a.at + r / a.group * a.far + r % a.group * a.near;
            for (int64_t t = low; t < high; t++) {
                REAL *panel = packed;
                for (int64_t p = first; p < last; p++) {
                    const int64_t v = vectors * p / panels, wide = vectors * (p + 1) / panels - v;
                    const int64_t some = mocha_min(columns - v * LANES, wide * LANES);
                    const int64_t m = t * tall, height = mocha_min(tall, rows - m);
                    const TYPED(factors) factors = {at + m * a.row, a.row, a.near, a.group, a.far};
                    TYPED(matrix) part = {b.at + TYPED(place)(b, r, v), b.row, b.vector};
                    if (packed) {
                        if (t == low) TYPED(pack)(b, r, stop, v, some, panel);
                        part = (TYPED(matrix)){panel, wide * LANES, LANES};
                        panel += (stop - r) * wide * LANES;
                    }
                    if (f->update) TYPED(fetch)(f, c, height, some, m, v);
                    if (direct && chunks == 1 && some == wide * LANES) {
                        const TYPED(matrix) out = {c.at + TYPED(place)(c, m, v), c.row, c.vector};
                        TYPED(tiles)[wide - 1][height - 1](depth, factors, part, out);
                    } else {
                        TYPED(tiles)[wide - 1][height - 1](stop - r, factors, part, sums);
                        TYPED(finish_tile)(room, height, some, c, m, v, f, r == 0, stop == depth);
                    }
                }
            }
        }
    }
}

/* buffers: x, w, b, y, both blobs with lanes; sizes: blocks, outputs, features; numbers: the least value of y. */
KERNEL(inner_product_lanes) {
    REAL *x = args->buffers[0], *w = args->buffers[1], *y = args->buffers[3];
    const int64_t outputs = args->sizes[1], features = args->sizes[2];
    const TYPED(factors) a = {w, features, 1, features, 0};
    const TYPED(matrix) b = {x, LANES, features * LANES}, c = {y, LANES, outputs * LANES};
    const TYPED(finish) f = {.bias = args->buffers[2], .floor = (REAL)args->numbers[0]};
    TYPED(product)(outputs, args->sizes[0] * LANES, features, a, b, c, &f, NULL, team);
}

/* `count` outputs of each of `rows` samples, both at most as many as a tile of sums has. */
ALWAYS_INLINE void
TYPED(dots)(const int rows, const int count, int64_t depth, const REAL *x, const REAL *w, const REAL *b,
                        REAL floor, REAL *y, int64_t y_row) {
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
#pragma GCC unroll 8
    for (int o = 0; o < count; o++)
#pragma GCC unroll 8
        for (int n = 0; n < rows; n++) {
            const REAL value = TYPED(sum)(sum[o][n]) + b[o];
            y[n * y_row + o] = value <= floor ? floor : value;
        }
}

#define DOTS(N) \
    static void TYPED(dots_##N)(int64_t depth, const REAL *x, const REAL *w, const REAL *b, REAL floor, REAL *y, \
                                int64_t y_row, int whole) { \
        if (whole) { \
            TYPED(dots)(N, DOT_OUTPUTS, depth, x, w, b, floor, y, y_row); \
        } else { \
            TYPED(dots)(N, 1, depth, x, w, b, floor, y, y_row); \
        } \
    }
DOTS(1)
DOTS(2)
DOTS(3)
DOTS(4)
#undef DOTS

/* As inner_product_lanes, of plain blobs; sizes: rows, outputs, features. */
KERNEL(inner_product_dots) {
    void (*const dots[FEW_ROWS])(int64_t, const REAL *, const REAL *, const REAL *, REAL, REAL *, int64_t,
                                 int) = { TYPED(dots_1), TYPED(dots_2), TYPED(dots_3), TYPED(dots_4)};
    const REAL *x = args->buffers[0], *w = args->buffers[1], *b = args->buffers[2], floor = (REAL)args->numbers[0];
    REAL *y = args->buffers[3];
    const int64_t rows = args->sizes[0], outputs = args->sizes[1], depth = args->sizes[2];
    int64_t o, last;
    mocha_share(outputs, DOT_OUTPUTS, team, &o, &last);
    while (o < last) {
        const int whole = last - o >= DOT_OUTPUTS;
        for (int64_t n = 0; n < rows; n += FEW_ROWS) {
            const int64_t some = mocha_min(FEW_ROWS, rows - n), at = n * outputs + o;
            dots[some - 1](depth, x + n * depth, w + o * depth, b + o, floor, y + at, outputs, whole);
        }
        o += whole ? DOT_OUTPUTS : 1;
    }
}

/* dx. buffers: dy, w, dx, panels, and what masks dx or NULL; sizes: rows, outputs, features, whether blobs have lanes,
   elements of each thread's panel, whether dx is added; numbers: what the mask has to be above. */
KERNEL(inner_product_data) {
    REAL *dy = args->buffers[0], *w = args->buffers[1], *dx = args->buffers[2];
    const int64_t rows = args->sizes[0], outputs = args->sizes[1], features = args->sizes[2];
    TYPED(finish) f = {.add = args->sizes[5] != 0, .floor = -(REAL)INFINITY};
    f.mask = args->buffers[4], f.mask_floor = (REAL)args->numbers[0];
    if (args->sizes[3]) {
        const TYPED(factors) a = {w, 1, features, outputs, 0};
        const TYPED(matrix) b = {dy, LANES, outputs * LANES}, c = {dx, LANES, features * LANES};
        TYPED(product)(features, (rows + LANES - 1) / LANES * LANES, outputs, a, b, c, &f, NULL, team);
    } else {
        const TYPED(factors) a = {dy, outputs, 1, outputs, 0};
        const TYPED(matrix) b = {w, features, LANES}, c = {dx, features, LANES};
        REAL *panel = (REAL *)args->buffers[3] + team->rank * args->sizes[4];
        TYPED(product)(rows, features, outputs, a, b, c, &f, panel, team);
    }
}

/* dw, or the update of w by it. buffers: dy, x, dw or w, panels, and the step of the update or NULL; sizes: rows,
   outputs, features, whether dy has lanes, elements of each thread's panel, whether dw is added. */
KERNEL(inner_product_weight) {
    REAL *dy = args->buffers[0], *x = args->buffers[1], *dw = args->buffers[2];
    const int64_t rows = args->sizes[0], outputs = args->sizes[1], features = args->sizes[2];
    TYPED(factors) a = {dy, 1, outputs, rows, 0};
    if (args->sizes[3]) a = (TYPED(factors)){dy, LANES, 1, LANES, outputs * LANES};
    const TYPED(matrix) b = {x, features, LANES}, c = {dw, features, LANES};
    mocha_args block;
    const TYPED(finish) f = {
        .add = args->sizes[5] != 0, .floor = -(REAL)INFINITY, .update = args->buffers[4], .block = &block};
    if (f.update) block = *f.update->args;
    REAL *panel = (REAL *)args->buffers[3] + team->rank * args->sizes[4];
    TYPED(product)(outputs, features, rows, a, b, c, &f, panel, team);
}

/* db, or the update of b by it: as inner_product_weight, where x and panels are not used. */
KERNEL(inner_product_bias) {
    enum { PIECE = GRAIN };
    const REAL *dy = args->buffers[0];
    REAL *db = args->buffers[2];
    mocha_args block;
    const TYPED(finish) f = {.update = args->buffers[4], .block = &block};
    if (f.update) block = *f.update->args;
    const int64_t rows = args->sizes[0], outputs = args->sizes[1];
    int64_t first, last;
    mocha_share(outputs, PIECE, team, &first, &last);
    for (int64_t piece = first; piece < last; piece += PIECE) {
        const int64_t n = mocha_min(PIECE, last - piece);
        _Alignas(64) REAL sums[PIECE];
        if (args->sizes[3]) {
            for (int64_t o = 0; o < n; o++) {
                VEC sum = (VEC){0};
                for (int64_t i = 0; i * LANES < rows; i++) sum += TYPED(load)(dy + (i * outputs + piece + o) * LANES);
                sums[o] = TYPED(sum)(sum);
            }
        } else {
            for (int64_t o = 0; o < n; o += LANES) {
                VEC sum = (VEC){0};
                for (int64_t i = 0; i < rows; i++) sum += TYPED(load_some)(dy + i * outputs + piece + o, n - o);
                TYPED(store)(sums + o, sum);
            }
        }
        if (f.update) {
            TYPED(update_block)(&f, 1, n, 0, piece, sums, PIECE);
        } else {
            for (int64_t o = 0; o < n; o++) db[piece + o] = sums[o] + (args->sizes[5] ? db[piece + o] : 0);
        }
    }
}
