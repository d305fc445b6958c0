/* Inner product: y = x w' + b, dx = dy w, dw = dy' x, db = sum of dy over the rows.

   All three products are the one of matmul.h, C(m, c) = sum over r of A(m, r) * B(r, c), where the columns c lie in
   vectors:

            A(m, r), broadcast   B(r, c)       C(m, c)     vectors of C
     y      w(m, r)              x(c, r)       y(c, m)     samples
     dx     w(r, m)              dy(c, r)      dx(c, m)    samples
     dw     dy(r, m)             x(r, c)       dw(m, c)    features

   Blobs with lanes, (blocks, features, lanes), are B and C of y and dx as they are. For dw, x is plain. Where w is
   updated by dw, that happens tile by tile.

   A batch that would leave most lanes empty is plain. Then y has lanes along the sum, and dx is

     dx     dy(m, r)             w(r, c)       dx(m, c)    features */

#ifndef MOCHA_INNER_PRODUCT_H
#define MOCHA_INNER_PRODUCT_H

#define FEW_ROWS 4
#define DOT_OUTPUTS 4

#define KERNELS(K) \
    K(inner_product_lanes) \
    K(inner_product_dots) \
    K(inner_product_data) \
    K(inner_product_weight) \
    K(inner_product_bias) \
    K(matmul)
#define CONSTANTS(C) \
    C(inner_product_rows, MATMUL_WHOLE) \
    C(matmul_packed_bytes, MATMUL_PACKED_BYTES) \
    C(matmul_group_bytes, MATMUL_GROUP_BYTES) C(matmul_gap_bytes, MATMUL_GAP_BYTES)

#endif

#include "lane_sums.h"
#include "matmul.h"

/* buffers: x, w, b, y, room of the threads, epilogue of y or NULL, both blobs with lanes; sizes: blocks, outputs, features, elements of each
   thread's room; numbers: the least value of y. */
KERNEL(inner_product_lanes) {
    REAL *x = args->buffers[0], *w = args->buffers[1], *y = args->buffers[3];
    const int64_t outputs = args->sizes[1], features = args->sizes[2];
    const TYPED(factors) a = {w, features, 1, features, 0};
    const TYPED(matrix) b = {x, LANES, features * LANES, 0}, c = {y, LANES, outputs * LANES, 0};
    const TYPED(finish) f = {.bias = args->buffers[2], .floor = (REAL)args->numbers[0], .epilogue = args->buffers[5]};
    REAL *room = (REAL *)args->buffers[4] + team->rank * args->sizes[3];
    TYPED(product)(outputs, args->sizes[0] * LANES, features, a, b, c, &f, room, team);
}

/* `count` outputs of each of `rows` samples, both at most as many as a tile of sums has. */
ALWAYS_INLINE void
TYPED(dots)(const int rows, const int count, int64_t depth, const REAL *x, const REAL *w, const REAL *b,
                        REAL floor, REAL *y, int64_t y_row) {
    enum { SUMS = DOT_OUTPUTS * FEW_ROWS };
    VEC sum[SUMS];
    REAL value[SUMS];
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; i++) sum[i] = (VEC){0};
    for (int64_t k = 0; k < depth; k += LANES) {
        const int64_t some = depth - k;
        VEC in[FEW_ROWS];
#pragma GCC unroll 8
        for (int n = 0; n < rows; n++) in[n] = TYPED(load_some)(x + n * depth + k, some);
#pragma GCC unroll 8
        for (int o = 0; o < count; o++) {
            const VEC factor = TYPED(load_some)(w + o * depth + k, some);
#pragma GCC unroll 8
            for (int n = 0; n < rows; n++) sum[o * rows + n] += factor * in[n];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows * count; i += LANES) TYPED(store)(value + i, TYPED(lane_sums)(sum + i));
    for (int o = 0; o < count; o++)
        for (int n = 0; n < rows; n++) {
            const REAL found = value[o * rows + n] + (b ? b[o] : 0);
            y[n * y_row + o] = found <= floor ? floor : found;
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

/* As inner_product_lanes, of plain blobs; b may be NULL; sizes: rows, outputs, features. */
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
            dots[some - 1](depth, x + n * depth, w + o * depth, b ? b + o : NULL, floor, y + at, outputs, whole);
        }
        o += whole ? DOT_OUTPUTS : 1;
    }
}

