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

/* From the sizes that all kernels begin with. */
static inline winograd_shape shape_of(const int64_t *n) {
    const winograd_shape s = {n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9],
                              (n[6] + WINOGRAD_TILE - 1) / WINOGRAD_TILE, (n[7] + WINOGRAD_TILE - 1) / WINOGRAD_TILE};
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
            UNROLL for (int i = 0; i < points; i++) lines[i][j] = (VEC){0};
            continue;
        }
        if (inside) {
            UNROLL for (int i = 0; i < points; i++) d[i] = TYPED(load)(from + i * stride);
        } else {
            UNROLL for (int i = 0; i < points; i++)
                d[i] = top + i >= 0 && top + i < s->height ? TYPED(load)(from + i * stride) : (VEC){0};
        }
        TYPED(winograd_data)(points, d, t);
        UNROLL for (int i = 0; i < points; i++) lines[i][j] = t[i];
    }
    for (int64_t tile = 0; tile < run.count; tile++, to += step) {
        UNROLL for (int i = 0; i < points; i++) {
            VEC t[MOST_POINTS];
            TYPED(winograd_data)(points, lines[i] + tile * WINOGRAD_TILE, t);
            UNROLL for (int j = 0; j < points; j++) TYPED(store)(to + (i * points + j) * plane * LANES, t[j]);
        }
    }
}

/* Where something in the receptive fields of a run's results is not zero: for each tile in `fields`, for each of its
   results all bits of such a lane. Padding is zero, and NaN is not. Returns whether a field is zero; the result is then
   exactly the bias, as that of a direct convolution. Transforms leave some 1e-8 of the tile's other elements there, and
   ReLU and maxima would act on it.
   Channels of x are read until no field is zero, which takes two where blobs are dense. */
