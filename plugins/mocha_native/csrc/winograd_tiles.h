/* Tiles of blobs with lanes, and their transforms in both directions, for REAL. A tile is an element of a matrix for
   each of points * points pairs of points; these matrices are `plane` vectors apart. */

#include "winograd_transforms.h"

#ifndef MOCHA_WINOGRAD_TILES_H
#define MOCHA_WINOGRAD_TILES_H

/* Neighbouring tiles whose columns are transformed together. */
#define RUN 8

/* x is (blocks, channels, height, width), y (blocks, outputs, rows, columns). */
typedef struct {
    int64_t blocks, channels, height, width, outputs, rows, columns, pad_rows, pad_columns;
    int64_t tile_rows, tile_columns; /* that cover an image of y */
} winograd_shape;

/* From the sizes, which are the first arguments of all kernels. */
static inline winograd_shape shape_of(const int64_t *n) {
    const winograd_shape s = {n[1],
                              n[2],
                              n[3],
                              n[4],
                              n[5],
                              n[6],
                              n[7],
                              n[8],
                              n[9],
                              (n[6] + WINOGRAD_TILE - 1) / WINOGRAD_TILE,
                              (n[7] + WINOGRAD_TILE - 1) / WINOGRAD_TILE};
    return s;
}

/* Neighbouring tiles of a row: `count` from `tile` on. */
typedef struct {
    int64_t block, row, column, count;
} winograd_run;

static inline winograd_run next_run(const winograd_shape *s, int64_t tile, int64_t last) {
    const int64_t row = tile / s->tile_columns, column = tile % s->tile_columns;
    const int64_t count = mocha_min(mocha_min(last - tile, s->tile_columns - column), RUN);
    const winograd_run run = {row / s->tile_rows, row % s->tile_rows, column, count};
    return run;
}

/* Indices of the four pixels in the middle of a tile's data: each receptive field has at least one of them if filters are
   3x3, and all of them if 5x5. The nearest pixel of the image takes the place of one beyond an edge: every field that
   has the one has the other, too, unless it lies in the padding altogether. Returns whether no field does. */
static inline int winograd_middle(int points, const winograd_shape *s, int64_t row, int64_t column, int64_t *at) {
    const int size = points - WINOGRAD_TILE + 1, middle = points / 2 - 1;
    for (int i = 0; i < 4; i++) {
        const int64_t y = row * WINOGRAD_TILE - s->pad_rows + middle + i / 2;
        const int64_t x = column * WINOGRAD_TILE - s->pad_columns + middle + i % 2;
        at[i] = mocha_max(0, mocha_min(y, s->height - 1)) * s->width + mocha_max(0, mocha_min(x, s->width - 1));
    }
    return s->pad_rows < size && s->pad_columns < size;
}

/* Whether a tap meets an element of an image of `size`, which is padded, in any of `tops` results. */
static inline int meets_image(int64_t tap, int64_t pad, int64_t size, int64_t tops) {
    return mocha_max(0, pad - tap) < mocha_min(tops, size + pad - tap);
}

#endif

/* Data of one vector of each pixel of a run at all points, `plane` vectors apart: columns first, which neighbours share.
   Pixels of x are `pixel` elements apart, tiles of the result `step`. */
ALWAYS_INLINE void TYPED(winograd_spread)(const int points, const winograd_shape *s, winograd_run run, const REAL *x,
                                   int64_t pixel, REAL *to, int64_t plane, int64_t step) {
    VEC lines[MOST_POINTS][RUN * WINOGRAD_TILE + MOST_POINTS - WINOGRAD_TILE];
    const int64_t top = run.row * WINOGRAD_TILE - s->pad_rows, left = run.column * WINOGRAD_TILE - s->pad_columns;
    const int64_t wide = run.count * WINOGRAD_TILE + points - WINOGRAD_TILE, stride = s->width * pixel;
    const int inside = top >= 0 && top + points <= s->height;
    for (int64_t j = 0; j < wide; j++) {
        VEC d[MOST_POINTS], t[MOST_POINTS];
        const REAL *from = x + top * stride + (left + j) * pixel;
        if (left + j < 0 || left + j >= s->width) {
            UNROLL for (int i = 0; i < points; i++)
                lines[i][j] = (VEC){0};
            continue;
        }
        if (inside) {
            UNROLL for (int i = 0; i < points; i++)
                d[i] = TYPED(load)(from + i * stride);
        } else {
            UNROLL for (int i = 0; i < points; i++)
                d[i] = top + i >= 0 && top + i < s->height ? TYPED(load)(from + i * stride) : (VEC){0};
        }
        TYPED(winograd_data)(points, d, t);
        UNROLL for (int i = 0; i < points; i++)
            lines[i][j] = t[i];
    }
    for (int64_t tile = 0; tile < run.count; tile++, to += step) {
        UNROLL for (int i = 0; i < points; i++) {
            VEC t[MOST_POINTS];
            TYPED(winograd_data)(points, lines[i] + tile * WINOGRAD_TILE, t);
            UNROLL for (int j = 0; j < points; j++)
                TYPED(store)(to + (i * points + j) * plane * LANES, t[j]);
        }
    }
}