/* dx. buffers: dy, w, dx, room of the threads, and what masks dx or NULL; sizes: rows, outputs, features, whether blobs have lanes,
   elements of each thread's room, whether dx is added; numbers: what the mask has to be above. */
KERNEL(inner_product_data) {
    REAL *dy = args->buffers[0], *w = args->buffers[1], *dx = args->buffers[2];
    const int64_t rows = args->sizes[0], outputs = args->sizes[1], features = args->sizes[2];
    TYPED(finish) f = {.add = args->sizes[5] != 0, .floor = -(REAL)INFINITY};
    f.mask = args->buffers[4], f.mask_floor = (REAL)args->numbers[0];
    REAL *room = (REAL *)args->buffers[3] + team->rank * args->sizes[4];
    if (args->sizes[3]) {
        const TYPED(factors) a = {w, 1, features, outputs, 0};
        const TYPED(matrix) b = {dy, LANES, outputs * LANES, 0}, c = {dx, LANES, features * LANES, 0};
        TYPED(product)(features, (rows + LANES - 1) / LANES * LANES, outputs, a, b, c, &f, room, team);
    } else {
        const TYPED(factors) a = {dy, outputs, 1, outputs, 0};
        const TYPED(matrix) b = {w, features, LANES, 0}, c = {dx, features, LANES, 0};
        TYPED(product)(rows, features, outputs, a, b, c, &f, room, team);
    }
}

/* dw, or the update of w by it. buffers: dy, x, dw or w, room, and the step of the update or NULL; sizes: rows,
   outputs, features, whether dy has lanes, elements of each thread's room, whether dw is added. */
KERNEL(inner_product_weight) {
    REAL *dy = args->buffers[0], *x = args->buffers[1], *dw = args->buffers[2];
    const int64_t rows = args->sizes[0], outputs = args->sizes[1], features = args->sizes[2];
    TYPED(factors) a = {dy, 1, outputs, rows, 0};
    if (args->sizes[3]) a = (TYPED(factors)){dy, LANES, 1, LANES, outputs * LANES};
    const TYPED(matrix) b = {x, features, LANES, 0}, c = {dw, features, LANES, 0};
    mocha_args block;
    const TYPED(finish) f = {
        .add = args->sizes[5] != 0, .floor = -(REAL)INFINITY, .update = args->buffers[4], .block = &block};
    if (f.update) block = *f.update->args;
    REAL *room = (REAL *)args->buffers[3] + team->rank * args->sizes[4];
    TYPED(product)(outputs, features, rows, a, b, c, &f, room, team);
}

/* db, or the update of b by it: as inner_product_weight, where x and room are not used. */
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

/* The product of matrices whose rows or columns are adjacent. buffers: a, b, out, room of the threads; sizes: rows,
   columns, depth, elements of each thread's room; then of a, b and out each the elements from a row to the next, and
   from a column to the next. */
KERNEL(matmul) {
    REAL *a = args->buffers[0], *b = args->buffers[1], *out = args->buffers[2];
    const int64_t rows = args->sizes[0], columns = args->sizes[1], depth = args->sizes[2], *strides = args->sizes + 4;
    const TYPED(factors) left = {a, strides[0], strides[1], 0, 0};
    const TYPED(matrix) right = {b, strides[2], LANES * strides[3], strides[3] == 1 ? 0 : strides[3]};
    const TYPED(matrix) c = {out, strides[4], LANES * strides[5], strides[5] == 1 ? 0 : strides[5]};
    const TYPED(finish) f = {.floor = -(REAL)INFINITY};
    REAL *room = (REAL *)args->buffers[3] + team->rank * args->sizes[3];
    TYPED(product)(rows, columns, depth, left, right, c, &f, room, team);
}