ALWAYS_INLINE int TYPED(winograd_fields)(const int points, const winograd_shape *s, winograd_run run, const REAL *x,
                                         REAL *fields) {
    IVEC seen[MOST_POINTS][RUN * WINOGRAD_TILE + MOST_POINTS - WINOGRAD_TILE];
    const int size = points - WINOGRAD_TILE + 1;
    const int64_t top = run.row * WINOGRAD_TILE - s->pad_rows, left = run.column * WINOGRAD_TILE - s->pad_columns;
    const int64_t wide = run.count * WINOGRAD_TILE + size - 1, rows = s->rows - run.row * WINOGRAD_TILE;
    const int64_t columns = mocha_min(s->columns - run.column * WINOGRAD_TILE, run.count * WINOGRAD_TILE);
    IVEC all = {0};
    for (int i = 0; i < points; i++)
        for (int64_t j = 0; j < wide; j++) seen[i][j] = (IVEC){0};
    /* Two channels at a time, which saves half of the work on `seen`. */
    for (int64_t c = 0, next = mocha_min(2, s->channels); c < s->channels; next = mocha_min(4 * next, s->channels)) {
        for (; c < next; c += 2)
            for (int64_t i = mocha_max(0, -top); i < mocha_min(points, s->height - top); i++) {
                const REAL *from = x + ((c * s->height + top + i) * s->width + left) * LANES;
                const REAL *other = c + 1 < next ? from + s->height * s->width * LANES : from;
                for (int64_t j = mocha_max(0, -left); j < mocha_min(wide, s->width - left); j++)
                    seen[i][j] |= (IVEC)TYPED(load)(from + j * LANES) | (IVEC)TYPED(load)(other + j * LANES);
            }
        all = ~(IVEC){0};
        for (int64_t j = 0; j < columns; j++) {
            const int64_t tile = j / WINOGRAD_TILE, first = tile * WINOGRAD_RESULTS + j % WINOGRAD_TILE;
            IVEC line[MOST_POINTS];
            UNROLL for (int i = 0; i < points; i++) {
                line[i] = seen[i][j];
                UNROLL for (int tap = 1; tap < size; tap++) line[i] |= seen[i][j + tap];
            }
            UNROLL for (int i = 0; i < WINOGRAD_TILE; i++) {
                IVEC field = line[i];
                UNROLL for (int tap = 1; tap < size; tap++) field |= line[i + tap];
                field = (VEC)field != 0; /* as a number: -0 is zero */
                TYPED(store)(fields + (first + i * WINOGRAD_TILE) * LANES, (VEC)field);
                if (i < rows) all &= field;
            }
        }
        if (!TYPED(any_lane)(~all)) return 0;
    }
    return 1;
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

/* As below; `whole`: all results of the tile are in the image, and nothing becomes of them but bias and floor. */
ALWAYS_INLINE void TYPED(winograd_results)(const int points, const int whole, const REAL *from, int64_t plane,
                                           int64_t rows, int64_t columns, int64_t stride, int64_t pixel, REAL *y,
                                           const TYPED(winograd_end) *end) {
    VEC lines[WINOGRAD_TILE][MOST_POINTS];
    UNROLL for (int j = 0; j < points; j++) {
        VEC d[MOST_POINTS], t[WINOGRAD_TILE];
        UNROLL for (int i = 0; i < points; i++) d[i] = TYPED(load)(from + (i * points + j) * plane * LANES);
        TYPED(winograd_inverse)(points, d, t);
        UNROLL for (int i = 0; i < WINOGRAD_TILE; i++) lines[i][j] = t[i];
    }
    UNROLL for (int i = 0; i < WINOGRAD_TILE; i++) {
        VEC t[WINOGRAD_TILE];
        TYPED(winograd_inverse)(points, lines[i], t);
        UNROLL for (int j = 0; j < WINOGRAD_TILE; j++) {
            const int64_t at = (i * stride + j) * pixel;
            if (!whole && (i >= rows || j >= columns)) continue;
            if (!whole && end->fields)
                t[j] = (VEC)((IVEC)t[j] & (IVEC)TYPED(load)(end->fields + (i * WINOGRAD_TILE + j) * LANES));
            VEC v = t[j] + end->bias;
            v = TYPED(choose)(v <= end->floor, TYPED(splat)(end->floor), v);
            if (!whole && end->mask)
                v = TYPED(choose)(TYPED(load)(end->mask + at) > end->mask_floor, v, (VEC){0});
            if (!whole && end->add) v += TYPED(load)(y + at);
            TYPED(store)(y + at, v);
        }
    }
}

/* Results of a tile from its products at all points, `plane` vectors apart, as far as they are in the image, whose
   rows are `stride` pixels, and pixels `pixel` elements apart. */
ALWAYS_INLINE void TYPED(winograd_gather)(const int points, const REAL *from, int64_t plane, int64_t rows, int64_t columns,
                                   int64_t stride, int64_t pixel, REAL *y, const TYPED(winograd_end) *end) {
    if (rows >= WINOGRAD_TILE && columns >= WINOGRAD_TILE && !end->fields && !end->mask && !end->add) {
        TYPED(winograd_results)(points, 1, from, plane, rows, columns, stride, pixel, y, end);
    } else {
        TYPED(winograd_results)(points, 0, from, plane, rows, columns, stride, pixel, y, end);
    }
}

/* Gradients of one output's results, of a run's tiles, at all points. What is not in the image is zero. */
ALWAYS_INLINE void TYPED(winograd_spread_top)(const int points, const winograd_shape *s, winograd_run run, const REAL *dy,
                                       REAL *to, int64_t plane) {
    const int64_t row = run.row * WINOGRAD_TILE, rows = s->rows - row, stride = s->columns * LANES;
    for (int64_t tile = 0; tile < run.count; tile++, to += LANES) {
        VEC lines[MOST_POINTS][WINOGRAD_TILE];
        const int64_t column = (run.column + tile) * WINOGRAD_TILE, columns = s->columns - column;
        const REAL *from = dy + row * stride + column * LANES;
        UNROLL for (int j = 0; j < WINOGRAD_TILE; j++) {
            VEC d[WINOGRAD_TILE], t[MOST_POINTS];
            UNROLL for (int i = 0; i < WINOGRAD_TILE; i++)
                d[i] = i < rows && j < columns ? TYPED(load)(from + i * stride + j * LANES) : (VEC){0};
            TYPED(winograd_lift)(points, d, t);
            UNROLL for (int i = 0; i < points; i++) lines[i][j] = t[i];
        }
        UNROLL for (int i = 0; i < points; i++) {
            VEC t[MOST_POINTS];
            TYPED(winograd_lift)(points, lines[i], t);
            UNROLL for (int j = 0; j < points; j++) TYPED(store)(to + (i * points + j) * plane * LANES, t[j]);
        }
    }
}