/* What becomes of a result. */
typedef struct {
    const REAL *fields; /* of the tile; NULL: none is zero */
    VEC bias;
    REAL floor;
    const REAL *mask;
    REAL mask_floor;
    int add;
} TYPED(winograd_end);

/* Results of a tile from its products at all points, `plane` vectors apart, as far as they are in the image, whose
   rows are `stride` pixels, and pixels `pixel` elements apart. */
ALWAYS_INLINE void
TYPED(winograd_gather)(const int points, const REAL *from, int64_t plane, int64_t rows, int64_t columns,
                                   int64_t stride, int64_t pixel, REAL *y, const TYPED(winograd_end) *end) {
    VEC lines[WINOGRAD_TILE][MOST_POINTS];
    UNROLL for (int j = 0; j < points; j++) {
        VEC d[MOST_POINTS], t[WINOGRAD_TILE];
        UNROLL for (int i = 0; i < points; i++)
            d[i] = TYPED(load)(from + (i * points + j) * plane * LANES);
        TYPED(winograd_inverse)(points, d, t);
        UNROLL for (int i = 0; i < WINOGRAD_TILE; i++)
            lines[i][j] = t[i];
    }
    UNROLL for (int i = 0; i < WINOGRAD_TILE; i++) {
        VEC t[WINOGRAD_TILE];
        TYPED(winograd_inverse)(points, lines[i], t);
        if (end->fields) {
            const REAL *fields = end->fields + i * WINOGRAD_TILE * LANES;
            UNROLL for (int j = 0; j < WINOGRAD_TILE; j++)
                t[j] = (VEC)((IVEC)t[j] & (IVEC)TYPED(load)(fields + j * LANES));
        }
        UNROLL for (int j = 0; j < WINOGRAD_TILE; j++) {
            const int64_t at = (i * stride + j) * pixel;
            if (i >= rows || j >= columns) continue;
            VEC v = t[j] + end->bias;
            v = TYPED(choose)(v <= end->floor, TYPED(splat)(end->floor), v);
            if (end->mask) v = TYPED(choose)(TYPED(load)(end->mask + at) > end->mask_floor, v, (VEC){0});
            if (end->add) v += TYPED(load)(y + at);
            TYPED(store)(y + at, v);
        }
    }
}

/* Gradients of one vector of each result, of a run's tiles, at all points. What is not in the image is zero. */
ALWAYS_INLINE void
TYPED(winograd_spread_top)(const int points, const winograd_shape *s, winograd_run run, const REAL *dy,
                                       int64_t pixel, REAL *to, int64_t plane, int64_t step) {
    const int64_t row = run.row * WINOGRAD_TILE, rows = s->rows - row, stride = s->columns * pixel;
    for (int64_t tile = 0; tile < run.count; tile++, to += step) {
        VEC lines[MOST_POINTS][WINOGRAD_TILE];
        const int64_t column = (run.column + tile) * WINOGRAD_TILE, columns = s->columns - column;
        const REAL *from = dy + row * stride + column * pixel;
        UNROLL for (int j = 0; j < WINOGRAD_TILE; j++) {
            VEC d[WINOGRAD_TILE], t[MOST_POINTS];
            UNROLL for (int i = 0; i < WINOGRAD_TILE; i++)
                d[i] = i < rows && j < columns ? TYPED(load)(from + i * stride + j * pixel) : (VEC){0};
            TYPED(winograd_lift)(points, d, t);
            UNROLL for (int i = 0; i < points; i++)
                lines[i][j] = t[i];
        }
        UNROLL for (int i = 0; i < points; i++) {
            VEC t[MOST_POINTS];
            TYPED(winograd_lift)(points, lines[i], t);
            UNROLL for (int j = 0; j < points; j++)
                TYPED(store)(to + (i * points + j) * plane * LANES, t[j]);
        }
    }
}
